"""The bridge itself: projection head, orthogonal map with residual blocks, temperature (specbridge.md §1 to §3)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .alignment import procrustes


class ProjectionHead(nn.Module):
    """Linear, GELU, Linear and LayerNorm: (…, in) → (…, out). Starts with torch's default weights."""

    def __init__(self, in_dim: int, hidden: int, out_dim: int, norm: bool = True) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_dim, hidden)
        self.fc2 = nn.Linear(hidden, out_dim)
        self.norm = nn.LayerNorm(out_dim) if norm else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        """Project (…, in) to (…, out)."""
        return self.norm(self.fc2(F.gelu(self.fc1(hidden))))


class MapperBlock(nn.Module):
    """x + fc2(dropout(GELU(fc1(LayerNorm(x))))), the identity at initialisation because fc2 starts at zero."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """Refine (…, D)."""
        return hidden + self.fc2(self.dropout(F.gelu(self.fc1(self.ln(hidden)))))


class Mapper(nn.Module):
    """W then residual blocks: (…, in) → (…, D). At initialisation it is W exactly (specbridge.md §2, §3)."""

    def __init__(self, in_dim: int, out_dim: int, hidden: int, n_blocks: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.W = nn.Linear(in_dim, out_dim)
        self.blocks = nn.ModuleList(MapperBlock(out_dim, hidden, dropout) for _ in range(n_blocks))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (…, in) to (…, D)."""
        hidden = self.W(hidden)
        for block in self.blocks:
            hidden = block(hidden)
        return hidden

    @torch.no_grad()
    def fit_procrustes(self, source: Tensor, target: Tensor) -> None:
        """Set W to the orthogonal map that best turns `source` (N, in) into `target` (N, D), its bias to 0."""
        self.W.weight.copy_(procrustes(source, target))
        self.W.bias.zero_()


class Temperature(nn.Module):
    """τ = max(exp(log_tau), 1e-6), a scalar."""

    def __init__(self, initial: float, trainable: bool) -> None:
        super().__init__()
        self.initial, self.trainable = initial, trainable
        self.log_tau = nn.Parameter(torch.tensor(math.log(initial)), requires_grad=trainable)

    def freeze_constants(self) -> None:
        """Keep a constant temperature out of training."""
        self.log_tau.requires_grad_(self.trainable)

    def forward(self) -> Tensor:
        """The temperature, ()."""
        return self.log_tau.exp().clamp(min=1e-6)


class Prior(nn.Module):
    """Log-odds of each bit of a molecular fingerprint before a spectrum is seen, (D,); fitted once, never trained."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.log_odds = nn.Parameter(torch.zeros(dim), requires_grad=False)

    def freeze_constants(self) -> None:
        """Keep the prior out of training."""
        self.log_odds.requires_grad_(False)

    def clip(self, mapped: Tensor, most: float) -> Tensor:
        """Mapped spectra (…, D), evidence against this prior, with total log-odds within ±`most`."""
        return (mapped + self.log_odds).clamp(-most, most) - self.log_odds.clamp(-most, most)

    @torch.no_grad()
    def fit(self, bits: Tensor) -> None:
        """Set from fingerprints (N, D) of the training molecules, above 0 = present."""
        share = (bits > 0).double().mean(0).clamp(1e-3, 1 - 1e-3)
        self.log_odds.copy_(torch.logit(share))


@torch.no_grad()
def init_bridge_weights(module: nn.Module, mapper_init: Literal["orthogonal", "xavier"]) -> None:
    """Initial weights of this file's modules; leaves what was loaded from a checkpoint alone.

    Head: torch's defaults. W: orthonormal rows (or Xavier), bias 0. Blocks: fc1 Xavier with gain 0.7, fc2 zero.
    """
    if isinstance(module, ProjectionHead):
        for linear in (module.fc1, module.fc2):
            bound = 1 / math.sqrt(linear.in_features)
            init.kaiming_uniform_(linear.weight, a=math.sqrt(5))
            init.uniform_(linear.bias, -bound, bound)
    elif isinstance(module, MapperBlock):
        init.xavier_uniform_(module.fc1.weight, gain=0.7)
        init.zeros_(module.fc1.bias)
        init.zeros_(module.fc2.weight)
        init.zeros_(module.fc2.bias)
    elif isinstance(module, Mapper):
        set_w = init.orthogonal_ if mapper_init == "orthogonal" else init.xavier_uniform_
        set_w(module.W.weight)
        init.zeros_(module.W.bias)
    elif isinstance(module, Prior):
        init.zeros_(module.log_odds)
    elif isinstance(module, Temperature):
        init.constant_(module.log_tau, math.log(module.initial))


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, N, d) over the tokens whose mask (B, N) is not 0; zero if there are none."""
    weights = mask.to(hidden.dtype)[..., None]
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def encoder_blocks(encoder: nn.Module) -> list[nn.Module]:
    """The transformer blocks of any encoder, first to last: its largest list of checkpointable layers.

    Raises:
        ValueError: it has none.
    """
    lists = [
        list(module)
        for module in encoder.modules()
        if isinstance(module, nn.ModuleList)
        and len(module)
        and isinstance(module[0], GradientCheckpointingLayer)
    ]
    if not lists:
        raise ValueError(
            f"{type(encoder).__name__} has no list of transformer blocks; use unfreeze_last 0 or -1"
        )
    return max(lists, key=lambda blocks: sum(p.numel() for block in blocks for p in block.parameters()))
