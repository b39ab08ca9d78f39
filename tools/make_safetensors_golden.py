#!/usr/bin/env python3
"""Writes tests/golden/safetensors/: a file of every common dtype and a two-shard directory, by the reference library.

Needs torch and safetensors; made with safetensors 0.8.0 and torch 2.15.0. Values are counted so that the test can
state them: element i of a tensor is i.
"""
import json
import pathlib

import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "safetensors"


def counted(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    size = torch.Size(shape).numel()
    return torch.arange(size, dtype=torch.float32).to(dtype).reshape(shape)


def main() -> None:
    (OUT / "sharded").mkdir(parents=True, exist_ok=True)
    save_file(
        {
            "f32": counted(torch.float32, 2, 3),
            "bf16": counted(torch.bfloat16, 5),
            "f16": counted(torch.float16, 1, 2, 2),
            "fp8": counted(torch.float8_e4m3fn, 3),
            "i64": counted(torch.int64, 4),
            "flags": torch.tensor([True, False, True]),
            "scalar": torch.tensor(7.0),
            "empty": torch.zeros(0, 4),
            'odd "name"\n\u00e9': counted(torch.uint8, 2),
        },
        OUT / "dtypes.safetensors",
        metadata={"format": "pt", "note": "gr\u00fcn"},
    )
    shards = {
        "model-00001-of-00002.safetensors": {"a": counted(torch.float32, 3), "b": counted(torch.bfloat16, 2, 2)},
        "model-00002-of-00002.safetensors": {"c": counted(torch.float32, 4)},
    }
    weight_map = {}
    for name, tensors in shards.items():
        save_file(tensors, OUT / "sharded" / name, metadata={"format": "pt"})
        weight_map.update({tensor: name for tensor in tensors})
    index = {"metadata": {"total_size": 36}, "weight_map": weight_map}
    (OUT / "sharded" / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
