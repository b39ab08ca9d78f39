#!/usr/bin/env python3
"""Perplexity of a GGUF file beside llama.cpp's programs: same text, same windows, same positions.

    compare_perplexity.py FRUGAL MODEL.gguf TEXT.jsonl --peer path/to/llama-perplexity [--window 512] [--windows N]
    compare_perplexity.py FRUGAL MODEL.gguf TEXT.jsonl --python [--windows N]

--peer: llama-perplexity of llama.cpp or ik_llama.cpp, a process of its own. --python: llama.cpp as llama-cpp-python
carries it, in this Python. Both may be given.

The documents are joined by blank lines and cut as llama-perplexity does: disjoint windows, BOS in place of the first
token where the file asks for one, and only the second half of a window counts. Needs numpy.
"""
import argparse
import json
import math
import pathlib
import re
import subprocess
import tempfile

import numpy as np

WINDOWS_AT_ONCE = 4  # all logits of 512 tokens and 50,000 pieces are 100 MB


def run(*command, folder: pathlib.Path | None = None) -> str:
    """What it prints. folder: to run it in."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=folder)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr[-400:]}")
    return done.stdout + done.stderr


def encode(a, text: pathlib.Path) -> tuple[list[int], int | None]:
    """The ids of the whole text, and BOS where the model wants one."""
    plain, framed = (json.loads(run(a.frugal, "tokenizer", "encode", a.model, "--file", text, "--json", "--quiet", *flags)
                                .splitlines()[0])["ids"] for flags in (["--no-special"], []))
    return (framed, framed[0]) if framed[:1] != plain[:1] else (plain, None)


def windows_of(a, ids: list[int], bos: int | None) -> list[list[int]]:
    count = len(ids) // a.window
    if a.windows is not None:
        count = min(count, a.windows)
    cut = [ids[i * a.window:(i + 1) * a.window] for i in range(count)]
    return cut if bos is None else [[bos] + window[1:] for window in cut]


def nats(logits: np.ndarray, window: list[int]) -> float:
    """The loss of the second half of a window, summed. logits: (T, V)."""
    half, end = len(window) // 2, len(window) - 1
    x = logits[half:end] - logits[half:end].max(axis=1, keepdims=True)
    found = x[np.arange(end - half), window[half + 1:]].astype(np.float64)
    return float((np.log(np.exp(x).sum(axis=1, dtype=np.float64)) - found).sum())


def ours(a, windows, compute: str, folder: pathlib.Path) -> float:
    total = 0.0
    for at in range(0, len(windows), WINDOWS_AT_ONCE):
        some = windows[at:at + WINDOWS_AT_ONCE]
        (folder / "ids.json").write_text(json.dumps(some))
        run(a.frugal, "logits", a.model, "--ids", folder / "ids.json", "--out", folder / "logits.npy", "--compute", compute,
            "--threads", a.threads, "--quiet")
        logits = np.load(folder / "logits.npy", mmap_mode="r")
        for i, window in enumerate(some):
            total += nats(logits[i * a.window:(i + 1) * a.window], window)
    return total


def of_program(a, text: pathlib.Path, windows) -> float:
    printed = run(a.peer, "-m", a.model, "-f", text, "-c", a.window, "-b", a.window, "-t", a.threads, "--chunks", len(windows),
                  folder=text.parent)  # it leaves a log where it runs
    final = re.search(r"PPL(?: over (\d+) chunks for n_ctx=\d+)? = ([0-9.]+)", printed)
    if final is None or int(final[1] or len(windows)) != len(windows):
        raise SystemExit(f"{a.peer}: expected a perplexity of {len(windows)} windows, got: {printed[-400:]}")
    return float(final[2])


def of_python(a, windows) -> float:
    import llama_cpp
    model = llama_cpp.Llama(str(a.model), n_ctx=a.window, n_batch=a.window, n_threads=a.threads, n_threads_batch=a.threads,
                            logits_all=True, verbose=False)
    total = 0.0
    for window in windows:
        model.reset()
        model.eval(window)
        total += nats(model.scores[:len(window)], window)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frugal", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("text", type=pathlib.Path, help="JSON Lines with \"text\"")
    parser.add_argument("--peer", type=pathlib.Path, help="llama-perplexity")
    parser.add_argument("--python", action="store_true", help="llama-cpp-python")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--windows", type=int, help="the first so many only")
    parser.add_argument("--compute", nargs="+", default=["exact"], help="of frugal: exact, fast")
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    if a.peer is None and not a.python:
        parser.error("nothing to compare with: give --peer or --python")
    a.model, a.frugal = a.model.resolve(), a.frugal.resolve()
    a.peer = a.peer and a.peer.resolve()
    documents = [json.loads(line)["text"] for line in a.text.read_text().splitlines() if line.strip()]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        text = folder / "text.txt"
        text.write_text("\n\n".join(documents))
        windows = windows_of(a, *encode(a, text))
        counted = len(windows) * (a.window - 1 - a.window // 2)
        print(f"{a.model.name}: {len(windows)} windows of {a.window} tokens, {counted} of them counted")
        peers = {}
        if a.peer:
            peers[a.peer.name] = of_program(a, text, windows)
        if a.python:
            peers["llama-cpp-python"] = math.exp(of_python(a, windows) / counted)
        for peer, theirs in peers.items():
            print(f"  {peer:<20} {theirs:.4f}", flush=True)
        for compute in a.compute:
            found = math.exp(ours(a, windows, compute, folder) / counted)
            beside = ", ".join(f"{100 * (found / theirs - 1):+.2f} % of {peer}" for peer, theirs in peers.items())
            print(f"  frugal, {compute:<12} {found:.4f}  {beside}", flush=True)


if __name__ == "__main__":
    main()
