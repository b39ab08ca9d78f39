#!/usr/bin/env python3
"""Vocabularies in GGUF files: Frugal's ids against llama.cpp's, for every pre-tokeniser name, and for a SentencePiece
model that is trained here, also against the sentencepiece package.

    check_gguf_tokenizers.py FRUGAL TOKENIZER.json MODEL TEXT...

TOKENIZER.json: any byte-level BPE tokenizer; its vocabulary is used under every name. MODEL: any model directory; its
weights carry vocabularies into GGUF files whose tokenizer.json, as `frugal convert` writes it, Hugging Face's tokenizers
then read. Needs llama-cpp-python, gguf, sentencepiece and tokenizers; exits with 77 without them.
"""
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

try:
    import gguf
    import llama_cpp
    import numpy as np
    import sentencepiece
    import tokenizers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

# llama.cpp's engine has no \\p{Lu}, \\p{Lm}, \\p{M} ...: it approximates these two patterns by ASCII cases. And its
# contractions are ASCII where tokenizer.json says (?i:'s), which takes the long s.
APPROXIMATE = {"gpt-4o", "tekken"}
HARD = ["", " ", "  ", "\n", "\n\n  x", "a  b   c    ", "don't DON'T I'LL we've 'tis", "x=1;y==2\n\tif(a<b){}", "1234567 12 3",
        "３４５ ١٢٣ ⅷ²", "naïve Café ÅÄÖ ǅ", "日本語テスト 中文，标点。", "한국어 텍스트", "Привет, мир!", "שלום עולם", "हिन्दी भाषा",
        "🙂👩‍👩‍👧‍👦🇩🇪!!", "a\u00a0b\u2003c\u3000d", "\r\n\r\n \r x", "...!!!???", "$100 + €5 = ¥7 ^ ~ | ` <tag>", "tab\tsep\t\tend",
        "#include <stdio.h>\nint main() { return 0; }", "e\u0301 a\u0308\u0301", "_under_score__ --flag", "\u2028\u0085x", "word\n"]


def ours(program, path, texts):
    out = []
    for text in texts:
        done = subprocess.run([program, "tokenizer", "encode", path, "--json", "--no-special"], input=text.encode(),
                              capture_output=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr.decode())
        out.append(json.loads(done.stdout)["ids"])
    return out


def theirs(path, texts):
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    return [model.tokenize(text.encode(), add_bos=False, special=True) if text else [] for text in texts]


def compare(name, a, b, texts, strict=True):
    bad = [i for i in range(len(texts)) if a[i] != b[i]]
    state = "same" if not bad else f"{len(bad)} of {len(texts)} differ" + ("" if strict else " (approximate there)")
    print(f"{name}: {state}" + (f", first {texts[bad[0]]!r}: {a[bad[0]]} against {b[bad[0]]}" if bad else ""))
    return len(bad) if strict else 0


def known_names():
    source = (pathlib.Path(__file__).parent.parent / "src/text/ggml_pre.cpp").read_text()
    table = source[source.index("kTable[]"):]
    return [names.replace('"', "").split()[0] for names in re.findall(r'^    (?:\{)?((?:"[a-z0-9. -]+"\s*)+),\s*(?=\{|\n)', table, re.M)]


def start(path, model, rows=0):
    """A GGUF file with the tensors and settings of `model`, its tokenizer to be added; embeddings of at least `rows` rows."""
    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if not key.startswith(("GGUF.", "tokenizer.", "general.architecture")):
            writer.add_key_value(key, field.contents(), field.types[0])
    for tensor in reader.tensors:
        data = tensor.data.reshape(list(map(int, reversed(tensor.shape))))
        if tensor.name in ("token_embd.weight", "output.weight"):
            data = np.pad(data, ((0, max(0, rows - len(data))), (0, 0)))
        writer.add_tensor(tensor.name, data)
    return writer


def huggingface(program, path, folder, texts):
    out = pathlib.Path(folder) / "hf"
    subprocess.run([program, "convert", path, out, "--quiet"], check=True)
    tokenizer = tokenizers.Tokenizer.from_file(str(out / "tokenizer.json"))
    return [tokenizer.encode(text, add_special_tokens=False).ids if text else [] for text in texts]


def write_bpe(path, tokenizer, pre, model):
    vocab = tokenizer["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.get)
    added = {t["id"] for t in tokenizer["added_tokens"]}
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer = start(path, model)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if vocab[t] in added else 1 for t in tokens])
    writer.add_token_merges(merges)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_spm(path, model, weights):
    kinds = [(model.is_unknown, 2), (model.is_control, 3), (model.is_unused, 5), (model.is_byte, 6)]
    size = range(model.get_piece_size())
    writer = start(path, weights, len(size))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([model.id_to_piece(i) for i in size])
    writer.add_token_scores([model.get_score(i) for i in size])
    writer.add_token_types([next((kind for test, kind in kinds if test(i)), 1) for i in size])
    finish(writer)


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    tokenizer = json.loads(pathlib.Path(sys.argv[2]).read_text())
    text = "\n".join(pathlib.Path(p).read_text() for p in sys.argv[4:])
    lines = [line for line in text.splitlines() if line][:150]
    rng = random.Random(7)
    alphabet = [c for t in HARD + lines[:20] for c in t]
    texts = HARD + lines + ["".join(rng.choices(alphabet, k=rng.randint(1, 40))) for _ in range(150)]
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "vocab.gguf"
        weights = pathlib.Path(folder) / "weights.gguf"
        subprocess.run([program, "convert", sys.argv[3], weights, "--quiet"], check=True)
        for pre in known_names():
            write_bpe(path, tokenizer, pre, weights)
            found = ours(program, path, texts)
            failures += compare(pre + ", llama.cpp", found, theirs(path, texts), texts, pre not in APPROXIMATE)
            failures += compare(pre + ", tokenizers", found, huggingface(program, path, folder, texts), texts)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text.splitlines()), model_prefix=folder + "/spm", vocab_size=1200, model_type="bpe",
            byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
            split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2)
        model = sentencepiece.SentencePieceProcessor(model_file=folder + "/spm.model")
        write_spm(path, model, weights)
        found = ours(program, path, texts)
        failures += compare("spm, llama.cpp", found, theirs(path, texts), texts)
        failures += compare("spm, tokenizers", found, huggingface(program, path, folder, texts), texts)
        failures += compare("spm, sentencepiece", found, [model.encode(t) for t in texts], texts)
        # The tokenizer.json that `huggingface` left, as a vocabulary of scores again.
        again = pathlib.Path(folder) / "again.gguf"
        subprocess.run([program, "convert", pathlib.Path(folder) / "hf", again, "--quiet"], check=True)
        failures += compare("spm from tokenizer.json, tokenizers", ours(program, again, texts), found, texts)
        failures += compare("spm from tokenizer.json, llama.cpp", ours(program, again, texts), theirs(again, texts), texts)
    print(f"{failures} failures")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
