#!/usr/bin/env python3
"""Writes tests/golden/tune/losses.safetensors: losses of preferences and policies and their gradients with respect to
log-probabilities, by PyTorch's autograd.

    python tools/make_tune_golden.py
"""
import pathlib

import torch
from safetensors.torch import save_file

PAIRS, TOKENS = 8, 64
BETA, LOW, HIGH, KL_WEIGHT = 0.3, 0.2, 0.28, 0.05


def main() -> None:
    generator = torch.Generator().manual_seed(5)
    random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).float().double()
    tensors = {}

    # Rows: chosen, rejected, reference of chosen, reference of rejected; tokens of both replies.
    sums = -20 + 4 * random(4, PAIRS)
    lengths = torch.randint(1, 12, (2, PAIRS), generator=generator)
    tensors |= {"pairs.sums": sums, "pairs.lengths": lengths.double()}
    for name in ("sigmoid", "ipo"):
        both = sums[:2].clone().requires_grad_()
        ratios = both - sums[2:]
        if name == "sigmoid":
            losses = -torch.nn.functional.logsigmoid(BETA * (ratios[0] - ratios[1]))
        else:
            means = ratios / lengths
            losses = (means[0] - means[1] - 1 / (2 * BETA)) ** 2
        losses.sum().backward()
        tensors |= {f"{name}.losses": losses.detach(), f"{name}.gradients": both.grad}

    # Rows: now, old, reference, advantage.
    old = -2 + random(TOKENS)
    tokens = torch.stack([old + 0.4 * random(TOKENS), old, old + 0.4 * random(TOKENS), random(TOKENS)]).float().double()
    now = tokens[0].clone().requires_grad_()
    ratio, away = (now - tokens[1]).exp(), tokens[2] - now
    kl = away.exp() - away - 1
    losses = -torch.min(ratio * tokens[3], ratio.clamp(1 - LOW, 1 + HIGH) * tokens[3]) + KL_WEIGHT * kl
    losses.sum().backward()
    tensors |= {"policy.tokens": tokens, "policy.losses": losses.detach(), "policy.kl": kl.detach(),
                "policy.gradients": now.grad}

    rewards = (random(4, 6) > 0).double() + 0.1 * random(4, 6)
    advantages = (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + 1e-4)
    tensors |= {"group.rewards": rewards, "group.advantages": advantages}
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "tune"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.float().contiguous() for name, value in tensors.items()}, folder / "losses.safetensors",
              {"torch": torch.__version__})


if __name__ == "__main__":
    main()
