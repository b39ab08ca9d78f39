#!/usr/bin/env python3
"""Training speed of a preset beside transformers on PyTorch: same model, batch, threads and optimizer (label: peer).

    python tools/compare_pytorch.py build/release/frugal --preset bench-v3 -b 8 -t 256 [--dtype bf16] [--rounds 3]

Rounds alternate `frugal bench train` and every PyTorch variant, each in a process of its own; the last lines are
medians and the ratio to the fastest variant. PyTorch runs fused AdamW with clipping, on random tokens as Frugal does.
A variant is eager or compile, with one of transformers' implementations of experts where the model has experts.
Memory is the peak of the process; what importing PyTorch and transformers takes alone is listed apart.
"""
import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

EXPERTS = ("eager", "batched_mm", "grouped_mm")


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def build(config: dict, experts: str):
    """The model that AutoModelForCausalLM makes of Frugal's config.json, f32, random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM
    settings = {key: value for key, value in config.items() if key != "model_type"}
    made = AutoConfig.for_model(config["model_type"], **settings)
    extra = {"experts_implementation": experts} if experts else {}
    return AutoModelForCausalLM.from_config(made, attn_implementation="sdpa", **extra)


def measure(options: argparse.Namespace) -> None:
    """One variant in this process; prints a JSON object."""
    import torch
    import transformers  # noqa: F401
    imported = peak_megabytes()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    config = json.loads(options.config)
    model = build(config, options.experts).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    forward = torch.compile(model) if options.compile else model
    tokens = torch.randint(0, config["vocab_size"], (options.batch, options.context))
    cast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.dtype == "bf16")
    seconds = []
    for _ in range(options.steps + 2):
        start = time.perf_counter()
        with cast:
            loss = forward(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"tok_s": options.batch * options.context / statistics.median(seconds[2:]),
                      "megabytes": peak_megabytes(), "imported_megabytes": imported}))


def peer(options: argparse.Namespace, config: dict, compiled: bool, experts: str) -> dict:
    command = [sys.executable, __file__, options.frugal, "--measure", "--config", json.dumps(config),
               "-b", str(options.batch), "-t", str(options.context), "--threads", str(options.threads),
               "--steps", str(options.steps), "--dtype", options.dtype, "--experts", experts]
    run = subprocess.run(command + ["--compile"] * compiled, capture_output=True, text=True)
    if run.returncode != 0:
        return {"error": (run.stderr.strip().splitlines() or ["no output"])[-1]}
    return json.loads(run.stdout.strip().splitlines()[-1])


def frugal(options: argparse.Namespace) -> dict:
    out = subprocess.run([options.frugal, "bench", "train", "--preset", options.preset, "-b", str(options.batch),
                          "-t", str(options.context), "--threads", str(options.threads), "--compute",
                          {"f32": "f32", "bf16": "bf16"}[options.dtype], "--steps", str(options.steps), "--json",
                          "--quiet"], capture_output=True, text=True, check=True).stdout
    result = json.loads(out)
    return {"tok_s": result["tok_s"], "megabytes": result["peak_memory_bytes"] / 2**20, "mfu": result["mfu"]}


def compare(options: argparse.Namespace) -> None:
    info = subprocess.run([options.frugal, "info", "--preset", options.preset, "--json"], capture_output=True,
                          text=True, check=True).stdout
    config = json.loads(info)["config"]
    experts = EXPERTS if "n_routed_experts" in config or "num_experts" in config else ("",)
    variants = [(compiled, kind) for compiled in ((False, True) if options.with_compile else (False,))
                for kind in experts]
    results: dict[str, list[dict]] = {"frugal": []}
    for _ in range(options.rounds):
        results["frugal"].append(frugal(options))
        for compiled, kind in variants:
            name = " ".join(filter(None, ("compile" if compiled else "eager", kind and f"experts={kind}")))
            if results.get(name, [{}])[-1].get("error"):
                continue
            results.setdefault(name, []).append(peer(options, config, compiled, kind))
    print(f"{options.preset}, batch {options.batch} x {options.context}, {options.dtype}, {options.threads} threads, "
          f"medians of {options.rounds} rounds")
    speeds = {}
    for name, runs in results.items():
        if "error" in runs[-1]:
            print(f"  {name:<28} failed: {runs[-1]['error'][:90]}")
            continue
        speeds[name] = statistics.median(run["tok_s"] for run in runs)
        memory = statistics.median(run["megabytes"] for run in runs)
        more = f"MFU {statistics.median(run['mfu'] for run in runs):.2f}" if name == "frugal" else (
            f"of which {runs[-1]['imported_megabytes']:.0f} MB on import")
        print(f"  {name:<28} {speeds[name]:>8.0f} tok/s  {memory:>7.0f} MB  {more}")
    peers = {name: speed for name, speed in speeds.items() if name != "frugal"}
    if peers:
        best = max(peers, key=peers.get)
        print(f"  ratio to the fastest ({best}): {speeds['frugal'] / peers[best]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frugal", help="path of the binary")
    parser.add_argument("--preset", default="bench-v3", help="as `frugal info --preset`")
    parser.add_argument("-b", "--batch", type=int, default=8, help="rows a step")
    parser.add_argument("-t", "--context", type=int, default=256, help="tokens a row")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="timed steps, after two that warm up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="bf16: autocast against --compute bf16")
    parser.add_argument("--with-compile", action="store_true", help="torch.compile as well (minutes of compiling)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--experts", default="", help=argparse.SUPPRESS)
    parser.add_argument("--config", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    (measure if options.measure else compare)(options)


if __name__ == "__main__":
    main()
