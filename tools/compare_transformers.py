#!/usr/bin/env python3
"""Compares `frugal logits` with transformers in f32 on a model directory (ctest label: peer).

    python tools/compare_transformers.py build/release/frugal MODEL... [--ids ids.json | --length 64]

Prints one line per MODEL: the class that AutoModelForCausalLM chose, the largest difference over the standard
deviation of the logits, and how often the most likely token agrees. Exits 1 when a difference exceeds --tolerance.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM


def frugal_logits(binary: str, folder: str, ids: list[int]) -> np.ndarray:
    """What the binary writes: f32 (T, V)."""
    with tempfile.TemporaryDirectory() as work:
        ids_file, out = pathlib.Path(work, "ids.json"), pathlib.Path(work, "logits.npy")
        ids_file.write_text(json.dumps({"ids": ids}))
        subprocess.run([binary, "logits", folder, "--ids", str(ids_file), "--out", str(out)], check=True)
        return np.load(out)


def transformers_logits(folder: str, ids: list[int]) -> tuple[np.ndarray, str]:
    # The default for experts, grouped_mm, refuses rows that are not a multiple of 16 bytes.
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True)
    if report["missing_keys"]:
        sys.exit(f"{folder}: transformers misses {sorted(report['missing_keys'])[:5]}")
    with torch.no_grad():
        return model.eval()(torch.tensor([ids]), use_cache=False).logits[0].float().numpy(), type(model).__name__


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frugal", help="path of the binary")
    parser.add_argument("models", nargs="+", help="directories in HF layout")
    parser.add_argument("--ids", help='token ids: {"ids": [...]}; default: random ones')
    parser.add_argument("--length", type=int, default=64, help="how many random ids")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest difference / std of the logits")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.disable_progress_bar()
    failed = False
    for folder in options.models:
        vocabulary = json.loads(pathlib.Path(folder, "config.json").read_text())["vocab_size"]
        ids = np.random.default_rng(0).integers(0, vocabulary, options.length).tolist()
        if options.ids:
            ids = json.loads(pathlib.Path(options.ids).read_text())["ids"]
        theirs, class_name = transformers_logits(folder, ids)
        ours = frugal_logits(options.frugal, folder, ids)
        if ours.shape != theirs.shape or ours.dtype != np.float32:
            print(f"{folder}: frugal gave {ours.dtype} {ours.shape}, transformers {theirs.shape}")
            failed = True
            continue
        difference = np.abs(ours - theirs).max() / theirs.std()
        agree = (ours.argmax(-1) == theirs.argmax(-1)).mean()
        good = bool(difference <= options.tolerance)  # False for NaN as well
        failed |= not good
        print(f"{folder}: {class_name}, {len(ids)} tokens, max |difference| / std {difference:.2e}, "
              f"same top token {agree:.1%}: {'ok' if good else 'DIFFERS'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
