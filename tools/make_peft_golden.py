#!/usr/bin/env python3
"""Writes tests/golden/peft from PEFT (needs torch, transformers, peft): adapters as save_pretrained() leaves them beside
models of tests/golden/models, and what PEFT computes with them.

    python tools/make_peft_golden.py            # rewrite
    python tools/make_peft_golden.py --check    # make them again elsewhere and compare

peft/X/adapter_config.json, adapter_model.safetensors: as PEFT writes them. golden.safetensors: `input_ids` (B,T),
`logits`, `loss` (mean over B(T-1) next tokens), `grad.NAME` for every tensor of the adapter by its name in the file,
`token_log_probs` (B,T-1).
"""
import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    "lora": ("llama_gqa", dict(r=4, lora_alpha=8, target_modules=ALL)),
    "rslora": ("llama_gqa", dict(r=4, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "v_proj"])),
    "dora": ("llama_gqa", dict(r=3, lora_alpha=6, use_dora=True, target_modules=ALL)),
    "conv1d": ("gpt2", dict(r=4, lora_alpha=8, fan_in_fan_out=True, target_modules=["c_attn", "c_fc", "c_proj"])),
    "mla": ("v3_full", dict(r=4, lora_alpha=8, alpha_pattern={"kv_b_proj": 4},
                            target_modules=["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"])),
}


def fill(model, seed: int) -> None:
    """Adapters begin as nothing: give B and magnitudes values of their own, from numpy's generator."""
    rng = np.random.default_rng(seed)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        noise = torch.from_numpy(rng.standard_normal(parameter.shape).astype(np.float32))
        with torch.no_grad():
            if "magnitude" in name:
                parameter.mul_(1 + 0.2 * noise)
            else:
                parameter.copy_(0.2 * noise)


def saved_name(name: str) -> str:
    name = name.replace(".default", "")
    return name[: -len(".weight")] if name.endswith("lora_magnitude_vector.weight") else name


def make(root: pathlib.Path, name: str, seed: int) -> None:
    base, options = CASES[name]
    torch.manual_seed(seed)
    path = ROOT / "models" / base
    exact = dict(dtype=torch.float32, attn_implementation="eager")
    if base.startswith("v3"):
        exact["experts_implementation"] = "eager"
    model = AutoModelForCausalLM.from_pretrained(path, **exact)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
    fill(model, seed)
    folder = root / "peft" / name
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"../../models/{base}"
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
    for other in folder.iterdir():
        if other.name not in ("adapter_config.json", "adapter_model.safetensors"):
            other.unlink()
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(path, **exact), folder,
        is_trainable=True)
    source = load_file(path / "golden.safetensors")
    ids = source["input_ids"].long()
    logits = model(ids, use_cache=False).logits
    log_probs = torch.log_softmax(logits[:, :-1].double(), -1).gather(-1, ids[:, 1:, None])[..., 0]
    loss = -log_probs.mean()
    loss.backward()
    tensors = {"input_ids": ids.int(), "logits": logits, "loss": loss.float().reshape(1),
               "token_log_probs": log_probs.float()}
    for parameter, value in model.named_parameters():
        if value.requires_grad:
            tensors[f"grad.{saved_name(parameter)}"] = value.grad
    save_file({key: value.detach().contiguous() for key, value in tensors.items()}, folder / "golden.safetensors")
    print(f"{name}: {base}, loss {loss.item():.6f}, {len(tensors) - 4} tensors")


def same(one: pathlib.Path, two: pathlib.Path) -> bool:
    good = True
    for name in CASES:
        for file in ("adapter_model.safetensors", "golden.safetensors"):
            a, b = (load_file(root / "peft" / name / file) for root in (one, two))
            for key in a.keys() | b.keys():
                if key not in a or key not in b or not torch.allclose(a[key].float(), b[key].float(), 1e-4, 1e-5):
                    print(f"{name}/{file}: {key} differs", file=sys.stderr)
                    good = False
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch) if check else ROOT
        for seed, name in enumerate(CASES):
            make(root, name, 100 + seed)
        return 0 if not check or same(ROOT, root) else 1


if __name__ == "__main__":
    sys.exit(main())
