#!/usr/bin/env python3
"""Speed of Frugal's tokenizer beside HF's `tokenizers`: training and encoding the same text (label: peer).

    python tools/compare_tokenizers.py build/release/frugal TEXT.jsonl... [--vocab 4096] [--threads 2] [--rounds 3]

Both train byte-level BPE with the same pattern, special tokens and minimal frequency, from the files to a saved
tokenizer.json, each in a process of its own (importing the package is taken off HF's time). Then both encode all
documents, in memory, on one thread. Rounds alternate; the last lines are medians, ratios and peak memory.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def texts(files):
    for name in files:
        with open(name) as lines:
            for line in lines:
                yield json.loads(line)["text"]


def hf(options: argparse.Namespace) -> None:
    """Trains or encodes in this process; prints a JSON object."""
    from tokenizers import Tokenizer, decoders, models, trainers
    given = Tokenizer.from_file(options.like)
    if options.what == "train":
        start = time.perf_counter()
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = given.pre_tokenizer, decoders.ByteLevel()
        specials = [token.content for _, token in sorted(given.get_added_tokens_decoder().items())]
        from tokenizers.pre_tokenizers import ByteLevel
        made.train_from_iterator(texts(options.files), trainers.BpeTrainer(
            vocab_size=options.vocab, min_frequency=2, special_tokens=specials, show_progress=False,
            initial_alphabet=ByteLevel.alphabet()))
        made.save(options.out)
        result = {"seconds": time.perf_counter() - start, "vocab": made.get_vocab_size()}
    else:
        documents = list(texts(options.files))
        start = time.perf_counter()
        tokens = sum(len(encoding.ids) for encoding in given.encode_batch_fast(documents))
        result = {"seconds": time.perf_counter() - start, "tokens": tokens}
    print(json.dumps(result | {"megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def peer(options, what, like, out, threads) -> dict:
    command = [sys.executable, __file__, "-", *options.files, "--what", what, "--like", str(like), "--out", str(out),
               "--vocab", str(options.vocab)]
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def frugal_train(options, out) -> dict:
    start = time.perf_counter()
    process = subprocess.Popen([options.frugal, "tokenizer", "train", *options.files, "--out", str(out), "--vocab",
                                str(options.vocab), "--threads", str(options.threads), "--quiet"])
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit("frugal tokenizer train failed")
    return {"seconds": time.perf_counter() - start, "megabytes": usage.ru_maxrss / 1024}


def frugal_encode(options, folder) -> dict:
    return json.loads(subprocess.run([options.frugal, "bench", "tokenizer", str(folder), *options.files, "--threads",
                                      "1", "--repeat", "1", "--json", "--quiet"], capture_output=True, text=True,
                                     check=True).stdout)


def show(name, ours, theirs, megabytes_of_text):
    seconds = [statistics.median(run["seconds"] for run in runs) for runs in (ours, theirs)]
    print(f"{name}: frugal {seconds[0]:.2f} s ({megabytes_of_text / seconds[0]:.1f} MB/s), "
          f"HF {seconds[1]:.2f} s ({megabytes_of_text / seconds[1]:.1f} MB/s): {seconds[1] / seconds[0]:.2f} times")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frugal")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--what", help=argparse.SUPPRESS)
    parser.add_argument("--like", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what:
        hf(options)
        return 0
    size = sum(len(text.encode()) for text in texts(options.files)) / 1e6
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "tokenizer"
        like = folder / "tokenizer.json"
        training, encoding = ([], []), ([], [])
        for _ in range(options.rounds):
            training[0].append(frugal_train(options, folder))
            training[1].append(peer(options, "train", like, folder / "hf.json", options.threads))
            encoding[0].append(frugal_encode(options, folder))
            encoding[1].append(peer(options, "encode", like, folder / "unused", 1))
        ours, theirs = encoding[0][-1]["tokens"], encoding[1][-1]["tokens"]
        if abs(ours - theirs) > 2 * encoding[0][-1]["documents"]:  # BOS and EOS of each may differ
            raise SystemExit(f"not the same tokens: {ours} and {theirs}")
    print(f"{size:.1f} MB of text, {options.rounds} rounds, medians")
    show(f"training {options.vocab} ids, {options.threads} threads", *training, size)
    show("encoding, 1 thread", *encoding, size)
    print(f"peak memory of training: frugal {training[0][-1]['megabytes']:.0f} MB, HF {training[1][-1]['megabytes']:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
