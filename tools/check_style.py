#!/usr/bin/env python3
"""Checks what the compiler does not: the order of includes between modules, and habits of size.

The table below is the architecture: a module may include itself and the modules after its colon (their dependencies
are NOT implied). Run by ctest (label style) and `./dev lint`.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAY_INCLUDE = {
    "core": "",
    "meter": "core kernels",  # kernels: the loops that measure the machine's peaks
    "kernels": "core",
    "tensor": "core kernels",
    "autograd": "core kernels tensor",
    "text": "core",
    "data": "core text",
    "nn": "core tensor autograd",
    "models": "core tensor autograd nn",
    "io": "core tensor nn models text",  # text: a GGUF file holds the tokenizer too
    "net": "core",
    "hub": "core net",
    "remote": "core net text data",
    "train": "core kernels tensor autograd nn models data io meter",
    "tune": "core tensor autograd nn models text data train infer",
    "prune": "core tensor autograd nn models data train",
    "distill": "core kernels tensor autograd nn models text data train infer tune",
    "infer": "core kernels tensor autograd nn models io",
    "eval": "core tensor autograd nn models io infer text data",
    "pipeline": "core kernels tensor autograd nn models io text data train tune distill infer eval meter remote",
    "cli": "core kernels tensor autograd nn models io text data train tune distill prune infer eval meter pipeline hub remote",
}
LONG_FILE = 400


def main() -> int:
    problems = []
    include = re.compile(r'^\s*#include "([a-z_]+)/', re.M)
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in (".h", ".cpp"):
            continue
        module = path.relative_to(ROOT / "src").parts[0]
        if module not in MAY_INCLUDE:
            problems.append(f"{path}: folder src/{module} is not in the table of tools/check_style.py")
            continue
        text = path.read_text()
        for other in include.findall(text):
            if other != module and other not in MAY_INCLUDE[module].split():
                problems.append(f"{path.relative_to(ROOT)}: src/{module} may not include {other}/")
        if path.suffix == ".h" and "#pragma once" not in text:
            problems.append(f"{path.relative_to(ROOT)}: header without #pragma once")
        lines = text.count("\n")
        if lines > LONG_FILE:
            print(f"note: {path.relative_to(ROOT)} has {lines} lines; the habit is {LONG_FILE}")
        for mark in re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", text):
            problems.append(f"{path.relative_to(ROOT)}: left-over {mark}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
