"""A few training steps from a case's weights: what the trainer must reproduce."""
import copy

import numpy as np
import torch
import torch.nn.functional as F

from . import hf
from .optim import Optimizer

GAMMA = 0.001  # V3's bias update speed
BATCHES = 3  # the steps cycle through these, so that the loss falls


def next_token_loss(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Mean over all B*(T-1) positions."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


@torch.no_grad()
def update_biases(calls) -> list[torch.Tensor]:
    """b_i += gamma * sign(mean load - load_i) per gate, from the whole batch; returns the loads."""
    loads = []
    for gate, _, chosen in calls:
        load = torch.bincount(chosen.flatten(), minlength=gate.num_experts)
        gate.e_score_correction_bias += GAMMA * torch.sign(load.float().mean() - load)
        loads.append(load)
    return loads


def run(start, batches, learning_rates, muon: bool) -> dict:
    """Trains a copy of `start`; returns losses, gradient norms, loads, the trained model and the routing margin."""
    model = copy.deepcopy(start).train()
    optimizer = Optimizer(model, muon)
    out = {"loss": [], "grad_norm": [], "loads": [], "margin": float("inf"), "model": model}
    for step, lr in enumerate(learning_rates):
        ids = batches[step % len(batches)]
        with hf.RouterTap(model) as tap:
            loss = next_token_loss(model(ids, use_cache=False).logits, ids)
        loss.backward()
        out["margin"] = min(out["margin"], hf.margin(tap.calls))
        out["grad_norm"].append(optimizer.step(lr))
        out["loss"].append(loss.item())
        if hasattr(next(iter(hf.gates(model)), None), "e_score_correction_bias"):
            out["loads"].append(torch.stack(update_biases(tap.calls)))
    return out


def sensitivity(start, reference: dict, batches, learning_rates, muon: bool) -> float:
    """Largest relative change of a loss when every weight moves by one f32 rounding: the noise any port may show."""
    moved = copy.deepcopy(start)
    rng = np.random.default_rng(0)
    for p in moved.parameters():
        p.data *= torch.from_numpy(1 + 6e-8 * rng.choice([-1.0, 1.0], p.shape)).float()
    losses = np.array(run(moved, batches, learning_rates, muon)["loss"])
    return float(np.abs(losses / np.array(reference["loss"]) - 1).max())


def trajectory(start, learning_rates, muon: bool, length: int, wanted_margin: float, batch: int = 4):
    """(tensors, metadata) of the first seed whose routing never comes within `wanted_margin` of a tie."""
    for seed in range(1000):
        batches = torch.stack([hf.random_ids(start, 1000 * seed + i, batch, length) for i in range(BATCHES)])
        result = run(start, batches, learning_rates, muon)
        if result["margin"] > wanted_margin:
            break
    else:
        raise RuntimeError("no trajectory without near ties")
    tensors = {"batches": batches, "lr": np.array(learning_rates), "loss": np.array(result["loss"]),
               "grad_norm": np.array(result["grad_norm"])}
    if result["loads"]:
        tensors["loads"] = torch.stack(result["loads"])  # (steps, MoE layers, experts)
        for name, buffer in result["model"].named_buffers():
            if name.endswith("e_score_correction_bias"):
                tensors[f"final.{name}"] = buffer
    first = hf.named_views(start)
    for name, view in hf.named_views(result["model"]).items():
        tensors[f"norm.{name}"] = view.norm()
        tensors[f"change.{name}"] = (view - first[name]).norm()
    noise = sensitivity(start, result, batches, learning_rates, muon)
    return tensors, {"seed": seed, "routing_margin": f"{result['margin']:.1e}", "loss_noise": f"{noise:.1e}"}
