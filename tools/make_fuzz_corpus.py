#!/usr/bin/env python3
"""Writes the inputs that fuzzing starts from: fuzz/corpus/TARGET/NAME, small and valid or nearly so.

    make_fuzz_corpus.py FRUGAL

FRUGAL: the program, which converts tiny models to GGUF. Inputs that a fuzzer found (their names begin with "found-") stay.
Needs torch, transformers and zstd's command line program.
"""
import gzip
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "fuzz/corpus"
GOLDEN = ROOT / "tests/golden"
SEPARATOR = b"\x1e"


def put(target, name, content):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def safetensors(tensors, data=None, metadata=None):
    """tensors: name -> (dtype, shape, begin, end), whatever they say."""
    header = {"__metadata__": metadata} if metadata else {}
    header |= {n: {"dtype": d, "shape": s, "data_offsets": [b, e]} for n, (d, s, b, e) in tensors.items()}
    text = json.dumps(header).encode()
    end = max((t[3] for t in tensors.values()), default=0)
    return struct.pack("<Q", len(text)) + text + (b"\0" * end if data is None else data)


def weights():
    put("safetensors", "dtypes", (GOLDEN / "safetensors/dtypes.safetensors").read_bytes())
    put("safetensors", "index.json", (GOLDEN / "safetensors/sharded/model.safetensors.index.json").read_bytes())
    put("safetensors", "empty", safetensors({}))
    put("safetensors", "two", safetensors({"a": ("F32", [2, 3], 0, 24), "b": ("F4", [4], 24, 26)}, metadata={"format": "pt"}))
    put("safetensors", "scalar", safetensors({"s": ("I64", [], 0, 8), "z": ("BF16", [0, 5], 8, 8)}))
    put("safetensors", "overflow", safetensors({"a": ("F64", [2**62, 2**62], 0, 8)}, data=b"\0" * 8))
    put("safetensors", "wrapped", safetensors({"a": ("F32", [2**32, 2**32], 0, 0)}, data=b""))
    put("safetensors", "long_header", struct.pack("<Q", 2**63) + b"{}")


def small_tokenizer(**parts):
    """Byte-level BPE with a few merges; `parts` replace what it has."""
    characters = sorted(set(range(33, 127)) | set(range(161, 173)) | set(range(174, 256)))
    alphabet = [chr(c) for c in characters] + [chr(256 + i) for i in range(256 - len(characters))]
    merges = [["a", "l"], ["al", "o"], ["K", "alo"], ["Ġ", "m"], ["Ġm", "i"], ["1", "2"], ["Ġ", "Ġ"]]
    vocab = {"<|bos|>": 0} | {c: i + 1 for i, c in enumerate(alphabet)}
    vocab |= {a + b: len(vocab) + i for i, (a, b) in enumerate(merges)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    document = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": 0, "content": "<|bos|>", "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True}],
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": merges}}
    model = parts.pop("model", {})
    document |= parts
    document["model"] |= model
    return document


def metaspace_tokenizer():
    """As Llama 2 and Mistral have it: pieces with U+2581 for spaces, and bytes for the rest."""
    letters = "▁aeilmnorstK123."
    merges = [["▁", "m"], ["▁m", "i"], ["K", "a"], ["l", "o"], ["Ka", "lo"], ["▁", "▁"]]
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{b:02X}>": b + 3 for b in range(256)}
    vocab |= {c: 259 + i for i, c in enumerate(letters)}
    vocab |= {a + b: 259 + len(letters) + i for i, (a, b) in enumerate(merges)}
    special = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, c in enumerate(["<unk>", "<s>", "</s>"])]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    back = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return small_tokenizer(
        added_tokens=special, pre_tokenizer=None,
        normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]},
        decoder={"type": "Sequence", "decoders": back},
        post_processor={"type": "TemplateProcessing", "single": single, "pair": single,
                        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        model={"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": vocab, "merges": merges})


def tokenizers():
    def write(name, document, text="Kalo mi  12 <|bos|> é\n"):
        put("tokenizer", name, json.dumps(document, ensure_ascii=False).encode() + SEPARATOR + text.encode())

    write("byte_level", small_tokenizer())
    write("metaspace", metaspace_tokenizer())
    cases = json.loads((GOLDEN / "tokenizer/cases.json").read_text())
    for case in cases["configurations"]:
        if case["name"] in ("llama3", "deepseek", "nfc", "digits", "Removed", "MergedWithNext string"):
            parts = {k: v for k, v in case["parts"].items() if k not in ("added_tokens", "post_processor")}
            write(case["name"].replace(" ", "_"), small_tokenizer(**parts))
    put("tokenizer", "no_json", b"[[[[{" * 20)
    for i, text in enumerate(cases["texts"][::6]):
        put("encode", f"{i:02}", text)
    put("encode", "not_utf8", bytes(range(256)) + b"\xed\xa0\x80\xf0\x9f\xc0\x80")


def configs():
    seen = set()
    for path in sorted((GOLDEN / "models").glob("*/config.json")):
        config = json.loads(path.read_text())
        if str(sorted(config)) not in seen:
            put("config", path.parent.name, json.dumps(config))
        seen.add(str(sorted(config)))
    for size in (2**63 - 1, -2**63, 2**31, 0):
        put("config", f"layers_{size}", json.dumps({"model_type": "llama", "num_hidden_layers": size, "hidden_size": size}))
        put("config", f"experts_{size}", json.dumps({"model_type": "deepseek_v3", "n_routed_experts": size, "num_hidden_layers": 90}))
    put("config", "nested", '{"rope_scaling":' * 200 + "1" + "}" * 200)


def models(program):
    """A tiny model of each family that GGUF knows, with a tokenizer."""
    base = {"vocab_size": 272, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 1, "max_position_embeddings": 16, "tie_word_embeddings": True}
    experts = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 4, "decoder_sparse_step": 1, "head_dim": 4}
    latent = {"kv_lora_rank": 4, "q_lora_rank": 4, "qk_rope_head_dim": 2, "qk_nope_head_dim": 2, "v_head_dim": 4,
              "n_routed_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 4, "n_group": 1, "topk_group": 1,
              "first_k_dense_replace": 0, "num_key_value_heads": 2}
    wanted = {"llama": ("LlamaForCausalLM", transformers.LlamaConfig(**base)),
              "qwen3_moe": ("Qwen3MoeForCausalLM", transformers.Qwen3MoeConfig(**base | experts)),
              "gpt2": ("GPT2LMHeadModel", transformers.GPT2Config(vocab_size=272, n_positions=16, n_embd=8, n_layer=1, n_head=2)),
              "deepseek_v3": ("DeepseekV3ForCausalLM", transformers.DeepseekV3Config(**base | latent))}
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, (kind, config) in wanted.items():
            path = pathlib.Path(folder) / name
            getattr(transformers, kind)(config).save_pretrained(path)
            written = json.loads((path / "config.json").read_text())
            if "num_local_experts" in written:
                written["num_experts"] = written.pop("num_local_experts")
            (path / "config.json").write_text(json.dumps(written))
            (path / "tokenizer.json").write_text(json.dumps(small_tokenizer(), ensure_ascii=False))
            (path / "tokenizer_config.json").write_text('{"bos_token": "<|bos|>", "chat_template": "{{ bos_token }}"}')
            subprocess.run([program, "convert", path, path.with_suffix(".gguf"), "--format", "bf16", "--quiet"], check=True)
            put("gguf", name, path.with_suffix(".gguf").read_bytes())
    put("gguf", "all", (GOLDEN / "gguf/all.gguf").read_bytes())
    put("gguf", "announced", b"GGUF" + struct.pack("<IQQ", 3, 2**40, 2**40))


def templates():
    cases = json.loads((GOLDEN / "chat/cases.json").read_text())["cases"]
    longest = sorted((c["source"] for c in cases), key=lambda s: (-len(s), s))
    for i, text in enumerate(longest[:24] + longest[24::20]):
        put("chat_template", f"{i:02}", text)
    put("chat_template", "doubling", "{% set n = namespace(s='xx') %}{% for i in range(99) %}{% set n.s = n.s * 2 %}{% endfor %}{{ n.s }}")
    put("chat_template", "macro", "{% macro m(x) %}{{ m([x]) }}{{ m(x) }}{% endmacro %}{{ m(1) }}")
    put("chat_template", "range", "{% for i in range(99999999) %}{% for j in range(99999999) %}{% endfor %}{% endfor %}")


def recipes():
    for path in (ROOT / "recipes").glob("*.toml"):
        put("recipe", path.stem, "\n".join(l for l in path.read_text().splitlines() if not l.startswith("#")))
    put("recipe", "tables", 'seed = [1, 2]\n[model]\npreset = "nano"\nhidden_size = 64\nrope_scaling = { type = "linear", factor = 2.0 }\n'
                            '[budget]\ntokens = 1e6\n[meter]\n[eval]\nrows = 0x10\n[[data]]\n')
    put("recipe", "dates", "a.b.c = 1979-05-27T07:32:00Z\nd = [[[[1]]], {x = '''y'''}]\n")


def patterns():
    cases = json.loads((GOLDEN / "tokenizer/cases.json").read_text())["configurations"]
    known = []

    def walk(value):
        if isinstance(value, dict):
            if "Regex" in value and value["Regex"] not in known:
                known.append(value["Regex"])
            value = value.values()
        if isinstance(value, (dict, list)) or hasattr(value, "__iter__") and not isinstance(value, str):
            for item in value:
                walk(item)

    walk([c["parts"] for c in cases])
    for i, pattern in enumerate(known):
        put("regex", f"{i:02}", pattern)
    put("regex", "nested", b"(" * 300 + b"a" + b")*" * 300)
    put("regex", "classes", rb"[^\s\p{L}\w[:alpha:]-\]]+|\x{1F600}|\u0041{2,3}?|(?<=a)b(?!c)" + SEPARATOR + b"aab 12\xc3\xa9")
    put("regex", "backtracking", b"(?:a|a|aa)*b" + SEPARATOR + b"a" * 40)


def sources():
    lines = ('{"text": "One day.", "source": "x"}\n\n{"messages": [{"role": "user", "content": "Hi"}]}\n'.encode())
    prose = "A paragraph.\n\nAnother one, é.\r\n".encode() * 4
    zstd = subprocess.run(["zstd", "-q", "-c"], input=lines, capture_output=True, check=True).stdout
    for kind, content in enumerate([prose, lines, gzip.compress(prose, mtime=0), gzip.compress(lines, mtime=0), zstd]):
        put("source", f"kind_{kind}", bytes([kind]) + content)
    put("source", "bomb", bytes([3]) + gzip.compress(b" " * 400_000, mtime=0))
    put("source", "deep", bytes([1]) + b'{"text": ' + b"[" * 3000)


def main():
    for path in OUT.glob("*/*"):
        if not path.name.startswith("found-"):
            path.unlink()
    weights()
    tokenizers()
    configs()
    models(pathlib.Path(sys.argv[1]).resolve())
    templates()
    recipes()
    patterns()
    sources()


if __name__ == "__main__":
    if len(sys.argv) != 2 or shutil.which("zstd") is None:
        sys.exit(__doc__)
    main()
