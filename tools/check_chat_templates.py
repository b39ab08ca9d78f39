#!/usr/bin/env python3
"""Frugal's rendering of published chat templates against jinja2's, in the environment of transformers.

    check_chat_templates.py FRUGAL TOKENIZER.json TEMPLATE.jinja|FOLDER...

TOKENIZER.json: any tokenizer, to go with the template. Conversations: plain, with a system message, several turns, tools with
calls and their results, reasoning, parts, and random ones; with and without the variables that templates look at. What jinja2
refuses has to be refused. Two things are otherwise on purpose, and counted: `safe` marks a text there, and what is joined to it is
escaped for HTML, which no prompt wants; and what map and select give are lists here, which tojson takes. Needs jinja2; exits with
77 without it or without templates.
"""
import datetime
import html
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

try:
    import jinja2
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

CALL = {"type": "function", "id": "call_123", "function": {"name": "add", "arguments": {"a": 1, "b": [2.5, None, True, "x\"y\n<é>"]}}}
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds <b>'two'</b> & more", "parameters": {
    "type": "object", "properties": {"a": {"type": "number", "description": "one", "enum": [1, 2]},
                                     "b": {"type": "array", "items": {"type": ["integer", "null"]}, "default": [1]}},
    "required": ["a"]}}}, {"type": "function", "function": {"name": "now", "description": "Time", "parameters": {"type": "object", "properties": {}}}}]


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text} | more


def conversations():
    system = {"role": "system", "content": " You are brief.\n"}
    tool_turns = [user("1 + 2?"), assistant("", tool_calls=[CALL]), {"role": "tool", "name": "add", "tool_call_id": "call_123", "content": "3.5"}]
    out = [[user("Hi <|im_end|></s>[INST] é 🙂")], [system, user("Hi")], [user(" a "), assistant(" b "), user("c\n")],
           [system, user("q"), assistant("<think>\nhm\n</think>\n\nyes"), user("more"), assistant("ok", reasoning_content="because")],
           tool_turns, [system] + tool_turns + [assistant("It is 3.5."), user("thanks")],
           [user("1?"), assistant(None, tool_calls=[CALL, CALL]), {"role": "tool", "content": "x", "tool_call_id": "call_123"},
            {"role": "tool", "content": "y", "tool_call_id": "call_123"}],
           [{"role": "user", "content": [{"type": "text", "text": "part one"}, {"type": "text", "text": "two"}]}],
           [{"role": "developer", "content": "Be kind."}, user("x")], [user("a"), user("b")], [assistant("first")], []]
    rng = random.Random(5)
    pieces = ["Hello", " ", "\n", "</think>", "<think>", "{{ x }}", "{% if %}", "'", '"', "\\", "é", "<|eot_id|>", "[/INST]", "  ", "1"]
    for _ in range(8):
        turns = [system] if rng.random() < 0.5 else []
        for i in range(rng.randint(1, 6)):
            text = "".join(rng.choices(pieces, k=rng.randint(0, 8)))
            turns.append(user(text) if i % 2 == 0 else assistant(text))
        out.append(turns)
    return out


def otherwise_on_purpose(source, wanted, rendered):
    """wanted: what jinja2 made, or its exception; rendered: our text, None where we refuse."""
    if rendered is None:
        return False
    if isinstance(wanted, Exception):
        return str(wanted) == "Object of type generator is not JSON serializable"
    return bool(re.search(r"\|\s*safe\b", source)) and html.unescape(wanted) == html.unescape(rendered)


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    files = []
    for path in map(pathlib.Path, sys.argv[3:]):
        files += sorted(path.glob("*.jinja")) if path.is_dir() else [path]
    if not files:
        print("skipped: no templates were given")
        return 77
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    import make_chat_template_golden as golden
    env = golden.environment()
    env.globals["strftime_now"] = lambda form: datetime.datetime.now(datetime.timezone.utc).strftime(form)
    failures = compared = refused = lenient = 0
    variations = [{}, {"tools": TOOLS}, {"enable_thinking": False, "date_string": "1 Jan 2026"},
                  {"enable_thinking": True, "thinking": True, "tools": TOOLS, "reasoning_effort": "high", "add_generation_prompt": False}]
    with tempfile.TemporaryDirectory() as folder:
        model, request = pathlib.Path(folder) / "model", pathlib.Path(folder) / "request.json"
        model.mkdir()
        shutil.copy(sys.argv[2], model / "tokenizer.json")
        (model / "tokenizer_config.json").write_text('{"bos_token": "<|bos|>", "eos_token": "<|end|>"}')
        for file in files:
            source = file.read_text()
            (model / "chat_template.jinja").write_text(source)
            bad = 0
            for messages in conversations():
                for more in variations:
                    values = {"add_generation_prompt": True, "tools": None, "documents": None} | more
                    try:
                        wanted = env.from_string(source).render(messages=messages, bos_token="<|bos|>", eos_token="<|end|>", **values)
                    except Exception as error:  # noqa: BLE001: whatever the template does
                        wanted = error
                    request.write_text(json.dumps({"messages": messages} | {k: v for k, v in values.items() if k != "add_generation_prompt"}))
                    command = [program, "tokenizer", "render", model, "--messages", request]
                    done = subprocess.run(command + ([] if values["add_generation_prompt"] else ["--no-generation-prompt"]), capture_output=True)
                    compared += 1
                    rendered = done.stdout.decode() if done.returncode == 0 else None
                    refused += isinstance(wanted, Exception)
                    wrong = rendered != (None if isinstance(wanted, Exception) else wanted)
                    if wrong and otherwise_on_purpose(source, wanted, rendered):
                        lenient += 1
                        wrong = False
                    if wrong and not bad:
                        print(f"{file.name}: {json.dumps(messages)[:200]} {list(more)}\n  jinja2: {wanted!r:.300}\n"
                              f"  frugal: {(done.stdout.decode() or done.stderr.decode())!r:.300}", flush=True)
                    bad += wrong
            failures += bad > 0
            print(f"{file.name}: {bad} differ" if bad else f"{file.name}: same", flush=True)
    print(f"{len(files)} templates, {compared} conversations ({refused} refused there, {lenient} otherwise on purpose), {failures} templates differ")
    return failures > 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main())
