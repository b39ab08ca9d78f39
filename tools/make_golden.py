#!/usr/bin/env python3
"""Writes tests/golden from transformers and our own PyTorch references (needs torch, transformers, numpy).

    python tools/make_golden.py            # rewrite everything
    python tools/make_golden.py --only pangu_embedded pangu_mtp    # rewrite some, and their entries of the manifest
    python tools/make_golden.py --check    # make it again elsewhere and compare its numbers with what is committed
"""
import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
import safetensors.torch
from safetensors.numpy import load_file
from transformers import PreTrainedModel

from golden import balance, cases, forms, hf, mtp, rope, trajectory
from golden.files import versions, write_json, write_safetensors

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
OWNED = ("*.json", "models/**/*", "trajectories/*")  # other tools keep their fixtures beside these
SAFE_MARGIN = 1e-3  # no routing decision closer to flipping than this in a single forward
LONG_MARGIN = 2e-5  # of sequences of a hundred tokens, which make too many decisions for that
TRAJECTORY_MARGIN = 3e-5  # nor than this in some hundred forwards of a trajectory
ALPHA = 0.1  # of the balance loss: a thousand times V3's, to be seen
ADAMW_LR = [2e-3, 4e-3, 6e-3, 8e-3] + [1e-2] * 6
MUON_LR = [4e-3, 8e-3, 1.2e-2, 1.6e-2, 2e-2]


def safe_ids(model, length: int, forward, batch: int = 2):
    """The first random batch for which `forward(ids)` routes without near ties: (ids, metadata)."""
    safe = SAFE_MARGIN if length < 100 else LONG_MARGIN
    for seed in range(20000):
        ids = hf.random_ids(model, seed, batch, length)
        margin = forward(ids)
        if margin > safe:
            return ids, {"ids_seed": seed, "routing_margin": f"{margin:.2e}"}
    raise RuntimeError("no batch without near ties: change the seed of the weights")


@torch.no_grad()
def repaired_ids(model, length: int, batch: int = 2):
    """A long batch without near ties: from the left, tokens with one are drawn again (attention is causal)."""
    ids = hf.random_ids(model, 0, batch, length)
    rng = np.random.default_rng(8)
    for replaced in range(2000):
        with hf.RouterTap(model) as tap:
            model(ids, use_cache=False)
        worst = hf.margins(tap.calls, unbiased=True).view(batch, length)
        tight = worst <= SAFE_MARGIN
        if not tight.any():
            return ids, {"ids_seed": 0, "replaced": replaced, "routing_margin": f"{float(worst.min()):.2e}"}
        for row in range(batch):
            if tight[row].any():
                ids[row, int(tight[row].int().argmax())] = int(rng.integers(0, model.config.vocab_size))
    raise RuntimeError("no batch without near ties: change the seed of the weights")


@torch.no_grad()
def plain_margin(model, ids) -> float:
    with hf.RouterTap(model) as tap:
        model(ids, use_cache=False)
    return hf.margin(tap.calls, unbiased=True)


def check_attention_scale(model) -> None:
    if isinstance(model, PreTrainedModel) and hasattr(model.config, "qk_rope_head_dim"):
        for layer in model.model.layers:
            rope.check_softmax_scale(layer.self_attn, model.config)


def model_case(root: pathlib.Path, name: str, seed: int) -> tuple:
    config, length, shows = (cases.CASES | cases.PANGU_CASES)[name]
    model = hf.make_model(root / "models" / name, config, seed)
    check_attention_scale(model)
    if model.config.model_type == "gpt_oss":
        ids, info = repaired_ids(model, length)
    else:
        ids, info = safe_ids(model, length, lambda ids: plain_margin(model, ids))
    logits = model(ids, use_cache=False).logits
    loss = trajectory.next_token_loss(logits, ids)
    loss.backward()
    tensors = {"input_ids": ids, "logits": logits, "loss": loss} | gradients(hf.gradients(model))
    golden = f"models/{name}/golden.safetensors"
    write_safetensors(root / golden, tensors, info | {"class": config["architectures"][0]})
    print(f"{name}: {type(model).__name__}, {sum(p.numel() for p in model.parameters())} parameters, "
          f"loss {loss:.6f}, margin {info['routing_margin']}")
    model.zero_grad()
    return model, ids, {"name": name, "kind": "model", "model": f"models/{name}", "golden": golden, "shows": shows}


@torch.no_grad()
def form_case(root: pathlib.Path, name: str, seed: int) -> dict:
    config, length, shows = cases.FORM_CASES[name]
    model = forms.make_model(root / "models" / name, config, seed)
    ids, info = repaired_ids(model, length)
    tensors = {"input_ids": ids, "logits": model(ids, use_cache=False).logits}
    golden = f"models/{name}/golden.safetensors"
    write_safetensors(root / golden, tensors, info | {"class": type(model).__name__})
    print(f"{name}: {type(model).__name__}, margin {info['routing_margin']}")
    return {"name": name, "kind": "form", "model": f"models/{name}", "golden": golden, "shows": shows}


def gradients(tensors: dict) -> dict:
    return {f"grad.{name}": value.clone() for name, value in tensors.items()}


def balance_case(root: pathlib.Path, name: str, model, ids) -> dict:
    """Next-token loss plus ALPHA times the balance loss on a case's own weights and batch."""
    with hf.RouterTap(model) as tap:
        loss = trajectory.next_token_loss(model(ids, use_cache=False).logits, ids)
    layers = balance.balance_losses(tap.calls, ids.shape[0])
    total = loss + ALPHA * sum(layers)
    total.backward()
    tensors = {"input_ids": ids, "loss": loss, "loss.balance": ALPHA * sum(layers), "loss.total": total}
    tensors |= {f"balance.layer.{i}": value for i, value in enumerate(layers)} | gradients(hf.gradients(model))
    golden = f"models/{name}/balance.safetensors"
    write_safetensors(root / golden, tensors, {"alpha": ALPHA})
    model.zero_grad()
    print(f"{name} balance: {[round(v.item(), 4) for v in layers]}")
    return {"name": f"{name}_balance", "kind": "balance", "model": f"models/{name}", "golden": golden, "alpha": ALPHA,
            "shows": f"sequence-wise balance loss, {'sigmoid' if 'v3' in name else 'softmax'} scores; "
                     "gradients of loss.total"}


def mtp_case(root: pathlib.Path, name: str, seed: int) -> list[dict]:
    config, length, shows = (cases.MTP_CASES | cases.PANGU_MTP_CASES)[name]
    copies = {}
    if name != "mtp_d2":  # as the released checkpoints have them
        layer = f"model.layers.{config['num_hidden_layers']}"
        copies = {f"{layer}.embed_tokens.weight": "model.embed_tokens.weight",
                  f"{layer}.shared_head.head.weight": "lm_head.weight"}
    folder = root / "models" / name
    model = hf.make_model(folder, config, seed, mtp.extra_shapes, copies)
    weights = {k: torch.from_numpy(v) for k, v in load_file(folder / "model.safetensors").items()}
    modules = mtp.make_modules(model, weights)

    @torch.no_grad()
    def margin(ids) -> float:
        with hf.RouterTap(model, *modules) as tap:
            for post_norm in (False, True):
                mtp.forward(model, modules, ids, post_norm)
        return hf.margin(tap.calls)

    ids, info = safe_ids(model, length, margin)
    entries = []
    for post_norm in (False, True):
        logits, mtp_logits = mtp.forward(model, modules, ids, post_norm)
        if post_norm and isinstance(model, PreTrainedModel):
            for ours, theirs in zip(mtp_logits, mtp.transformers_logits(model, ids), strict=True):
                assert (ours - theirs).abs().max() < 1e-5, "our MTP module and transformers' disagree"
        loss, extra = trajectory.next_token_loss(logits, ids), mtp.losses(mtp_logits, ids)
        total = loss + mtp.LAMBDA / len(modules) * sum(extra)
        total.backward()
        tensors = {"input_ids": ids, "logits": logits, "loss": loss, "loss.total": total}
        for k, (depth_logits, depth_loss) in enumerate(zip(mtp_logits, extra), start=1):
            tensors |= {f"mtp_logits.{k}": depth_logits, f"loss.mtp.{k}": depth_loss}
        found = hf.gradients(model)
        for depth, module in enumerate(modules):
            found |= module.named_views(model.config.num_hidden_layers + depth, lambda p: p.grad)
        if not (post_norm and len(modules) == 1):  # the chain's gradients say it all
            tensors |= gradients(found)
        golden = f"models/{name}/{'golden_post_norm' if post_norm else 'golden'}.safetensors"
        write_safetensors(root / golden, tensors, info | {"lambda": mtp.LAMBDA, "post_norm": post_norm})
        print(f"{name}{' post-norm' if post_norm else ''}: {[round(v.item(), 5) for v in (loss, *extra, total)]}")
        entries.append({"name": name + ("_post_norm" if post_norm else ""), "kind": "mtp", "model": f"models/{name}",
                        "golden": golden, "lambda": mtp.LAMBDA, "post_norm": post_norm, "shows": shows})
        for module in (model, *modules):
            module.zero_grad()
    return entries


def trajectory_case(root: pathlib.Path, name: str, model, start: str, muon: bool) -> dict:
    rates = MUON_LR if muon else ADAMW_LR
    tensors, info = trajectory.trajectory(model, rates, muon, 24, TRAJECTORY_MARGIN)
    golden = f"trajectories/{name}.safetensors"
    settings = {"optimizer": "muon" if muon else "adamw", "bias_gamma": trajectory.GAMMA if "v3" in name else 0.0}
    write_safetensors(root / golden, tensors, info | settings)
    print(f"{name}: {info}\n  loss {np.round(tensors['loss'], 5)}\n  norm {np.round(tensors['grad_norm'], 4)}")
    return {"name": name, "kind": "trajectory", "model": f"models/{start}", "golden": golden} | settings


def pangu_entries(root: pathlib.Path, wanted=lambda name: True) -> list[dict]:
    entries = [model_case(root, name, seed)[2] for seed, name in enumerate(cases.PANGU_CASES, start=201) if wanted(name)]
    for seed, name in enumerate(cases.PANGU_MTP_CASES, start=301):
        entries += mtp_case(root, name, seed) if wanted(name) else []
    return entries


def make_some(root: pathlib.Path, names: list[str]) -> None:
    """Rewrites models that no other case builds on."""
    torch.set_num_threads(1)
    known = [*cases.CASES, *cases.MTP_CASES, *cases.PANGU_CASES, *cases.PANGU_MTP_CASES]
    if set(names) - set(known):
        sys.exit(f"unknown: {sorted(set(names) - set(known))}; known: {known}")
    entries = [model_case(root, name, seed)[2] for seed, name in enumerate(cases.CASES, start=1) if name in names]
    for seed, name in enumerate(cases.MTP_CASES, start=101):
        entries += mtp_case(root, name, seed) if name in names else []
    entries += pangu_entries(root, lambda name: name in names)
    manifest = json.loads((root / "manifest.json").read_text())
    made = {entry["name"]: entry for entry in entries}
    manifest["cases"] = [made.pop(old["name"], old) for old in manifest["cases"]] + list(made.values())
    write_json(root / "manifest.json", manifest)


def make(root: pathlib.Path) -> None:
    torch.set_num_threads(1)
    entries, models = [], {}
    for seed, name in enumerate(cases.CASES, start=1):
        model, ids, entry = model_case(root, name, seed)
        models[name] = model, ids
        entries.append(entry)
    entries += [balance_case(root, name, *models[name]) for name in ("v3_full", "v2_grouped")]
    for seed, name in enumerate(cases.MTP_CASES, start=101):
        entries += mtp_case(root, name, seed)
    for start, prefix in (("v3_full", "v3"), ("llama_gqa", "llama")):
        for muon in (False, True):
            name = f"{prefix}_{'muon' if muon else 'adamw'}"
            entries.append(trajectory_case(root, name, models[start][0], start, muon))
    entries += pangu_entries(root)
    for seed, name in enumerate(cases.FORM_CASES, start=201):
        entries.append(form_case(root, name, seed))
    write_json(root / "rope.json", rope.tables())
    write_json(root / "manifest.json", {"made_with": versions(), "cases": entries})


def numbers(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, or every value of a JSON file by its place (text as is)."""
    if path.suffix == ".safetensors":
        return {name: value.float().numpy() for name, value in safetensors.torch.load_file(path).items()}
    found = {}

    def walk(value, place):
        if isinstance(value, (dict, list)):
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                walk(inner, f"{place}/{key}")
        elif isinstance(value, float):
            found[place] = np.array(value)
        else:
            found[f"{place} = {value}"] = np.zeros(1)

    content = json.loads(path.read_text())
    walk({key: value for key, value in content.items() if key != "made_with"}, "")
    return found


def check(root: pathlib.Path) -> int:
    """Makes everything anew in a temporary folder; 0 when it agrees with `root` to f32 rounding."""
    worst, where = 0.0, "nowhere"
    with tempfile.TemporaryDirectory() as folder:
        fresh = pathlib.Path(folder)
        make(fresh)
        lists = [sorted(p.relative_to(top) for part in OWNED for p in top.glob(part) if p.is_file())
                 for top in (fresh, root)]
        if lists[0] != lists[1]:
            sys.exit(f"other files than committed: {set(lists[0]) ^ set(lists[1])}")
        for path in lists[0]:
            new, old = numbers(fresh / path), numbers(root / path)
            if new.keys() != old.keys():
                sys.exit(f"{path}: other content than committed: {sorted(new.keys() ^ old.keys())[:4]}")
            for key, value in new.items():
                difference = np.abs(value.astype(np.float64) - old[key]).max() / (np.abs(old[key]).max() + 1e-6)
                if difference > worst:
                    worst, where = float(difference), f"{path} {key}"
    print(f"largest difference, relative to each tensor's largest value: {worst:.1e} ({where})")
    return int(worst > 1e-4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with what is committed, write nothing")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rewrite these models only")
    options = parser.parse_args()
    if options.check:
        sys.exit(check(ROOT))
    make_some(ROOT, options.only) if options.only else make(ROOT)
