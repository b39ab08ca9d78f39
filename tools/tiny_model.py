"""Trains a tiny model of Frugal's own corpus: what live comparisons compare on when nothing else is at hand."""
import pathlib
import subprocess

RECIPE = """[data.synthetic]
train_bytes = 400000
valid_bytes = 4000
questions = 4
[tokenizer]
vocab_size = 512
[model]
preset = "nano"
num_hidden_layers = 2
[budget]
steps = 60
[train]
batch = 4
context = 64
[samples]
count = 1
tokens = 8
"""


def train(program: pathlib.Path, work: pathlib.Path, preset: str = "nano", *settings: str) -> pathlib.Path:
    """The run directory, below `work`. `settings` are more keys, as KEY=VALUE."""
    recipe = work / "tiny.toml"
    recipe.write_text(RECIPE)
    output = work / f"tiny-{preset}"
    command = [str(program), "run", str(recipe), "--quiet", "--threads", "2"]
    for setting in (f"output={output}", f"model.preset={preset}", *settings):
        command += ["--set", setting]
    # A home of its own: neither the user's ledger nor his cache should know of it.
    done = subprocess.run(command, capture_output=True, text=True, env={"HOME": str(work), "PATH": "/usr/bin:/bin"})
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return output
