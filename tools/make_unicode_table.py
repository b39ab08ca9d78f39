#!/usr/bin/env python3
"""Writes src/text/unicode_ranges.inc: the general categories of Unicode 16.0, as HF tokenizers 0.23 has them.

    pip install unicodedata2==16.0.0 && tools/make_unicode_table.py

Debian's PCRE2 knows Unicode 14 only, so the code points assigned since are listed a second time, by two-letter
category, for the regexes that are given to it.
"""
import pathlib
import unicodedata as old_database

import unicodedata2 as database

OUT = pathlib.Path(__file__).resolve().parent.parent / "src/text/unicode_ranges.inc"
CLASSES = {"L": "letter", "N": "number", "M": "mark", "P": "punctuation", "S": "symbol"}


def char_class(code: int) -> str:
    if chr(code).isspace() and not 0x1C <= code <= 0x1F:  # Python counts four separators that White_Space does not
        return "space"
    return CLASSES.get(database.category(chr(code))[0], "other")


def runs(function):
    start = 0
    for code in range(1, 0x110001):
        if code == 0x110000 or function(code) != function(start):
            yield start, code - 1, function(start)
            start = code


def newer_category(code: int) -> str:
    return database.category(chr(code)) if old_database.category(chr(code)) == "Cn" else "Cn"


def main() -> None:
    assert database.unidata_version == "16.0.0" and old_database.unidata_version == "14.0.0"
    lines = ["// Made by tools/make_unicode_table.py from Unicode 16.0; do not edit."]
    lines.append("inline constexpr ClassRun kClassRuns[] = {  // first code point of a run, its class")
    items = [f"{{0x{start:X}, CharClass::{name}}}," for start, _, name in runs(char_class)]
    lines += wrap(items)
    lines += ["};", "inline constexpr NewRange kAssignedSince14[] = {  // first, last, general category"]
    items = [f'{{0x{a:X}, 0x{b:X}, "{name}"}},' for a, b, name in runs(newer_category) if name != "Cn"]
    lines += wrap(items)
    lines.append("};")
    OUT.write_text("\n".join(lines) + "\n")


def wrap(items):
    line, out = "   ", []
    for item in items:
        if len(line) + 1 + len(item) > 110:
            out.append(line)
            line = "   "
        line += " " + item
    return out + [line]


if __name__ == "__main__":
    main()
