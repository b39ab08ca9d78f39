"""The optimisers of the training trajectories.

AdamW: PyTorch's own, betas 0.9 0.95, eps 1e-8, decay 0.1 on parameters of 2 or more dimensions (embeddings included).
Muon, in Moonlight's form (section 2 of its report), f32 throughout, each matrix as it is named on disk (so every
expert's gate_proj, up_proj and down_proj by itself):
    m = 0.95 m + g;  u = NS5(g + 0.95 m);  w = w (1 - lr * 0.1) - lr * 0.2 sqrt(max(rows, cols)) u
Embedding, head, router gates and everything of one dimension stay with AdamW.
"""
import torch

from .hf import named_views

BETAS, EPS, DECAY, MOMENTUM = (0.9, 0.95), 1e-8, 0.1, 0.95


def newton_schulz(g: torch.Tensor) -> torch.Tensor:
    """Five quintic steps towards the nearest semi-orthogonal matrix (a zero matrix stays zero)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def uses_muon(name: str, tensor: torch.Tensor) -> bool:
    return tensor.dim() == 2 and not any(part in name for part in ("embed_tokens", "lm_head", "mlp.gate.weight"))


class Optimizer:
    def __init__(self, model, muon: bool):
        self.model = model
        self.momentum = {}
        if muon:
            self.momentum = {n: torch.zeros_like(v) for n, v in named_views(model).items() if uses_muon(n, v)}
        taken = {n.rpartition(".experts.")[0] + ".experts" if ".experts." in n else n for n in self.momentum}
        rest = [(n, p) for n, p in model.named_parameters()
                if n not in taken and n.rpartition(".")[0] not in taken]
        self.adamw = torch.optim.AdamW(
            [{"params": [p for _, p in rest if p.dim() >= 2], "weight_decay": DECAY},
             {"params": [p for _, p in rest if p.dim() < 2], "weight_decay": 0.0}],
            lr=0.0, betas=BETAS, eps=EPS, foreach=False)

    @torch.no_grad()
    def step(self, lr: float) -> float:
        """Clips the global gradient norm to 1, updates, returns the norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=False)
        for group in self.adamw.param_groups:
            group["lr"] = lr
        self.adamw.step()
        gradients = named_views(self.model, lambda p: p.grad) if self.momentum else {}
        weights = named_views(self.model)
        for name, m in self.momentum.items():
            g, w = gradients[name], weights[name]
            m.mul_(MOMENTUM).add_(g)
            update = newton_schulz(g + MOMENTUM * m)
            w.mul_(1 - lr * DECAY).sub_(lr * 0.2 * max(w.shape) ** 0.5 * update)
        self.model.zero_grad()
        return float(norm)
