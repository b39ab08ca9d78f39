#!/usr/bin/env python3
"""Makes tests/golden/tokenizer/: what HF tokenizers does, for tests/text/ to compare with.

corpus.txt   a document a line, made here
trained.json what HF's BpeTrainer learns from it (vocabulary and merges)
metaspace.json the same over characters with U+2581 for spaces and bytes for the rest, as Llama 2 and Mistral have it
cases.json   encodings of nasty strings under many configurations; a configuration is one of the two with parts replaced

    pip install tokenizers==0.23.3 && tools/make_tokenizer_golden.py
"""
import json
import pathlib
import random

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/tokenizer"
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
RESERVED = ["<|bos|>", "<|eos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|pad|>"
            ] + [f"<|reserved_{k}|>" for k in range(8)]


def corpus() -> list[str]:
    rng = random.Random(7)
    syllables = "ka lo mi ter an the ing er st ou qu ent re ü ñ".split()
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(300)]
    lines = []
    for _ in range(250):
        line = " ".join(rng.choices(words, weights=[1 / (k + 1) for k in range(300)], k=rng.randint(3, 25)))
        if rng.random() < 0.3:
            line += f", it's {rng.randint(0, 99999)} + {rng.randint(0, 99)}!"
        if rng.random() < 0.1:
            line += " 我们学习语言模型。 Привет, мир 🙂 aaaaaaaa " + "=" * rng.randint(1, 40)
        lines.append(line.capitalize() + ".")
    return lines


def byte_level(prefix=False, regex=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def added(token_id, content, **flags):
    base = {"id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": False}
    return base | flags


def template(*ids):
    piece = [{"SpecialToken": {"id": RESERVED[i], "type_id": 0}} for i in ids]
    single = piece[:1] + [{"Sequence": {"id": "A", "type_id": 0}}] + piece[1:]
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {RESERVED[i]: {"id": RESERVED[i], "ids": [i], "tokens": [RESERVED[i]]} for i in ids}}


def configurations(size: int) -> dict:
    special = [added(i, c, special=True) for i, c in enumerate(RESERVED)]
    odd = special + [added(size, "<a b>", lstrip=True), added(size + 1, "<cd>", rstrip=True),
                     added(size + 2, "word", single_word=True), added(size + 3, "é!", normalized=True),
                     added(size + 4, "<a b>c", special=True, rstrip=True, lstrip=True),
                     added(size + 5, "ab<cd", normalized=True)]
    out = {
        "qwen2": {},
        "gpt2": {"pre_tokenizer": byte_level(regex=True)},
        "gpt2 prefix": {"pre_tokenizer": byte_level(prefix=True, regex=True)},
        "llama3": {"pre_tokenizer": sequence(split(LLAMA3), byte_level()), "model": {"ignore_merges": True},
                   "post_processor": {"type": "Sequence", "processors": [byte_level(), template(0)]}},
        "o200k": {"pre_tokenizer": sequence(split(O200K), byte_level())},
        "deepseek": {"pre_tokenizer": sequence(*[split(p) for p in DEEPSEEK], byte_level())},
        "bos eos": {"post_processor": template(0, 1)},
        "nfc": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}, "added_tokens": odd},
        "added": {"added_tokens": odd},
        "digits": {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, byte_level(regex=True))},
        "digit runs": {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": False}, byte_level())},
        "words": {"pre_tokenizer": sequence(split(r"\w+|[^\w\s]+|\d|\W", "Isolated"), byte_level())},
        "lines": {"pre_tokenizer": sequence(split(r"^.|\bk|a*?", "Isolated"), byte_level())},
    }
    for behavior in ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        for invert in [False, True]:
            name = f"{behavior}{' inverted' if invert else ''}"
            out[name] = {"pre_tokenizer": sequence(split(r"\s|e", behavior, invert), byte_level())}
        out[behavior + " string"] = {"pre_tokenizer": sequence(split("an", behavior, kind="String"), byte_level())}
    return out


def normalizers(*parts):
    return {"type": "Sequence", "normalizers": list(parts)}


REPLACE_SPACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Prepend", "prepend": "▁"}


def metaspace(scheme, cuts):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cuts}


def more_configurations() -> dict:
    """Normalisers and pre-tokenizers beside those of the families."""
    regex = {"type": "Replace", "pattern": {"Regex": r"\s+|k(?=a)"}, "content": "~"}
    return {
        "nfd": {"normalizer": {"type": "NFD"}}, "nfkc": {"normalizer": {"type": "NFKC"}}, "nfkd": {"normalizer": {"type": "NFKD"}},
        "lower strip": {"normalizer": normalizers({"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True})},
        "prepend replace": {"normalizer": normalizers({"type": "Prepend", "prepend": "q"}, regex)},
        "punctuation": {"pre_tokenizer": sequence({"type": "Punctuation", "behavior": "Isolated"}, byte_level())},
        "whitespace": {"pre_tokenizer": sequence({"type": "Whitespace"}, byte_level())},
        "whitespace split": {"pre_tokenizer": sequence({"type": "WhitespaceSplit"}, byte_level())},
    }


def metaspace_configurations() -> dict:
    return {
        "llama2": {},
        "mistral": {"normalizer": None, "pre_tokenizer": metaspace("first", False)},
        "metaspace words": {"normalizer": None, "pre_tokenizer": metaspace("always", True)},
        "metaspace never": {"normalizer": None, "pre_tokenizer": sequence({"type": "Digits", "individual_digits": True},
                                                                          metaspace("never", False))},
        "replace split": {"normalizer": REPLACE_SPACE, "pre_tokenizer": split(" ", "MergedWithPrevious", kind="String")},
        "unknown": {"model": {"byte_fallback": False, "fuse_unk": False}},
        "unknown fused": {"model": {"byte_fallback": False, "fuse_unk": True, "ignore_merges": True}},
    }


def metaspace_base(lines) -> dict:
    """Trained over characters; bytes and control tokens come first, as in SentencePiece models."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", "always", True)
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=[], min_frequency=2, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    names = first + sorted(learned["vocab"], key=learned["vocab"].get)
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    single = [bos, {"Sequence": {"id": "A", "type_id": 0}}]
    back = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added(i, c, special=True) for i, c in enumerate(first[:3])]
                        + [added(len(names), "<|end|>", special=True), added(len(names) + 1, "<cd>", rstrip=True)],
        "normalizer": normalizers(PREPEND, REPLACE_SPACE), "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": back},
        "model": learned | {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
                            "vocab": {n: i for i, n in enumerate(names)}, "merges": [" ".join(m) for m in learned["merges"]]},
    }


def nasty() -> list[str]:
    rng = random.Random(11)
    texts = ["", " ", "\n", "  a", "a  ", "\r\n\r\n x \t\ty", "It's we'RE I'LL you'd'S 'ſ x'ſ", "''' 'a 're",
             "hello world" * 3, "aaaaaaaaaaaaaaaaa", "terterterterterter" * 30, "1234567890" * 5, "٣٤٥ ½ Ⅷ ²³",
             " " * 50 + "x" + " " * 49, "\u3000\u00a0\u180e\u200b\u2028x\u0085", "我们学习语言模型。ひらがなカタカナ한국어",
             "👩‍👩‍👧‍👦🏳️‍🌈👍🏽 🙂🙂", "e\u0301 \u1100\u1161\u11a8 Å \u212b \u0344 \ufb01", "a\u0323\u0307 \u0307\u0323a q\u0307\u0323",
             "Привет, мир! Ωμέγα שלום مرحبا हिन्दी ไทย", "\x00\x01\x7f\x80", "<|bos|>a<|end|> <|user|> <|nothing|>",
             "x  <a b>  y <cd>  z word words wordy a word, é! e\u0301! <a b>c  q ab<cd>", "<|reserved_3|><|reserved_3|>",
             "https://example.com/a?b=c&d=e#f==/// --- ...\n\n\n```py\nfor i in range(10):\n\treturn\n```",
             "fooBar HTTPServer XMLHttp iPhone ǅungla", "kakaka\nkb ka\nk", "\U0001e030\U00010d40\u1c89\U0002ebf0\u0897 x"]
    chars = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for _ in range(15):  # anything, a few blocks, and ASCII with a bias to white space and quotes
        texts.append("".join(chr(rng.choice(chars)) for _ in range(rng.randint(1, 30))))
        start = rng.randrange(0, 0x3000)
        texts.append("".join(chr(start + rng.randrange(300)) for _ in range(25)).encode("utf-8", "ignore").decode())
        texts.append("".join(rng.choice("ab '\n\r\t.1!sStTlLeE<|>ſK") for _ in range(40)))
    return texts


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    lines = corpus()
    (OUT / "corpus.txt").write_text("\n".join(lines) + "\n")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)])
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=RESERVED, min_frequency=2, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(lines, trainer)
    base = json.loads(tokenizer.to_str())
    base["decoder"] = byte_level()
    base["model"]["merges"] = [" ".join(m) for m in base["model"]["merges"]]
    (OUT / "trained.json").write_text(json.dumps(base, ensure_ascii=False, indent=0) + "\n")

    texts = nasty()
    cases = {"texts": texts, "configurations": []}
    of_metaspace = metaspace_base(lines)
    (OUT / "metaspace.json").write_text(json.dumps(of_metaspace, ensure_ascii=False, indent=0) + "\n")
    every = [(n, "trained.json", base, p) for n, p in (configurations(len(base["model"]["vocab"])) | more_configurations()).items()]
    every += [(n, "metaspace.json", of_metaspace, p) for n, p in metaspace_configurations().items()]
    for name, base_name, base, parts in every:
        full = base | {k: v for k, v in parts.items() if k != "model"}
        full["model"] = base["model"] | parts.get("model", {})
        hf = Tokenizer.from_str(json.dumps(full))
        ids, before = {}, cases["configurations"][0]["data"] if cases["configurations"] else None
        for key, encode_special in [("data", True), ("control", False)]:
            hf.encode_special_tokens = encode_special
            ids[key] = [" ".join(map(str, hf.encode(t, add_special_tokens=not encode_special).ids)) for t in texts]
        # kept small: null where nothing changed from the first configuration, or from data to control
        control = [c if c != d else None for c, d in zip(ids["control"], ids["data"])]
        data = [d if before is None or d != b else None for d, b in zip(ids["data"], before or texts)]
        case = {"name": name, "parts": parts, "data": data, "control": control}
        cases["configurations"].append(case if base_name == "trained.json" else {"base": base_name} | case)
    (OUT / "cases.json").write_text(json.dumps(cases, ensure_ascii=True, indent=0) + "\n")


if __name__ == "__main__":
    main()
