"""Tiny models of transformers (and of pangu.py) with large random weights, their names on disk, and how safe their routing is from ties."""
import json
import pathlib

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from . import pangu
from .files import write_json, write_safetensors

transformers.logging.set_verbosity_error()  # it reports MTP tensors as unexpected
transformers.logging.disable_progress_bar()

# Large enough that a missing factor shows, small enough that nothing saturates.
STD = {"matrix": 0.2, "gate": 0.35, "norm": 0.2, "bias": 0.1, "clamped": 3.0, "sink": 1.0}


def load(folder: pathlib.Path, **more):
    """The model in `folder` in f32, eager attention, one loop over the experts: the plain formulas."""
    if pangu.knows(json.loads((folder / "config.json").read_text())):
        return pangu.load(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager", **more)
    return model.eval()


EXPERT_NAMES = {"mixtral": ("w1", "w3", "w2")}  # of gate, up and down; others say what they are


def disk_views(name: str, tensor: torch.Tensor, family: str):
    """Yields (name in the checkpoint, view of `tensor`); transformers stacks experts in memory, mostly not on disk."""
    if family == "mixtral":
        name = name.replace(".mlp.", ".block_sparse_moe.")
    head, _, last = name.rpartition(".")
    if family != "gpt_oss" and head.endswith((".mlp.experts", ".block_sparse_moe.experts")):
        gate_name, up_name, down_name = EXPERT_NAMES.get(family, ("gate_proj", "up_proj", "down_proj"))
        for expert in range(tensor.shape[0]):
            if last == "gate_up_proj":
                gate, up = tensor[expert].chunk(2, dim=0)
                yield f"{head}.{expert}.{gate_name}.weight", gate
                yield f"{head}.{expert}.{up_name}.weight", up
            else:
                yield f"{head}.{expert}.{down_name}.weight", tensor[expert]
    else:
        yield name, tensor


def parameter_views(name: str, tensor: torch.Tensor, family: str):
    """As disk_views, but by the names of our parameters: gpt-oss's stacks are cut, (in, out) turned to (out, in)."""
    head, _, last = name.rpartition(".")
    if family != "gpt_oss" or not head.endswith(".mlp.experts"):
        yield from disk_views(name, tensor, family)
        return
    kind = "bias" if last.endswith("_bias") else "weight"
    for expert in range(tensor.shape[0]):
        rows = tensor[expert] if kind == "bias" else tensor[expert].T
        if last.startswith("gate_up_proj"):
            yield f"{head}.{expert}.gate_proj.{kind}", rows[0::2]
            yield f"{head}.{expert}.up_proj.{kind}", rows[1::2]
        else:
            yield f"{head}.{expert}.down_proj.{kind}", rows


def named_views(model, of=lambda p: p.data, views=disk_views):
    """Checkpoint name -> view of `of(parameter)` for every parameter (a tied head appears once, as the embedding)."""
    family = model.config.model_type
    return {disk: view for name, p in model.named_parameters() for disk, view in views(name, of(p), family)}


def gradients(model) -> dict[str, torch.Tensor]:
    return named_views(model, lambda p: p.grad if p.grad is not None else torch.zeros_like(p), parameter_views)


def blank_model(folder: pathlib.Path):
    """The model that config.json describes; its weights are whatever."""
    config = json.loads((folder / "config.json").read_text())
    if pangu.knows(config):
        return pangu.blank(config)
    return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)


def random_value(rng: np.random.Generator, name: str, shape) -> np.ndarray:
    noise = rng.standard_normal(shape)
    if name.endswith(("norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight", "router_scale")):
        return 1 + STD["norm"] * noise
    if name.endswith("e_score_correction_bias"):  # negative: masking groups with 0 instead of -inf must show
        return STD["bias"] * noise - 0.7
    if name.endswith("gate_up_proj_bias"):  # gpt-oss: large enough to reach the limits of its SwiGLU
        return STD["clamped"] * noise
    if name.endswith("sinks"):
        return STD["sink"] * noise
    if name.endswith("bias"):
        return STD["bias"] * noise
    routers = ("mlp.gate.weight", "mlp.router.weight", "block_sparse_moe.gate.weight")
    return (STD["gate"] if name.endswith(routers) else STD["matrix"]) * noise


def make_model(folder: pathlib.Path, config: dict, seed: int, extra_shapes=None, copies: dict | None = None):
    """Writes config.json and model.safetensors with random weights; returns the model loaded back from them.

    `extra_shapes(model)`: name -> shape of tensors that are in the file but not in transformers' model (MTP modules);
    `copies`: name -> name of the tensor it repeats.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    blank = blank_model(folder)
    shapes = {name: tuple(view.shape) for name, view in named_views(blank).items()}
    shapes |= {name: tuple(b.shape) for name, b in blank.named_buffers() if name.endswith("e_score_correction_bias")}
    shapes |= extra_shapes(blank) if extra_shapes else {}
    rng = np.random.default_rng(seed)
    weights = {name: random_value(rng, name, shape) for name, shape in shapes.items()}
    weights |= {name: weights[source] for name, source in (copies or {}).items()}
    write_safetensors(folder / "model.safetensors", weights, {"format": "pt", "seed": seed})
    model = load(folder)
    # The names above are ours: make sure that transformers put every tensor where we think it did.
    for name, view in named_views(model).items():
        assert np.array_equal(view.numpy(), weights[name].astype(np.float32)), name
    return model


def random_ids(model, seed: int, batch: int, length: int) -> torch.Tensor:
    rng = np.random.default_rng([seed, 7])
    return torch.from_numpy(rng.integers(0, model.config.vocab_size, (batch, length)))


def gates(model):
    return [m for name, m in model.named_modules() if name.endswith(("mlp.gate", "mlp.router"))]


class RouterTap:
    """Collects the router logits (rows, experts) of every gate while in scope, in the order of the calls."""

    def __init__(self, *modules):
        self.modules = [gate for module in modules for gate in gates(module)]
        self.calls = []

    def __enter__(self):
        self.handles = [g.register_forward_hook(lambda g, _, out: self.calls.append((g, out[0], out[2])))
                        for g in self.modules]
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


def scores_of(gate, logits: torch.Tensor) -> torch.Tensor:
    return logits.sigmoid() if hasattr(gate, "e_score_correction_bias") else logits.softmax(-1)


def gap(values: torch.Tensor, k: int) -> torch.Tensor:
    """The distance between the k-th largest and the next, by row."""
    if k >= values.shape[-1]:
        return torch.full(values.shape[:-1], float("inf"))
    top = values.topk(k + 1, dim=-1).values
    return top[..., k - 1] - top[..., k]


@torch.no_grad()
def margins(calls, unbiased: bool = False) -> torch.Tensor:
    """How far each row's tightest routing decision is from flipping (scores), over groups and experts of all gates."""
    worst = torch.full(calls[0][1].shape[:1], float("inf")) if calls else torch.tensor([float("inf")])
    for gate, logits, _ in calls:
        if hasattr(gate, "margin"):
            worst = worst.clamp(max=gate.margin(logits))
            continue
        scores = scores_of(gate, logits.detach())
        if unbiased:
            worst = worst.minimum(gap(scores, gate.top_k))
        sigmoid = hasattr(gate, "e_score_correction_bias")
        choice = scores + gate.e_score_correction_bias if sigmoid else scores
        if (getattr(gate, "num_group", 1) or 1) > 1 and getattr(gate, "topk_method", "noaux_tc") != "greedy":
            grouped = choice.view(choice.shape[0], gate.num_group, -1)
            group_scores = grouped.topk(2, dim=-1).values.sum(-1) if sigmoid else grouped.max(-1).values
            worst = worst.minimum(gap(group_scores, gate.topk_group))
            kept = torch.zeros_like(group_scores).scatter_(1, group_scores.topk(gate.topk_group).indices, 1).bool()
            choice = grouped.masked_fill(~kept[..., None], float("-inf")).flatten(1)
        worst = worst.minimum(gap(choice, gate.top_k))
    return worst


def margin(calls, unbiased: bool = False) -> float:
    """The tightest of all rows. Calls may differ in their rows."""
    return min((float(margins([call], unbiased).min()) for call in calls), default=float("inf"))
