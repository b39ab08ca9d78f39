#!/usr/bin/env python3
"""Fails when an object compiled for one instruction set defines a weak symbol (an inline function or template).

The linker keeps one copy of a weak symbol for the whole program: were it the AVX-512 copy, older machines would stop
on an illegal instruction. Usage: check_odr.py NM OBJECT...
"""
import subprocess
import sys

# What sanitizers and coverage add by themselves holds no instructions.
ADDED_BY_COMPILER = ("__odr_asan", "__asan", "__ubsan", "__tsan", "__gcov", "__llvm", "DW.ref.", "__start_", "__stop_")


def main() -> int:
    nm, objects = sys.argv[1], sys.argv[2:]
    if not objects:
        print("no objects given", file=sys.stderr)
        return 1
    problems = 0
    for path in objects:
        listing = subprocess.run([nm, "--defined-only", "--format=posix", path], check=True, capture_output=True, text=True)
        for line in listing.stdout.splitlines():
            name, kind = line.split()[:2]
            if kind in "WwVvu" and not name.startswith(ADDED_BY_COMPILER):
                print(f"{path}: weak symbol {name} ({kind}); make it static or put it in an anonymous namespace", file=sys.stderr)
                problems += 1
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
