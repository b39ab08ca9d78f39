#!/usr/bin/env python3
"""Writes tests/golden/gguf/all.gguf by the reference library: every type of metadata, tensors of several formats.

Needs gguf (made with 0.19.0). The test reads it, and writes it again byte for byte: what Frugal writes, the library reads.
With --check FILE..., reads files with `gguf.GGUFReader` instead and prints what they hold.
"""
import pathlib
import sys

import numpy as np
from gguf import GGUFReader, GGUFValueType as V, GGUFWriter, GGMLQuantizationType as T
from gguf.quants import quantize

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "gguf"


def write(path: pathlib.Path) -> None:
    w = GGUFWriter(path, "llama")
    w.add_key_value("t.u8", 200, V.UINT8)
    w.add_key_value("t.i8", -100, V.INT8)
    w.add_key_value("t.u16", 60000, V.UINT16)
    w.add_key_value("t.i16", -30000, V.INT16)
    w.add_key_value("t.u32", 4000000000, V.UINT32)
    w.add_key_value("t.i32", -2000000000, V.INT32)
    w.add_key_value("t.u64", 2**40, V.UINT64)
    w.add_key_value("t.i64", -(2**40), V.INT64)
    w.add_key_value("t.f32", 0.25, V.FLOAT32)
    w.add_key_value("t.f64", 1e100, V.FLOAT64)
    w.add_key_value("t.yes", True, V.BOOL)
    w.add_key_value("t.no", False, V.BOOL)
    w.add_key_value("t.text", "gr\u00fcn \U0001f600", V.STRING)
    w.add_key_value("t.empty", "", V.STRING)
    w.add_key_value("l.u8", [1, 2, 255], V.ARRAY, V.UINT8)
    w.add_key_value("l.u32", [1, 4000000000], V.ARRAY, V.UINT32)
    w.add_key_value("l.i32", [-1, 0, 7], V.ARRAY, V.INT32)
    w.add_key_value("l.f32", [0.5, -1.5], V.ARRAY, V.FLOAT32)
    w.add_key_value("l.text", ["", "a", "\u00e9\n"], V.ARRAY, V.STRING)
    counted = np.arange(2 * 3 * 64, dtype=np.float32).reshape(2, 3, 64)
    w.add_tensor("one", np.array([1.5, -2, 3], np.float32))
    w.add_tensor("cube", counted)
    w.add_tensor("half", counted[0].astype(np.float16))
    w.add_tensor("q8", quantize(counted[1], T.Q8_0), raw_dtype=T.Q8_0)
    w.add_tensor("q4", quantize(counted[0], T.Q4_1), raw_dtype=T.Q4_1)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main() -> None:
    if sys.argv[1:2] == ["--check"]:
        for path in sys.argv[2:]:
            reader = GGUFReader(path)
            print(f"{path}: {len(reader.fields)} keys")
            for tensor in reader.tensors:
                print(f"  {tensor.name} {tensor.tensor_type.name} {list(tensor.shape)}")
        return
    OUT.mkdir(parents=True, exist_ok=True)
    write(OUT / "all.gguf")


if __name__ == "__main__":
    main()
