"""DeepSeek-V3's sequence-wise balance loss (report section 2.1.2, equations 17 to 20).

Per MoE layer and sequence: alpha * sum_i f_i P_i with
    f_i = N/(K T) * #{t : i among the K largest UNBIASED scores of t, over all experts, groups ignored}   (no gradient)
    P_i = mean over t of s_i / sum_j s_j
averaged over sequences, summed over layers. With a softmax gate sum_j s_j is 1.
"""
import torch

from .hf import scores_of


def balance_losses(calls, batch: int) -> list[torch.Tensor]:
    """One value per layer, without alpha; `calls` as RouterTap collects them."""
    values = []
    for gate, logits, _ in calls:
        scores = scores_of(gate, logits).unflatten(0, (batch, -1))  # (B, T, N)
        tokens, experts = scores.shape[1:]
        chosen = torch.zeros_like(scores).scatter_(-1, scores.detach().topk(gate.top_k).indices, 1)
        frequency = chosen.sum(1) * experts / (gate.top_k * tokens)
        share = (scores / scores.sum(-1, keepdim=True)).mean(1)
        values.append((frequency * share).sum(-1).mean())
    return values
