"""Byte-for-byte reproducible safetensors and JSON files, stamped with the versions that made them."""
import json
import pathlib
import re
import struct
import typing

import numpy as np
import torch
import transformers

class Raw(typing.NamedTuple):
    """Bytes (a uint8 array) and the safetensors dtype whose numbers they are, one byte each."""
    dtype: str
    array: np.ndarray


TYPES = {np.dtype("float32"): "F32", np.dtype("int32"): "I32"}


def versions() -> dict[str, str]:
    return {"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__}


def to_numpy(value) -> np.ndarray:
    """Any tensor, array or number as a contiguous f32 (or, for integers, I32) array."""
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    return np.array(array, dtype=np.int32 if array.dtype.kind in "iu" else np.float32, order="C")


def write_safetensors(path: pathlib.Path, tensors: dict, metadata: dict) -> None:
    """Tensors sorted by name; every metadata value becomes a string (JSON unless it is one already)."""
    raw = {name: value for name, value in tensors.items() if isinstance(value, Raw)}
    arrays = {name: np.ascontiguousarray(raw[name].array) if name in raw else to_numpy(tensors[name])
              for name in sorted(tensors)}
    metadata = {**versions(), **metadata}
    header = {"__metadata__": {k: v if isinstance(v, str) else json.dumps(v) for k, v in sorted(metadata.items())}}
    offset = 0
    for name, array in arrays.items():
        assert np.isfinite(array).all(), f"{path}: {name} is not finite"
        header[name] = {"dtype": raw[name].dtype if name in raw else TYPES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(array.tobytes())


def write_json(path: pathlib.Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=1)
    # Lists of numbers on one line.
    text = re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\s+", " ", found.group()), text)
    path.write_text(text + "\n")
