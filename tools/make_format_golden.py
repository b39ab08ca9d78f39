#!/usr/bin/env python3
"""Writes tests/golden/formats/: what the reference implementations make of blocks and rows.

- decode.safetensors: NAME.bytes (blocks, block bytes) and NAME.values (blocks, block) by `gguf.quants.dequantize`; blocks
  are random bytes, some with extreme scales (zero, smallest, largest, infinite, NaN). f8_e4m3 comes from torch.
- rows.safetensors: rows of different distributions and importance weights to encode.
- reference_errors.json: per format and row the error of llama.cpp's quantiser, root of the mean of w (x - y)^2 with
  w = 1 (`plain`) and with w = the importance handed to it, divided by its mean (`weighted`).

Needs numpy, torch, safetensors and gguf (made with 0.19.0). The errors need llama.cpp's quantisers as a shared library
with ggml_quantize_chunk (made with those of llama-cpp-python 0.3.36); without --ggml they are left as they are.
"""
import argparse
import ctypes
import json
import pathlib

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "formats"
# Where blocks keep scales in f16, by byte offset.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.IQ4_NL: [0], T.Q2_K: [80, 82],
    T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.MXFP4: [], T.F16: [0], T.BF16: [], T.F32: [],
}
EXTREME = [0x0000, 0x8000, 0x0001, 0x03FF, 0x7BFF, 0xFBFF, 0x7C00, 0x7E01]  # 0, -0, subnormals, +-65504, inf, NaN
QUANTISED = [t for t in HALVES if t not in (T.F32, T.F16, T.BF16)]


def random_blocks(rng: np.random.Generator, kind: T) -> np.ndarray:
    block, size = GGML_QUANT_SIZES[kind]
    count = 8 if block == 256 else 24 if block == 32 else 512
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALVES[kind]:
        for i in range(count):  # most scales are those of real weights; the last blocks have the extreme ones
            half = rng.normal() * 2.0 ** rng.integers(-14, 4)
            blocks[i, at : at + 2] = np.frombuffer(np.float16(half).tobytes(), np.uint8)
    if block == 1:
        return blocks
    for at in HALVES[kind]:
        for i, bits in enumerate(EXTREME if block == 32 else EXTREME[::3]):
            blocks[count - 1 - i, at : at + 2] = np.frombuffer(np.uint16(bits).tobytes(), np.uint8)
    if kind == T.MXFP4:
        blocks[:, 0] = np.concatenate([[0, 1, 2, 3, 254, 255], rng.integers(100, 150, count - 6)])
    return blocks


def decoded() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    out = {}
    with np.errstate(all="ignore"):
        for kind in HALVES:
            name, blocks = kind.name.lower(), random_blocks(rng, kind)
            out[f"{name}.bytes"] = blocks
            values = dequantize(blocks.reshape(1, -1), kind).astype(np.float32)
            out[f"{name}.values"] = np.ascontiguousarray(values.reshape(blocks.shape[0], -1))
    codes = torch.arange(256, dtype=torch.uint8)
    out["f8_e4m3.bytes"] = codes.numpy().reshape(256, 1)
    out["f8_e4m3.values"] = codes.view(torch.float8_e4m3fn).float().numpy().reshape(256, 1)
    return out


def rows() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    n = 2048
    return {
        "normal": rng.normal(0, 0.02, n).astype(np.float32),
        "laplace": rng.laplace(0, 0.5, n).astype(np.float32),
        "outliers": (rng.standard_t(3, n) * 0.01).astype(np.float32),
        "shifted": (rng.normal(0, 0.02, n) + 0.03).astype(np.float32),
        "importance": np.exp(rng.normal(0, 1.5, n)).astype(np.float32),
    }


def reference_errors(library: str, data: dict[str, np.ndarray]) -> dict:
    ggml = ctypes.CDLL(library)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    floats = ctypes.POINTER(ctypes.c_float)
    importance = data["importance"]

    def error(kind: T, row: np.ndarray, weights: np.ndarray | None) -> float:
        block, size = GGML_QUANT_SIZES[kind]
        to = np.zeros(row.size // block * size, np.uint8)
        ggml.ggml_quantize_chunk(ctypes.c_int(kind), row.ctypes.data_as(floats), to.ctypes.data_as(ctypes.c_void_p),
                                 ctypes.c_int64(0), ctypes.c_int64(1), ctypes.c_int64(row.size),
                                 weights.ctypes.data_as(floats) if weights is not None else None)
        difference = dequantize(to.reshape(1, -1), kind)[0].astype(np.float64) - row
        w = np.ones(row.size) if weights is None else weights / weights.mean(dtype=np.float64)
        return float(f"{np.sqrt(np.mean(w * difference**2)):.6g}")

    return {
        kind.name.lower(): {
            name: {"plain": error(kind, row, None), "weighted": error(kind, row, importance)}
            for name, row in data.items() if name != "importance"
        }
        for kind in QUANTISED
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ggml", help="shared library with ggml_quantize_chunk")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    save_file(decoded(), OUT / "decode.safetensors")
    data = rows()
    save_file(data, OUT / "rows.safetensors")
    if options.ggml:
        text = json.dumps(reference_errors(options.ggml, data), indent=1)
        (OUT / "reference_errors.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
