#!/usr/bin/env python3
"""Writes tests/golden from transformers and our own PyTorch references (needs torch, transformers, numpy).

    python tools/make_golden.py            # rewrite everything
    python tools/make_golden.py --check    # make it again elsewhere and compare numbers with what is committed
"""
import pathlib
import sys

import torch
import torch.nn.functional as F

from golden import cases, hf
from golden.files import versions, write_json, write_safetensors

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
SAFE_MARGIN = 1e-3  # no routing decision closer to flipping than this


def next_token_loss(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Mean over all B*(T-1) positions."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def safe_ids(model, length: int, first_seed: int = 0, batch: int = 2):
    """The first random batch whose routing has no near ties; (ids, seed, margin)."""
    for seed in range(first_seed, first_seed + 5000):
        ids = hf.random_ids(model, seed, batch, length)
        with torch.no_grad(), hf.RouterTap(model) as tap:
            model(ids, use_cache=False)
        margin = hf.margin(tap.calls, unbiased=True)
        if margin > SAFE_MARGIN:
            return ids, seed, margin
    raise RuntimeError("no batch without near ties: change the seed of the weights")


def model_case(root: pathlib.Path, name: str, seed: int) -> dict:
    config, length, shows = cases.CASES[name]
    folder = root / "models" / name
    model = hf.make_model(folder, config, seed)
    ids, ids_seed, margin = safe_ids(model, length)
    logits = model(ids, use_cache=False).logits
    loss = next_token_loss(logits, ids)
    loss.backward()
    tensors = {"input_ids": ids, "logits": logits, "loss": loss}
    tensors |= {f"grad.{key}": value for key, value in hf.gradients(model).items()}
    write_safetensors(folder / "golden.safetensors", tensors,
                      {"ids_seed": ids_seed, "routing_margin": f"{margin:.2e}", "class": type(model).__name__})
    print(f"{name}: loss {loss:.6f}, {sum(p.numel() for p in model.parameters())} parameters, margin {margin:.2e}")
    return {"name": name, "kind": "model", "model": f"models/{name}", "golden": f"models/{name}/golden.safetensors",
            "shows": shows}


def make(root: pathlib.Path) -> None:
    torch.set_num_threads(1)
    entries = [model_case(root, name, seed) for seed, name in enumerate(cases.CASES, start=1)]
    write_json(root / "manifest.json", {"made_with": versions(), "cases": entries})


if __name__ == "__main__":
    make(ROOT)
