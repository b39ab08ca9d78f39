#!/usr/bin/env python3
"""Every tensor name and metadata key that Frugal writes is one the gguf package knows, with the type it writes.

    check_gguf_names.py FRUGAL GOLDENS

Without the gguf package it says so and exits with 77, which ctest takes as skipped.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import gguf
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

NOT_IN_GGUF = {"v3_halves", "v3_yarn_ratio", "gpt_oss_wide_group"}
# What the package does not list for an architecture: multi-token prediction, and layers without experts.
EXTRA = {"deepseek2": {"nextn.eh_proj", "nextn.enorm", "nextn.hnorm", "nextn.shared_head_norm"},
         "qwen2moe": {"ffn_gate", "ffn_up", "ffn_down"}}


def constants(space, arch):
    """All strings of a tree of constants, with the architecture put in."""
    out = set()
    for name, value in vars(space).items():
        if isinstance(value, type):
            out |= constants(value, arch)
        elif isinstance(value, str) and not name.startswith("_"):
            out.add(value.format(arch=arch) if "{arch}" in value and "{dense}" not in value else value)
    return out


def main():
    program, goldens = map(pathlib.Path, sys.argv[1:3])
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for case in sorted(goldens.iterdir()):
            if not (case / "config.json").exists() or case.name in NOT_IN_GGUF:
                continue
            out = pathlib.Path(folder) / "model.gguf"
            done = subprocess.run([program, "convert", case, out, "--quiet"], capture_output=True, text=True)
            if done.returncode != 0:
                if "GGUF has no architecture for" not in done.stderr:
                    problems.append(f"{case.name}: {done.stderr}")
                continue
            reader = gguf.GGUFReader(out)
            arch = reader.fields["general.architecture"].contents()
            known = {gguf.TENSOR_NAMES[t] for t in
                     gguf.MODEL_TENSORS[next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch)]}
            for tensor in reader.tensors:
                base, suffix = tensor.name.rsplit(".", 1)
                base = re.sub(r"^blk\.\d+\.", "blk.{bid}.", base)
                if suffix not in ("weight", "bias"):
                    problems.append(f"{case.name}: {tensor.name}: suffix")
                if base not in known and base.removeprefix("blk.{bid}.") not in EXTRA.get(arch, ()):
                    problems.append(f"{case.name}: {tensor.name} is not a tensor of {arch}")
            keys = constants(gguf.Keys, arch)
            for key in reader.fields:
                if not key.startswith("GGUF.") and key not in keys:
                    problems.append(f"{case.name}: {key} is not a key that gguf knows")
            print(f"{case.name}: {arch}, {len(reader.tensors)} tensors, {len(reader.fields)} keys")
    for problem in problems:
        print(problem)
    return len(problems) > 0


if __name__ == "__main__":
    sys.exit(main())
