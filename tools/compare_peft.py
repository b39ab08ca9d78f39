#!/usr/bin/env python3
"""LoRA fine-tuning beside PEFT's: the same examples, the same adapter at the start, the same optimizer.

    python tools/compare_peft.py curve FRUGAL MODEL EXAMPLES [--steps 20] [--examples 8]
    python tools/compare_peft.py speed FRUGAL MODEL EXAMPLES [--steps 6] [--examples 8]

MODEL: what frugal takes (a .gguf file, say); EXAMPLES: JSON Lines with "messages". PEFT gets the model dequantised to f32
(frugal convert --format f32), and in `curve` so does frugal: losses must agree within 1e-3 at every step. In `speed`
frugal tunes MODEL as it is. One batch of the first --examples examples, every step. Needs torch, transformers, peft.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

LR, RANK, ALPHA = 1e-3, 8, 16


def recipe(model, data, output, steps, lr, batch, context) -> str:
    return f"""init = "{model}"
output = "{output}"
[data]
train = ["{data}"]
pack = false
[adapter]
kind = "lora"
rank = {RANK}
alpha = {ALPHA}
[budget]
steps = {steps}
[train]
batch = {batch}
context = {context}
save_minutes = 0
optimizer = {{ lr = {lr}, weight_decay = 0.0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, clip = 1.0 }}
schedule = {{ name = "constant", warmup_steps = 0 }}
on_spike = "stop"
spike_threshold = 1000.0
"""


def tune(args, model, data, output, steps, lr, context):
    """Runs frugal tune; (records of its steps, peak resident bytes)."""
    path = pathlib.Path(f"{output}.toml")
    path.write_text(recipe(model, data, output, steps, lr, args.examples, context))
    command = [args.frugal, "tune", str(path), "--quiet", "--threads", str(args.threads)]
    peak = run_measured(command, os.environ | {"FRUGAL_LEDGER": f"{output}.ledger"})
    lines = [json.loads(line) for line in open(f"{output}/log.jsonl")]
    return [line for line in lines if line["event"] == "tune_step"], peak


def run_measured(command, environment=None, output=None) -> int:
    process = subprocess.Popen(command, env=environment, stdout=output)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{command[0]} failed")
    return usage.ru_maxrss * 1024


def encoded(tokenizer, messages):
    """Ids, and for each whether it is learnt: the last message's text and its end mark."""
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=False)
    text = tokenizer.apply_chat_template(messages, tokenize=False).rstrip("\n")
    given = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    reply = tokenizer(text[len(prompt):], add_special_tokens=False)["input_ids"]
    rest = tokenizer("\n", add_special_tokens=False)["input_ids"]  # written behind the end of a turn, not learnt
    return given + reply + rest, [False] * len(given) + [True] * len(reply) + [False] * len(rest)


def torch_side(args) -> None:
    """In a process of its own: PEFT's losses and seconds by step, as JSON on stdout."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(args.threads)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    rows = [encoded(tokenizer, json.loads(line)["messages"]) for line in open(args.data)]
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for r, (row, learnt) in enumerate(rows):
        ids[r, : len(row)] = torch.tensor(row)
        mask[r, : len(row)] = 1
        labels[r, : len(row)] = torch.tensor([t if l else -100 for t, l in zip(row, learnt)])
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, args.adapter, is_trainable=True)
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    losses, seconds = [], []
    for _ in range(args.steps):
        start = time.perf_counter()
        loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"losses": losses, "seconds": seconds, "tokens": int(mask.sum()), "longest": longest,
                      "targets": int((labels != -100).sum()), "trained": sum(p.numel() for p in parameters)}))


def median(values):
    return sorted(values)[len(values) // 2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["curve", "speed", "torch"])
    parser.add_argument("frugal")
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--adapter")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--examples", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.frugal = str(pathlib.Path(args.frugal).resolve()) if args.what != "torch" else ""
    if args.what == "torch":
        torch_side(args)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        data = pathlib.Path(scratch) / "batch.jsonl"
        with open(args.data) as lines:
            data.write_text("".join(line for _, line in zip(range(args.examples), lines)))
        plain = pathlib.Path(scratch) / "f32"
        subprocess.run([args.frugal, "convert", args.model, plain, "--format", "f32", "--quiet"], check=True)
        # The adapter as it begins: a step that changes nothing.
        tune(args, plain, data, f"{scratch}/start", 1, 0.0, 1024)
        torch_out = pathlib.Path(scratch) / "torch.json"
        with open(torch_out, "w") as out:
            torch_peak = run_measured([sys.executable, __file__, "torch", "-", str(plain), str(data), "--adapter",
                                       f"{scratch}/start/adapter", "--steps", str(args.steps), "--threads",
                                       str(args.threads)], output=out)
        theirs = json.loads(torch_out.read_text())
        base = plain if args.what == "curve" else pathlib.Path(args.model).resolve()
        ours, peak = tune(args, base, data, f"{scratch}/ours", args.steps, LR, 1024)
        if args.what == "curve":
            worst = 0.0
            for step, (a, b) in enumerate(zip(ours, theirs["losses"]), 1):
                worst = max(worst, abs(a["loss"] - b))
                print(f"step {step:3}: frugal {a['loss']:.6f}  peft {b:.6f}  difference {abs(a['loss'] - b):.1e}")
            print(f"largest difference {worst:.1e} (must be below 1e-3)")
            return 0 if worst < 1e-3 and len(ours) == args.steps else 1
        fast, slow = median([s["seconds"] for s in ours[1:]]), median(theirs["seconds"][1:])
        tokens = theirs["tokens"]
        print(f"{tokens} tokens a step, {theirs['targets']} learnt, {theirs['trained']} parameters trained")
        print(f"frugal {tokens / fast:.0f} tok/s, peak {peak / 1e6:.0f} MB")
        print(f"peft   {tokens / slow:.0f} tok/s, peak {torch_peak / 1e6:.0f} MB")
        print(f"speed {slow / fast:.2f}x, memory {peak / torch_peak:.2f} of PEFT's")
    return 0


if __name__ == "__main__":
    sys.exit(main())
