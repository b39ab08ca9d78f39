#!/usr/bin/env python3
"""How far fast compute (int8 activations) is from exact compute: mean and largest KL divergence from the exact next-token
distribution in nats, and how often the most likely token is the same.

    compare_compute.py FRUGAL TEXT.jsonl MODEL... [--window 512] [--windows 8] [--peer path/to/llama-perplexity]

The text is cut as tools/compare_perplexity.py has it: disjoint windows, and their second half counts. With --peer the
distributions that llama-perplexity of llama.cpp or ik_llama.cpp saves of the same windows (--kl-divergence-base) are held
against the same exact ones: f32 activations on the file's own weights, the reference that the peer has no mode for. Needs
numpy.
"""
import argparse
import json
import pathlib
import tempfile

import numpy as np
from compare_perplexity import encode, run, windows_of


def log_softmax(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def ours(a, windows, compute: str, folder: pathlib.Path) -> list[np.ndarray]:
    """Logits of the second half of each window: (window / 2 - 1, V)."""
    (folder / "ids.json").write_text(json.dumps(windows))
    out = folder / f"{compute}.npy"
    run(a.frugal, "logits", a.model, "--ids", folder / "ids.json", "--out", out, "--compute", compute, "--threads", a.threads, "--quiet")
    logits = np.load(out, mmap_mode="r")
    return [logits[i * a.window + a.window // 2:(i + 1) * a.window - 1] for i in range(len(windows))]


def theirs(a, text, windows, folder: pathlib.Path) -> list[np.ndarray]:
    """Log-probabilities, which the file keeps as 16-bit steps of 24 nats; tokens less likely than that are left at its end."""
    saved = folder / "base"
    run(a.peer, "-m", a.model, "-f", text, "-c", a.window, "-b", a.window, "-t", a.threads, "--chunks", len(windows),
        "--kl-divergence-base", saved, folder=folder)  # it leaves a log where it runs
    window, vocabulary, count = np.fromfile(saved, np.int32, 3, offset=8)
    ids = np.fromfile(saved, np.int32, window * count, offset=20).reshape(count, window)
    if [row[1:] for row in ids.tolist()] != [w[1:] for w in windows]:
        raise SystemExit(f"{a.model}: {a.peer.name} has other tokens")
    rows, width = window - 1 - window // 2, 2 * ((vocabulary + 1) // 2) + 4
    data = np.fromfile(saved, np.uint16, offset=20 + ids.nbytes).reshape(count, rows, width)
    scale_and_least = np.ascontiguousarray(data[:, :, :4]).view(np.float32)
    return [scale_and_least[i, :, :1] * data[i, :, 4:4 + vocabulary].astype(np.float32) + scale_and_least[i, :, 1:2]
            for i in range(count)]


def divergence(exact: list[np.ndarray], other: list[np.ndarray]) -> str:
    kl, same = [], []
    for p, q in zip(exact, other):
        p, q = log_softmax(p), log_softmax(q)
        kl.append((np.exp(p) * (p - q)).sum(axis=1))
        same.append(p.argmax(axis=1) == q.argmax(axis=1))
    kl = np.concatenate(kl)
    return f"{kl.mean():9.2e} {kl.max():9.2e} {np.concatenate(same).mean():9.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frugal", type=pathlib.Path)
    parser.add_argument("text", type=pathlib.Path, help="JSON Lines with \"text\"")
    parser.add_argument("models", nargs="+", type=pathlib.Path, help=".gguf files")
    parser.add_argument("--peer", type=pathlib.Path, help="llama-perplexity")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--windows", type=int, default=8, help="how many of them, from the text's beginning")
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    a.models, a.frugal = [model.resolve() for model in a.models], a.frugal.resolve()
    a.peer = a.peer and a.peer.resolve()
    documents = [json.loads(line)["text"] for line in a.text.read_text().splitlines() if line.strip()]
    print(f"{'model':<32} {'':<17} {'mean KL':>9} {'largest':>9} {'same top':>9}")
    for a.model in a.models:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            text = folder / "text.txt"
            text.write_text("\n\n".join(documents))
            windows = windows_of(a, *encode(a, text))
            exact = ours(a, windows, "exact", folder)
            found = {"fast": ours(a, windows, "fast", folder)}
            if a.peer:
                found[a.peer.name] = theirs(a, text, windows, folder)
            for what, logits in found.items():
                print(f"{a.model.name:<32} {what:<17} {divergence(exact, logits)}", flush=True)


if __name__ == "__main__":
    main()
