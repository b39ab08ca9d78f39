#!/usr/bin/env python3
"""Inference speed of a GGUF file beside builds of llama.cpp or ik_llama.cpp: same file, threads and lengths (label: peer).

    python tools/compare_llama.py build/release/frugal MODEL.gguf --peer ik=path/to/llama-bench [--peer cpp=...]

Rounds alternate `frugal bench` and every peer's llama-bench; the last lines are medians and Frugal's ratio to each. Flags of
a peer follow its path: --peer 'ik=llama-bench -fa 1 -rtr 1'. --depth D asks for decoding behind D tokens of context, which
ik_llama.cpp calls -gp D,N. The command llama-cpp-python (--peer cpp=llama-cpp-python) stands for llama.cpp as that package of
this Python has built it, with flash attention. Memory is the peak resident memory of each process.
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time


def run(command: list[str]) -> tuple[str, float]:
    """Standard output, and peak resident memory in MB."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        if process.returncode != 0:
            sys.exit(f"{command[0]} failed: {err.read()[-400:]}")
        return out.read(), usage.ru_maxrss / 1024


def frugal(options: argparse.Namespace) -> dict:
    def bench(prompt: int, tokens: int, depth: int) -> dict:
        text, _ = run([options.frugal, "bench", options.model, "-p", str(prompt), "-n", str(tokens), "--depth", str(depth),
                       "--threads", str(options.threads), "--repeat", str(options.repeat), "--json", "--quiet"])
        return json.loads(text)

    decode = bench(1 if options.depth else options.prompt, options.tokens, options.depth)
    # A prompt is read from its beginning, as llama-bench does.
    prefill = bench(options.prompt, 1, 0) if options.depth else decode
    # Of the model alone: afterwards the program measures the machine's bandwidth on arrays of its own.
    memory = max(decode["peak_memory_bytes"], prefill["peak_memory_bytes"]) / 2**20
    return {"prefill": prefill["prefill_tok_s"], "decode": decode["decode_tok_s"], "memory": memory}


def measure_package(options: argparse.Namespace) -> None:
    """What llama-bench does, by llama-cpp-python: prints one JSON object of tokens a second."""
    import llama_cpp

    model = llama_cpp.Llama(options.model, n_ctx=max(options.prompt, options.depth + options.tokens) + 1, n_batch=512, verbose=False,
                            n_threads=options.threads, n_threads_batch=options.threads, flash_attn=True)

    def speed(prompt: int, tokens: int) -> tuple[float, float]:
        model.reset()
        start = time.perf_counter()
        model.eval([5 + i % 1000 for i in range(prompt)])
        middle = time.perf_counter()
        for i in range(tokens):
            model.eval([7 + i])
        return prompt / (middle - start), tokens / (time.perf_counter() - middle)

    speed(options.prompt, 1)  # reads the file
    runs = [(speed(options.prompt, 1)[0], speed(max(1, options.depth), options.tokens)[1]) for _ in range(options.repeat)]
    print(json.dumps({key: statistics.fmean(values) for key, values in zip(("prefill", "decode"), zip(*runs))}))


def package(options: argparse.Namespace) -> dict:
    sizes = [f"--{name}={getattr(options, name)}" for name in ("prompt", "tokens", "depth", "threads", "repeat")]
    text, memory = run([sys.executable, __file__, options.frugal, options.model, "--measure", *sizes])
    return {**json.loads(text), "memory": memory}


def peer(options: argparse.Namespace, command: list[str]) -> dict:
    if command == ["llama-cpp-python"]:
        return package(options)
    decode = ["-n", "0", "-gp", f"{options.depth},{options.tokens}"] if options.depth else ["-n", str(options.tokens)]
    text, memory = run(command + ["-m", options.model, "-p", str(options.prompt), *decode, "-t", str(options.threads),
                                  "-r", str(options.repeat), "-o", "json"])
    speeds = {"memory": memory}
    for entry in json.loads(text[text.index("["):]):
        speeds["decode" if entry["n_gen"] else "prefill"] = entry["avg_ts"]
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frugal", help="path of the binary")
    parser.add_argument("model", help="a .gguf file")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND",
                        help="a llama-bench with its flags; may be repeated")
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--tokens", type=int, default=128)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3, help="runs that each program takes its own figure of")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure_package(options)
    if not options.peer:
        parser.error("--peer is needed")
    peers = {name: shlex.split(command) for name, _, command in (p.partition("=") for p in options.peer)}
    results: dict[str, list[dict]] = {name: [] for name in ("frugal", *peers)}
    for _ in range(options.rounds):
        results["frugal"].append(frugal(options))
        for name, command in peers.items():
            results[name].append(peer(options, command))
    medians = {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
               for name, runs in results.items()}
    print(f"{os.path.basename(options.model)}, {options.threads} threads, medians of {options.rounds} rounds: prefill "
          f"{options.prompt}, decode {options.tokens} behind {options.depth}")
    for name, speed in medians.items():
        ratio = "" if name == "frugal" else "  ratios {:.2f} and {:.2f}".format(
            *(medians["frugal"][key] / speed[key] for key in ("prefill", "decode")))
        print(f"  {name:<10} {speed['prefill']:>8.1f} tok/s  {speed['decode']:>7.1f} tok/s  {speed['memory']:>6.0f} MB{ratio}")


if __name__ == "__main__":
    main()
