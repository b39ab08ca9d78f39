#!/usr/bin/env python3
"""Models that Frugal trains, against transformers in f32: the same class opens them, the same logits, the same ids.

    compare_transformers.py FRUGAL [MODEL...] [--train] [--ids ids.json | --length 64]

MODEL is a directory in HF layout or a run directory. --train: trains tiny ones first, sparse and dense.

Prints one line per MODEL: the class that AutoModelForCausalLM chose, the largest difference over the standard
deviation of the logits, and how often the most likely token agrees. Exits 1 when a difference exceeds --tolerance
or the tokenizers disagree; without transformers it says so and exits with 77, which ctest takes as skipped.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import tiny_model

try:
    import numpy as np
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TEXTS = ["Once upon a time there was a small boat.", "What is 27 + 45?", " two  spaces\n\n\tand a tab ",
         "naïve café — 数据 🚀 I'll, WE'LL 1234567", ""]
CHAT = [{"role": "user", "content": "Where does Mira live?"}, {"role": "assistant", "content": "In Windmere."},
        {"role": "user", "content": " And\nLeo?"}]


def frugal(program: pathlib.Path, *arguments) -> str:
    done = subprocess.run([str(a) for a in (program, *arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def frugal_logits(program: pathlib.Path, folder: pathlib.Path, ids: list[int]) -> np.ndarray:
    """What the program writes: f32 (T, V)."""
    with tempfile.TemporaryDirectory() as work:
        ids_file, out = pathlib.Path(work, "ids.json"), pathlib.Path(work, "logits.npy")
        ids_file.write_text(json.dumps({"ids": ids}))
        frugal(program, "logits", folder, "--ids", ids_file, "--out", out, "--quiet")
        return np.load(out)


def transformers_logits(folder: pathlib.Path, ids: list[int]) -> tuple[np.ndarray, str]:
    # The default for experts, grouped_mm, refuses rows that are not a multiple of 16 bytes.
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True)
    if report["missing_keys"]:
        sys.exit(f"{folder}: transformers misses {sorted(report['missing_keys'])[:5]}")
    with torch.no_grad():
        return model.eval()(torch.tensor([ids]), use_cache=False).logits[0].float().numpy(), type(model).__name__


def same_logits(program: pathlib.Path, folder: pathlib.Path, ids: list[int], tolerance: float) -> bool:
    theirs, class_name = transformers_logits(folder, ids)
    ours = frugal_logits(program, folder, ids)
    if ours.shape != theirs.shape or ours.dtype != np.float32:
        print(f"{folder}: frugal gave {ours.dtype} {ours.shape}, transformers {theirs.shape}")
        return False
    difference = np.abs(ours - theirs).max() / theirs.std()
    agree = (ours.argmax(-1) == theirs.argmax(-1)).mean()
    good = bool(difference <= tolerance)  # False for NaN as well
    print(f"{folder}: {class_name}, {len(ids)} tokens, max |difference| / std {difference:.2e}, "
          f"same top token {agree:.1%}: {'ok' if good else 'DIFFERS'}")
    return good


def same_ids(program: pathlib.Path, folder: pathlib.Path) -> bool:
    """Texts and a conversation under the model's template, as Hugging Face's tokenizer reads them."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = TEXTS
    if tokenizer.chat_template:
        texts = texts + [tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)]
    good = True
    for text in texts:
        theirs = tokenizer(text, add_special_tokens=False)["input_ids"]
        ours = json.loads(frugal(program, "tokenizer", "encode", folder, "--no-special", "--json", "--text=" + text))
        if ours["ids"] != theirs:
            print(f"{folder}: ids of {text!r} differ: {ours['ids']} against {theirs}")
            good = False
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frugal", type=pathlib.Path, help="path of the program")
    parser.add_argument("models", nargs="*", type=pathlib.Path, help="directories in HF layout, or of runs")
    parser.add_argument("--train", action="store_true", help="train tiny models and compare on them too")
    parser.add_argument("--ids", help='token ids: {"ids": [...]}; default: random ones')
    parser.add_argument("--length", type=int, default=64, help="how many random ids")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest difference / std of the logits")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    options = parser.parse_args()
    options.frugal = options.frugal.resolve()
    torch.set_num_threads(options.threads)
    transformers.logging.disable_progress_bar()
    good = True
    with tempfile.TemporaryDirectory() as work:
        if options.train:
            work = pathlib.Path(work)
            options.models += [tiny_model.train(options.frugal, work, "nano", "model.first_k_dense_replace=1"),
                               tiny_model.train(options.frugal, work, "dense-nano", "model.tie_word_embeddings=false")]
        for folder in options.models:
            folder = folder / "model" if (folder / "model").is_dir() else folder
            vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
            ids = np.random.default_rng(0).integers(0, vocabulary, options.length).tolist()
            if options.ids:
                ids = json.loads(pathlib.Path(options.ids).read_text())["ids"]
            good &= same_logits(options.frugal, folder, ids, options.tolerance)
            if (folder / "tokenizer.json").exists():
                good &= same_ids(options.frugal, folder)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
