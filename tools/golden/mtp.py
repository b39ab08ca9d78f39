"""DeepSeek-V3's multi-token prediction (report section 2.2) around transformers' own decoder block.

Module k (1-based) at row i takes the hidden state of depth k-1 at row i and the embedding of token i+k:
    x = eh_proj([enorm(Emb(t[i+k])); hnorm(h[i])]),  h' = block(x),  logits = head(shared_head.norm(h'))
and predicts token i+k+1. Rows 0..T-k-1 have an embedding, rows 0..T-k-2 a target. Rotary positions are the rows,
not shifted. Two readings of "the representation" h exist, so both are dumped:
    pre-norm   h^0 is the main model's last block output, h^k the module's block output (the report's formula)
    post-norm  h^0 is after the main model's final norm, h^k after shared_head.norm (transformers 5, vLLM: what the
               released weights were trained with)
"""
import torch
import torch.nn.functional as F
from torch import nn

from .hf import disk_views

LAMBDA = 0.3


class MtpModule(nn.Module):
    def __init__(self, model):
        super().__init__()
        config, layer = model.config, model.model.layers[-1]
        norm = type(model.model.norm)
        self.enorm, self.hnorm, self.norm = (norm(config.hidden_size, eps=config.rms_norm_eps) for _ in range(3))
        self.eh_proj = nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        self.block = type(layer)(config, layer_idx=config.first_k_dense_replace)  # an MoE block

    def named_views(self, layer: int, of):
        """Names on disk: model.layers.{layer}.{enorm,hnorm,eh_proj,shared_head.norm} and the block's own."""
        views = {}
        for name, p in self.named_parameters():
            name = name.replace("norm.", "shared_head.norm.", 1) if name.startswith("norm.") else name
            views |= dict(disk_views(f"model.layers.{layer}.{name.removeprefix('block.')}", of(p), "deepseek_v3"))
        return views

    def forward(self, model, hidden, embedded):
        rows = embedded.shape[1]
        x = self.eh_proj(torch.cat([self.enorm(embedded), self.hnorm(hidden[:, :rows])], dim=-1))
        mask = torch.full((rows, rows), torch.finfo(x.dtype).min).triu(1)[None, None]
        positions = torch.arange(rows)[None]
        return self.block(x, attention_mask=mask, position_ids=positions,
                          position_embeddings=model.model.rotary_emb(x, position_ids=positions))


def make_modules(model, weights: dict[str, torch.Tensor]) -> list[MtpModule]:
    """The MTP modules of `model` with the tensors of its checkpoint."""
    modules = []
    for depth in range(model.config.num_nextn_predict_layers):
        module = MtpModule(model).eval()
        for name, view in module.named_views(model.config.num_hidden_layers + depth, lambda p: p.data).items():
            view.copy_(weights[name])
        for gate in (m for n, m in module.named_modules() if n.endswith("mlp.gate")):
            if not hasattr(gate, "e_score_correction_bias"):
                continue
            layer = model.config.num_hidden_layers + depth
            gate.e_score_correction_bias.copy_(weights[f"model.layers.{layer}.mlp.gate.e_score_correction_bias"])
        module.block.self_attn.config._attn_implementation = "eager"
        modules.append(module)
    return modules


def extra_shapes(model) -> dict[str, tuple]:
    """Name -> shape of what the MTP modules add to the checkpoint."""
    config, shapes = model.config, {}
    for depth in range(config.num_nextn_predict_layers):
        layer = config.num_hidden_layers + depth
        module = MtpModule(model)
        shapes |= {n: tuple(v.shape) for n, v in module.named_views(layer, lambda p: p.data).items()}
        if any(n.endswith("e_score_correction_bias") for n, _ in module.named_buffers()):
            shapes[f"model.layers.{layer}.mlp.gate.e_score_correction_bias"] = (config.n_routed_experts,)
    return shapes


def forward(model, modules, ids: torch.Tensor, post_norm: bool):
    """(main logits (B,T,V), [logits of module k: (B,T-k,V)])."""
    kept = {}
    handle = model.model.norm.register_forward_pre_hook(lambda _, args: kept.update(h=args[0]))
    logits = model(ids, use_cache=False).logits
    handle.remove()
    hidden = model.model.norm(kept["h"]) if post_norm else kept["h"]
    mtp_logits = []
    for k, module in enumerate(modules, start=1):
        output = module(model, hidden, model.model.embed_tokens(ids[:, k:]))
        mtp_logits.append(model.lm_head(module.norm(output)))
        hidden = module.norm(output) if post_norm else output
    return logits, mtp_logits


def losses(mtp_logits, ids: torch.Tensor) -> list[torch.Tensor]:
    """Mean cross-entropy of each module over its B*(T-k-1) rows that have a target."""
    return [F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, k + 1:].flatten())
            for k, logits in enumerate(mtp_logits, start=1)]


@torch.no_grad()
def transformers_logits(model, ids: torch.Tensor) -> list[torch.Tensor]:
    """The post-norm logits by transformers' own MtpModel (rotary positions shifted, which changes nothing), loaded
    by itself from the same file: a second opinion on the formulas and on the names."""
    from transformers.modeling_layers import MtpModel  # in transformers 5 only

    first = model.config.num_hidden_layers
    model._keys_to_ignore_on_load_unexpected = [rf"model\.layers\.{first + k}\." for k in range(8)]
    peer = MtpModel.from_pretrained(model).eval()
    hidden, results = model.model(ids, use_cache=False).last_hidden_state, []
    for k, layer in enumerate(peer.layers, start=1):
        embedded = peer.embed_tokens(ids[:, k:])
        rows = embedded.shape[1]
        positions = torch.arange(k, ids.shape[1])[None]
        hidden = layer(embedded, hidden[:, :rows], position_embeddings=peer.rotary_emb(embedded, positions),
                       attention_mask=torch.full((rows, rows), torch.finfo(torch.float32).min).triu(1)[None, None],
                       position_ids=positions, past_key_values=None)
        results.append(model.lm_head(hidden))
    return results
