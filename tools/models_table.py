#!/usr/bin/env python3
"""Writes docs/models.md: families of models against number formats, from what the tests say.

    models_table.py TEST_TRAIN FRUGAL            # runs the tests and transformers, writes the page
    models_table.py TEST_TRAIN FRUGAL --check    # without transformers: the committed page must say the same
    models_table.py TEST_TRAIN FRUGAL --peer     # only what transformers says; exit 77 where it is missing

TEST_TRAIN is the test program with the suite Registry/Families (tests/train/families_test.cpp). It trains a tiny model of
each family, which transformers then opens (for families it lacks: the reference of tools/golden).
"""
import argparse
import difflib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "models.md"
TOLERANCE = 1e-4  # largest difference of logits over their standard deviation
HEAD = """# Families of models and number formats

Made by `tools/models_table.py` from test results; the ctest `models_table` fails when this page says anything else. A new family or format
appears here once it is in its list: build, then run the script again.

Every family is one file in `src/models`. "Positions" are those at which Frugal's exact logits agree with the reference's within 1e-4 of the
logits' standard deviation, on the tiny models of `tests/golden`. "Trains": it learns a batch by heart (loss below 0.1) and loads again with every
bit as saved. "Reopens in": who opens that trained model, with the same logits at 120 positions (GPT-2: 64). "GGUF": `general.architecture` there, both read and written.
"""
FORMATS = """## Number formats

How weights in a format reach the family in the tests: from a Hugging Face **d**irectory, from a **g**GUF file, or set in **m**emory (the format's
products are computed, but nothing published stores this family so). Everywhere the logits equal those of the decoded weights (1e-4 of their deviation).
"""


def run_tests(program: pathlib.Path, work: pathlib.Path) -> list[dict]:
    """The records of all tests, after training one model of each family into work/trained."""
    report = work / "report.json"
    (work / "trained").mkdir()
    done = subprocess.run([program, "--gtest_filter=Registry/Families.*", f"--gtest_output=json:{report}", "--gtest_brief=1"],
                          env=os.environ | {"FRUGAL_KEEP_TRAINED": str(work / "trained")}, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the tests fail, there is nothing to tell:\n{done.stdout}{done.stderr}")
    tests = [test for suite in json.loads(report.read_text())["testsuites"] for test in suite["testsuite"]]
    if not tests:
        sys.exit(f"{program} has no tests Registry/Families")
    return tests


def by_family(tests: list[dict]) -> dict[str, dict]:
    """model_type -> every property that a test of it recorded, in the order of the registry."""
    families: dict[str, dict] = {}
    for test in tests:
        families.setdefault(test["name"].rpartition("/")[2], {}).update(test)
    return families


def reopen(frugal: pathlib.Path, trained: pathlib.Path) -> dict[str, str]:
    """model_type -> who opened the trained model with the same logits. Exits 1 on other logits."""
    import numpy as np
    import torch

    from compare_transformers import frugal_logits, transformers_logits
    from golden import pangu

    found = {}
    for folder in sorted(trained.iterdir()):
        config = json.loads((folder / "config.json").read_text())
        length = min(120, config.get("max_position_embeddings", config.get("n_positions")))
        ids = np.random.default_rng(1).integers(0, config["vocab_size"], length).tolist()
        if pangu.knows(config):
            with torch.no_grad():
                theirs = pangu.load(folder)(torch.tensor([ids])).logits[0].numpy()
            name = "tools/golden/pangu.py"
        else:
            theirs, name = transformers_logits(str(folder), ids)
        difference = np.abs(frugal_logits(str(frugal), str(folder), ids) - theirs).max() / theirs.std()
        print(f"{folder.name}: {name}, {length} positions, largest difference / deviation {difference:.1e}")
        if not difference <= TOLERANCE:
            sys.exit(f"{folder.name}: what Frugal trained gives other logits in {name}")
        found[folder.name] = f"`{name}`" if pangu.knows(config) else f"transformers, `{name}`"
    return found


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines) + "\n"


def page(families: dict[str, dict], opened: dict[str, str]) -> str:
    shows: dict[str, list[str]] = {}
    for case in json.loads((ROOT / "tests/golden/manifest.json").read_text())["cases"]:
        config = json.loads((ROOT / "tests/golden" / case["model"] / "config.json").read_text())
        if case["kind"] in ("model", "form", "mtp") and not case["name"].endswith("_post_norm"):
            shows.setdefault(config["model_type"], []).append(f"- `{case['name']}`: {case['shows']}\n")
    text = HEAD + "\n" + table(
        ["family (`model_type`)", "models", "positions", "trains", "reopens in", "GGUF"],
        [[f"`{name}`", str(p["models"]), str(p["positions"]), p["trained"], opened[name], p.get("gguf", "no")]
         for name, p in families.items()])
    formats = [key.removeprefix("format_") for key in next(iter(families.values())) if key.startswith("format_")]
    text += FORMATS + "\n" + table(
        ["family", *formats],
        [[f"`{name}`", *("".join(way[0] for way in p[f"format_{f}"].split()) for f in formats)] for name, p in families.items()])
    text += "## What the tiny models are there to catch\n"
    for name in families:
        text += f"\n`{name}`:\n\n" + "".join(shows[name])
    return text


def committed_openers() -> dict[str, str]:
    """The column that only transformers can fill, as committed."""
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return {row[0].removeprefix("| ").strip("`"): row[4] for row in rows if len(row) == 6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("test_train", type=pathlib.Path)
    parser.add_argument("frugal", type=pathlib.Path)
    parser.add_argument("--check", action="store_true", help="compare with the committed page, write nothing")
    parser.add_argument("--peer", action="store_true", help="only open the trained models in transformers")
    options = parser.parse_args()
    if not options.check:
        try:
            import transformers  # noqa: F401
        except ImportError as error:
            print(f"skipped: {error}")
            sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        families = by_family(run_tests(options.test_train.resolve(), work))
        if options.check:
            opened = dict.fromkeys(families, "not yet") | committed_openers()
        else:
            opened = reopen(options.frugal.resolve(), work / "trained")
    if options.peer:
        missing = families.keys() - opened.keys()
        sys.exit(f"not reopened: {sorted(missing)}" if missing else 0)
    text = page(families, opened)
    if not options.check:
        PAGE.write_text(text)
        return
    difference = list(difflib.unified_diff(PAGE.read_text().splitlines(), text.splitlines(), "committed", "from tests", lineterm=""))
    if difference:
        print("\n".join(difference))
        sys.exit("docs/models.md is not what the tests say: run tools/models_table.py")


if __name__ == "__main__":
    main()
