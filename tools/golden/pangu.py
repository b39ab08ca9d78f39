"""openPangu's three architectures in plain PyTorch, from the formulas of their reports: transformers has none of them.

    PanguEmbedded    arXiv 2505.22375: Llama with biases on q, k, v and o
    PanguProMoE      arXiv 2505.21411, eq. 5 to 7: softmax over all experts, the best one of every group, weights not
                     renormalised but multiplied by a learnt factor per expert, beside a shared expert
    pangu_ultra_moe  arXiv 2505.04519: DeepSeek's latent attention (adjacent rotary pairs) and experts (sigmoid, the best
                     of all, no bias), a norm before and behind attention and feed-forward (sandwich norm)

Parameters have the names of the published checkpoints. What make_golden.py and mtp.py ask of a transformers model is
here as well: model.config, model.model.{embed_tokens,layers,norm,rotary_emb}, gates that return (logits, weights,
experts).
"""
import json
import pathlib
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from torch import nn

# The first release of Ultra-MoE against the second, which has DeepSeek's names.
OLD_NAMES = {"attention_kv_lora_dim": "kv_lora_rank", "attention_q_lora_dim": "q_lora_rank",
             "attention_qk_dim": "qk_nope_head_dim", "attention_qk_rope_dim": "qk_rope_head_dim",
             "attention_v_dim": "v_head_dim", "num_routed_experts": "n_routed_experts",
             "num_shared_experts": "n_shared_experts", "num_dense_layers": "first_k_dense_replace",
             "num_mtp_layers": "num_nextn_predict_layers"}


class RmsNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return self.weight * x / (x.square().mean(-1, keepdim=True) + self.eps).sqrt()


class SwiGlu(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        gate = self.gate_proj(x)
        return self.down_proj(gate * gate.sigmoid() * self.up_proj(x))


def rotate(x, theta: float, adjacent: bool):
    """x (..., T, d): pair i of position t turns by t theta^(-2i/d); pairs are neighbours, or half a width apart."""
    rows, width = x.shape[-2:]
    angle = torch.outer(torch.arange(rows), theta ** -(torch.arange(0, width, 2) / width))
    cos, sin = angle.cos(), angle.sin()
    a, b = (x[..., 0::2], x[..., 1::2]) if adjacent else x.chunk(2, -1)
    turned = a * cos - b * sin, a * sin + b * cos
    return torch.stack(turned, -1).flatten(-2) if adjacent else torch.cat(turned, -1)


def attend(q, k, v):
    """Causal softmax attention: q, k (B, H, T, d), v (B, H, T, e) -> (B, T, H e)."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    weights = scores.masked_fill(future, float("-inf")).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


class GroupedQueryAttention(nn.Module):
    def __init__(self, c, bias: bool):
        super().__init__()
        self.width = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        self.theta, self.heads, self.kv_heads = c.rope_theta, c.num_attention_heads, c.num_key_value_heads
        self.q_proj = nn.Linear(c.hidden_size, self.heads * self.width, bias=bias)
        self.k_proj = nn.Linear(c.hidden_size, self.kv_heads * self.width, bias=bias)
        self.v_proj = nn.Linear(c.hidden_size, self.kv_heads * self.width, bias=bias)
        self.o_proj = nn.Linear(self.heads * self.width, c.hidden_size, bias=bias)

    def forward(self, x):
        split = lambda y, heads: y.unflatten(-1, (heads, self.width)).transpose(1, 2)
        shared = self.heads // self.kv_heads
        q = rotate(split(self.q_proj(x), self.heads), self.theta, False)
        k = rotate(split(self.k_proj(x), self.kv_heads), self.theta, False).repeat_interleave(shared, 1)
        v = split(self.v_proj(x), self.kv_heads).repeat_interleave(shared, 1)
        return self.o_proj(attend(q, k, v))


class LatentAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        heads, qk = c.num_attention_heads, c.qk_nope_head_dim + c.qk_rope_head_dim
        if c.q_lora_rank:
            self.q_a_proj = nn.Linear(c.hidden_size, c.q_lora_rank, bias=False)
            self.q_a_layernorm = RmsNorm(c.q_lora_rank, c.rms_norm_eps)
            self.q_b_proj = nn.Linear(c.q_lora_rank, heads * qk, bias=False)
        else:
            self.q_proj = nn.Linear(c.hidden_size, heads * qk, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(c.hidden_size, c.kv_lora_rank + c.qk_rope_head_dim, bias=False)
        self.kv_a_layernorm = RmsNorm(c.kv_lora_rank, c.rms_norm_eps)
        self.kv_b_proj = nn.Linear(c.kv_lora_rank, heads * (c.qk_nope_head_dim + c.v_head_dim), bias=False)
        self.o_proj = nn.Linear(heads * c.v_head_dim, c.hidden_size, bias=False)

    def forward(self, x):
        c = self.config
        split = lambda y: y.unflatten(-1, (c.num_attention_heads, -1)).transpose(1, 2)
        q = split(self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x))) if c.q_lora_rank else self.q_proj(x))
        q_nope, q_rope = q.split([c.qk_nope_head_dim, c.qk_rope_head_dim], -1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([c.kv_lora_rank, c.qk_rope_head_dim], -1)
        k_nope, v = split(self.kv_b_proj(self.kv_a_layernorm(latent))).split([c.qk_nope_head_dim, c.v_head_dim], -1)
        k_rope = rotate(k_rope[:, None], c.rope_theta, True).expand(-1, c.num_attention_heads, -1, -1)
        q = torch.cat([q_nope, rotate(q_rope, c.rope_theta, True)], -1)
        return self.o_proj(attend(q, torch.cat([k_nope, k_rope], -1), v))


class GroupedGate(nn.Module):
    """The best expert of every group; as many groups as experts chosen."""

    def __init__(self, width: int, experts: int, groups: int):
        super().__init__()
        self.weight, self.groups = nn.Parameter(torch.empty(experts, width)), groups

    def grouped_scores(self, logits):
        return logits.softmax(-1).unflatten(-1, (self.groups, -1))

    def forward(self, x):
        logits = x @ self.weight.T
        weights, place = self.grouped_scores(logits).max(-1)
        return logits, weights, place + torch.arange(self.groups) * (self.weight.shape[0] // self.groups)

    def margin(self, logits) -> float:
        """How far the tightest decision is from flipping, in scores."""
        top = self.grouped_scores(logits).topk(2, -1).values
        return float((top[..., 0] - top[..., 1]).min())


class SigmoidGate(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config, self.weight = c, nn.Parameter(torch.empty(c.n_routed_experts, c.hidden_size))

    def forward(self, x):
        logits = x @ self.weight.T
        weights, chosen = logits.sigmoid().topk(self.config.num_experts_per_tok, -1)
        if self.config.norm_topk_prob and self.config.num_experts_per_tok > 1:
            weights = weights / weights.sum(-1, keepdim=True)
        return logits, weights * self.config.routed_scaling_factor, chosen

    def margin(self, logits) -> float:
        top = logits.sigmoid().topk(self.config.num_experts_per_tok + 1, -1).values
        return float((top[..., -2] - top[..., -1]).min())


def routed(experts, x, weights, chosen):
    """Sum over the chosen experts of weight times output; x (rows, D), weights and chosen (rows, k)."""
    out = torch.zeros_like(x)
    for number, expert in enumerate(experts):
        row, slot = (chosen == number).nonzero(as_tuple=True)
        out = out.index_add(0, row, weights[row, slot, None] * expert(x[row]))
    return out


class GroupedExperts(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate = GroupedGate(c.hidden_size, c.num_experts, c.num_experts_per_tok)
        self.router_scale = nn.Parameter(torch.ones(1, c.num_experts))
        self.experts = nn.ModuleList(SwiGlu(c.hidden_size, c.moe_intermediate_size) for _ in range(c.num_experts))
        if c.shared_expert_intermediate_size:
            self.shared_expert = SwiGlu(c.hidden_size, c.shared_expert_intermediate_size)

    def forward(self, x):
        rows = x.flatten(0, -2)
        _, weights, chosen = self.gate(rows)
        y = routed(self.experts, rows, weights * self.router_scale[0, chosen], chosen)
        return (y + self.shared_expert(rows) if hasattr(self, "shared_expert") else y).view_as(x)


class UltraExperts(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate = SigmoidGate(c)
        self.experts = nn.ModuleList(SwiGlu(c.hidden_size, c.moe_intermediate_size) for _ in range(c.n_routed_experts))
        if c.n_shared_experts:
            self.shared_experts = SwiGlu(c.hidden_size, c.n_shared_experts * c.moe_intermediate_size)

    def forward(self, x):
        rows = x.flatten(0, -2)
        _, weights, chosen = self.gate(rows)
        y = routed(self.experts, rows, weights, chosen)
        return (y + self.shared_experts(rows) if hasattr(self, "shared_experts") else y).view_as(x)


class Block(nn.Module):
    """x + attention(norm(x)), then the same around the feed-forward; with `sandwich` each branch is normed again."""

    def __init__(self, c, attention, feed_forward, sandwich: bool = False):
        super().__init__()
        norm = lambda: RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.sandwich, self.self_attn, self.mlp = sandwich, attention, feed_forward
        self.input_layernorm, self.post_attention_layernorm = norm(), norm()
        if sandwich:
            self.pre_mlp_layernorm, self.post_mlp_layernorm = norm(), norm()

    def forward(self, x, **_):
        attended = self.self_attn(self.input_layernorm(x))
        if not self.sandwich:
            x = x + attended
            return x + self.mlp(self.post_attention_layernorm(x))
        x = x + self.post_attention_layernorm(attended)
        return x + self.post_mlp_layernorm(self.mlp(self.pre_mlp_layernorm(x)))


class EmbeddedBlock(Block):
    def __init__(self, c, layer_idx: int):
        super().__init__(c, GroupedQueryAttention(c, c.bias), SwiGlu(c.hidden_size, c.intermediate_size))


class ProMoeBlock(Block):
    def __init__(self, c, layer_idx: int):
        super().__init__(c, GroupedQueryAttention(c, True), GroupedExperts(c))


class UltraMoeBlock(Block):
    def __init__(self, c, layer_idx: int):
        dense = layer_idx < c.first_k_dense_replace
        super().__init__(c, LatentAttention(c), SwiGlu(c.hidden_size, c.intermediate_size) if dense else UltraExperts(c),
                         c.sandwich_norm)


BLOCKS = {"PanguEmbedded": EmbeddedBlock, "PanguProMoE": ProMoeBlock, "pangu_ultra_moe": UltraMoeBlock}


class Layers(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(BLOCKS[c.model_type](c, i) for i in range(c.num_hidden_layers))
        self.norm = RmsNorm(c.hidden_size, c.rms_norm_eps)

    def rotary_emb(self, *_, **__):
        """Blocks rotate by themselves."""


class Pangu(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config, self.model = c, Layers(c)
        self.lm_head = nn.Linear(c.hidden_size, c.vocab_size, bias=False)
        if c.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, ids, use_cache: bool = False):
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x)
        return SimpleNamespace(logits=self.lm_head(self.model.norm(x)))


def knows(config: dict) -> bool:
    return config["model_type"] in BLOCKS


def blank(config: dict) -> Pangu:
    return Pangu(SimpleNamespace(**{OLD_NAMES.get(key, key): value for key, value in config.items()}))


def load(folder: pathlib.Path) -> Pangu:
    """The model of a directory with config.json and model.safetensors; tensors of MTP modules are left out."""
    model = blank(json.loads((folder / "config.json").read_text()))
    weights = load_file(folder / "model.safetensors")
    if model.config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    report = model.load_state_dict({name: value.float() for name, value in weights.items()}, strict=False)
    first = model.config.num_hidden_layers
    extra = [n for n in report.unexpected_keys if not (n.startswith("model.layers.") and int(n.split(".")[2]) >= first)]
    if report.missing_keys or extra:
        raise ValueError(f"{folder}: missing {report.missing_keys}, unexpected {extra}")
    return model.eval()
