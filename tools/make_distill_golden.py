#!/usr/bin/env python3
"""Writes tests/golden/distill/losses.safetensors and cross.safetensors (a teacher with another vocabulary): losses
against a teacher and their gradients, by PyTorch's autograd.

    python tools/make_distill_golden.py
"""
import pathlib

import torch
from safetensors.torch import save_file

ROWS, VOCAB, WIDTH, TEACHER_WIDTH, KEPT = 12, 50, 16, 24, 6
HARD_WEIGHT, WEIGHT, BETA, TEMPERATURE = 0.25, 0.75, 0.3, 1.7


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p * (p.log() - q.log())).sum(-1)


def divergences(p: torch.Tensor, q: torch.Tensor) -> dict:
    mixed = BETA * p + (1 - BETA) * q
    return {"forward_kl": kl(p, q), "reverse_kl": kl(q, p),
            "jensen_shannon": BETA * kl(p, mixed) + (1 - BETA) * kl(q, mixed),
            "skew_forward_kl": kl(p, mixed), "skew_reverse_kl": kl(q, (1 - BETA) * p + BETA * q)}


def main() -> None:
    generator = torch.Generator().manual_seed(11)
    random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).float().double()
    hidden, head = random(ROWS, WIDTH), random(VOCAB, WIDTH) * 0.5
    teacher_hidden, teacher_head = random(ROWS, TEACHER_WIDTH), random(VOCAB, TEACHER_WIDTH) * 0.5
    targets = torch.randint(0, VOCAB, (ROWS,), generator=generator)
    targets[[2, 7]] = -1
    kept = targets >= 0
    teacher = teacher_hidden @ teacher_head.T
    values, ids = teacher.softmax(-1).topk(KEPT, dim=-1)
    ids, order = ids.sort(-1)
    values = values.gather(-1, order).float().double()
    tails = (1 - values.sum(-1)).float().double()
    tensors = {"hidden": hidden, "head": head, "teacher_hidden": teacher_hidden, "teacher_head": teacher_head,
               "top.weights": values, "top.tails": tails}
    integers = {"targets": targets, "top.ids": ids}

    def case(name: str, loss_of_logits) -> None:
        h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        loss = loss_of_logits(h @ w.T)
        loss.backward()
        tensors.update({f"{name}.loss": loss.detach().reshape(1), f"{name}.dhidden": h.grad, f"{name}.dhead": w.grad})

    def hard(logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits[kept], targets[kept], reduction="sum")

    for name in divergences(teacher.softmax(-1), teacher.softmax(-1)):
        case(name, lambda z, name=name: HARD_WEIGHT * hard(z) + WEIGHT * divergences(
            (teacher / TEMPERATURE).softmax(-1), (z / TEMPERATURE).softmax(-1))[name][kept].sum())

    def top_k(z: torch.Tensor, with_tail: bool) -> torch.Tensor:
        q = z.softmax(-1)
        listed = q.gather(-1, ids)
        loss = -(values * listed.log()).sum()
        if with_tail:
            outside = torch.ones_like(q).scatter(-1, ids, 0.0)
            loss = loss - (tails * (q * outside).sum(-1).log()).sum()
        return loss

    case("sparse", lambda z: top_k(z, False))
    case("sparse_tail", lambda z: top_k(z, True) + HARD_WEIGHT * hard(z))
    save("losses", tensors, integers)


def save(name: str, tensors: dict, integers: dict) -> None:
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "distill"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.float().contiguous() for k, v in tensors.items()}
              | {k: v.int().contiguous() for k, v in integers.items()}, folder / f"{name}.safetensors",
              {"torch": torch.__version__})


def sorted_distance(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Boizard et al. 2025: both sorted from the most likely down, the shorter padded with zeros."""
    size = max(p.shape[-1], q.shape[-1])
    ranked = [torch.nn.functional.pad(d.sort(-1, descending=True).values, (0, size - d.shape[-1])) for d in (p, q)]
    return (ranked[0] - ranked[1]).abs().sum(-1)


def binarised(teacher: torch.Tensor, student: torch.Tensor, tau: float) -> torch.Tensor:
    """Minixhofer et al. 2025: KL divergence of the chance that a chunk comes next, times tau."""
    a, b = (teacher / tau).exp(), (student / tau).exp()
    return tau * (a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log())


def across() -> None:
    generator = torch.Generator().manual_seed(12)
    random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).float().double()
    rows, teacher_rows, vocab, tau = 9, 7, 23, 100.0
    hidden, head, teacher_hidden = random(rows, WIDTH), random(vocab, WIDTH) * 0.5, random(teacher_rows, TEACHER_WIDTH)
    targets = torch.randint(0, vocab, (rows,), generator=generator)
    targets[[2, 7]] = -1
    kept = targets >= 0
    pairs = torch.tensor([3, -1, -1, 0, 6, -1, 5, -1, 1])
    chunks = torch.tensor([[0, 2], [3, 4], [4, 7], [8, 9]])
    likelihoods = torch.tensor([-2.5, -0.25, -11.0, -0.001]).double()
    tensors = {"hidden": hidden, "head": head, "teacher_hidden": teacher_hidden, "likelihoods": likelihoods}

    def case(name: str, loss_of_logits) -> None:
        h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        loss = loss_of_logits(h @ w.T)
        loss.backward()
        tensors.update({f"{name}.loss": loss.detach().reshape(1), f"{name}.dhidden": h.grad, f"{name}.dhead": w.grad})

    def hard(logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits[kept], targets[kept], reduction="sum")

    for name, size in {"uld_larger": 31, "uld_smaller": 11}.items():
        tensors[f"{name}.teacher_head"] = random(size, TEACHER_WIDTH) * 0.5
        p = (teacher_hidden @ tensors[f"{name}.teacher_head"].T / TEMPERATURE).softmax(-1)
        met = (pairs >= 0) & kept
        case(name, lambda z, p=p, met=met: HARD_WEIGHT * hard(z) + WEIGHT * sorted_distance(
            p[pairs[met]], (z[met] / TEMPERATURE).softmax(-1)).sum())

    def alm(z: torch.Tensor) -> torch.Tensor:
        own = z.log_softmax(-1).gather(-1, targets.clamp(min=0)[:, None])[:, 0]
        sums = torch.stack([own[begin:end].sum() for begin, end in chunks.tolist()])
        return HARD_WEIGHT * hard(z) + WEIGHT * binarised(likelihoods, sums, tau).sum()

    case("alm", alm)
    save("cross", tensors, {"targets": targets, "pairs": pairs, "chunks": chunks})


if __name__ == "__main__":
    main()
    across()
