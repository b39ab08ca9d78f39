#!/usr/bin/env python3
"""How far fast compute (int8 activations) is from exact compute: mean and largest KL divergence in nats, and how often
the most likely token is the same.

Usage: compare_compute.py FRUGAL TEXT MODEL... [--tokens N] [--threads N]. Needs numpy. The text is cut to the first N
tokens (default 512) of each model's own tokenizer.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frugal")
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--threads", default="2")
    a = parser.parse_args()
    print(f"{'model':<40} {'mean KL':>9} {'largest':>9} {'same top':>9}")
    for model in a.models:
        with tempfile.TemporaryDirectory() as folder:
            encoded = subprocess.run([a.frugal, "tokenizer", "encode", model, "--file", a.text, "--json"], check=True,
                                     capture_output=True, text=True).stdout
            ids = pathlib.Path(folder, "ids.json")
            ids.write_text(json.dumps(json.loads(encoded)["ids"][: a.tokens]))
            rows = {}
            for compute in ("exact", "fast"):
                out = pathlib.Path(folder, compute + ".npy")
                subprocess.run([a.frugal, "logits", model, "--ids", ids, "--out", out, "--compute", compute, "--quiet",
                                "--threads", a.threads], check=True)
                rows[compute] = log_softmax(np.load(out))
        exact, fast = rows["exact"], rows["fast"]
        kl = (np.exp(exact) * (exact - fast)).sum(axis=1)
        same = (exact.argmax(axis=1) == fast.argmax(axis=1)).mean()
        print(f"{pathlib.Path(model).name:<40} {kl.mean():9.2e} {kl.max():9.2e} {same:9.1%}")


if __name__ == "__main__":
    main()
