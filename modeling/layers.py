"""Layers that several models share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


def eager_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention written out, the reference for every fused one.

    Args:
        query, key, value: (batch, heads, tokens, head_dim).
        attention_mask: additive, broadcastable to (batch, heads, queries, keys), or None.
        scaling: factor of the scores.
        dropout: of the attention weights, when `module` is training.

    Returns:
        (batch, queries, heads, head_dim) and the weights (batch, heads, queries, keys).
    """
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class Packing:
    """Tokens of a batch without its filler: (1, present tokens, d) instead of (batch, tokens, d).

    Everything but attention works token by token, so only attention needs the batch back.

    Args:
        present: bool (batch, tokens), False where there is filler. Token 0 of every spectrum must be present.
    """

    def __init__(self, present: torch.Tensor) -> None:
        self.present, self.shape = present, present.shape
        self.rows = present.flatten().nonzero().squeeze(1)
        self.first = (self.rows % self.shape[1] == 0).nonzero().squeeze(1)
        self.origin = (present.flatten().cumsum(0) - 1).clamp_min(0)

    @classmethod
    def of(cls, token_counts: torch.Tensor) -> Packing | None:
        """The packing of a batch whose filler has count 0; None if there is no filler."""
        present = token_counts > 0
        present[:, 0] = True
        return None if bool(present.all()) else cls(present)

    def pack(self, padded: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, d) to (1, present, d)."""
        return padded.flatten(0, 1)[self.rows].unsqueeze(0)

    def pad(self, packed: torch.Tensor) -> torch.Tensor:
        """(1, present, d) to (batch, tokens, d); filler repeats some present token (one pass over memory, no zeroing)."""
        return packed[0].index_select(0, self.origin).unflatten(0, self.shape)

    def pad_with_zeros(self, packed: torch.Tensor) -> torch.Tensor:
        """(1, present, d) to (batch, tokens, d), zeros in the filler."""
        return self.pad(packed).masked_fill(~self.present.unsqueeze(-1), 0.0)


def counted_key_mask(
    key_bias: torch.Tensor, padding: torch.Tensor, token_counts: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Additive score mask (batch, 1, tokens, tokens) of `dtype` for keys that count several times.

    A key that counts n times has log n added to its score. A padding query is blank: it attends evenly to all that
    counts, which is what a row of log counts says when the query itself is zero.

    Args:
        key_bias: (batch, tokens) float32, added to the scores of a key.
        padding: (batch, tokens) bool, tokens that ask blankly.
        token_counts: (batch, tokens), 0 = invisible.
    """
    absent = token_counts <= 0
    log_counts = token_counts.float().clamp_min(1e-30).log()
    bias = key_bias + log_counts
    # a shift per row changes nothing, but lets half precision resolve the keys that matter
    bias = bias - bias.masked_fill(absent, -torch.inf).amax(-1, keepdim=True)
    rows = torch.where(padding.unsqueeze(-1), log_counts.unsqueeze(1), bias.unsqueeze(1)).to(dtype)
    return rows.masked_fill(absent.unsqueeze(1), torch.finfo(dtype).min).unsqueeze(1)


def key_mask(attention_mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask (batch, 1, 1, tokens) of `dtype` that hides the tokens whose `attention_mask` (batch, tokens) is 0."""
    hidden = (attention_mask == 0)[:, None, None]
    blank = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
    return blank.masked_fill(hidden, torch.finfo(dtype).min)


class BiasedSelfAttention(nn.Module):
    """Multi-head self-attention whose scores take an additive mask.

    Args:
        config: gives `hidden_size`, `num_attention_heads`, `attention_dropout`, the attention implementation and, if the
            projections have biases, `linear_bias`.
    """

    is_causal = False

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        size: int = config.hidden_size
        self.head_dim = size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.dropout: float = config.attention_dropout
        bias = bool(getattr(config, "linear_bias", False))
        self.q_proj = nn.Linear(size, size, bias=bias)
        self.k_proj = nn.Linear(size, size, bias=bias)
        self.v_proj = nn.Linear(size, size, bias=bias)
        self.o_proj = nn.Linear(size, size, bias=bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        blank_queries: torch.Tensor | None = None,
        pooled_only: bool = False,
        packing: Packing | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend.

        Args:
            hidden_states: (batch, tokens, d), or (1, present, d) with `packing`.
            attention_mask: additive (batch, 1, queries, tokens).
            blank_queries: bool (batch, queries), tokens whose scores come from `attention_mask` alone.
            pooled_only: only token 0 of each spectrum asks.
            packing: how the batch was packed.

        Returns:
            (batch, queries, d), or (1, queries, d) with `packing`; the weights (batch, heads, queries, tokens) or None
            (fused attention).
        """
        query = self.q_proj(first_tokens(hidden_states, packing) if pooled_only else hidden_states)
        key, value = self.k_proj(hidden_states), self.v_proj(hidden_states)
        if packing is not None:
            query = query.transpose(0, 1) if pooled_only else packing.pad(query)
            key, value = packing.pad(key), packing.pad(value)
        if blank_queries is not None:
            query = query.masked_fill(blank_queries.unsqueeze(-1), 0.0)
        attend: Callable[..., tuple[torch.Tensor, torch.Tensor | None]] = (
            ALL_ATTENTION_FUNCTIONS.get_interface(
                self.config._attn_implementation,
                eager_attention,
            )
        )
        output, weights = attend(
            self,
            self._heads(query),
            self._heads(key),
            self._heads(value),
            attention_mask,
            dropout=self.dropout if self.training else 0.0,
            scaling=self.scaling,
        )
        output = output.flatten(2)
        if packing is not None:
            output = output.transpose(0, 1) if pooled_only else packing.pack(output)
        return self.o_proj(output), weights

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": partial(functional.relu, inplace=True),
    "gelu": functional.gelu,
}


class FeedForward(nn.Module):
    """Linear, activation, dropout, Linear.

    Args:
        size: of input and output.
        intermediate_size: between them.
        dropout: probability.
        activation: "relu" or "gelu".
        bias: whether the linear layers have biases.
    """

    def __init__(
        self, size: int, intermediate_size: int, dropout: float, activation: str = "relu", bias: bool = False
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.up_proj = nn.Linear(size, intermediate_size, bias=bias)
        self.down_proj = nn.Linear(intermediate_size, size, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(..., size) to (..., size)."""
        return self.down_proj(self.dropout(self.activation(self.up_proj(hidden_states))))


class PreNormLayer(GradientCheckpointingLayer):
    """Pre-norm transformer layer of `BiasedSelfAttention` and `FeedForward`.

    Args:
        config: as for `BiasedSelfAttention`, and `intermediate_size`, `hidden_dropout`, `layer_norm_eps` and, if other
            than ReLU, `hidden_act`; `linear_bias` where linear layers have biases.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = BiasedSelfAttention(config)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        activation = getattr(config, "hidden_act", "relu")
        self.mlp = FeedForward(
            config.hidden_size,
            config.intermediate_size,
            config.hidden_dropout,
            activation,
            bool(getattr(config, "linear_bias", False)),
        )
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        blank_queries: torch.Tensor | None = None,
        pooled_only: bool = False,
        packing: Packing | None = None,
    ) -> torch.Tensor:
        """(batch, tokens, d) to (batch, queries, d); arguments as in `BiasedSelfAttention`."""
        attended, _ = self.attention(
            self.attention_norm(hidden_states), attention_mask, blank_queries, pooled_only, packing
        )
        if pooled_only:
            hidden_states = first_tokens(hidden_states, packing)
        hidden_states = hidden_states + self.dropout(attended)
        return hidden_states + self.dropout(self.mlp(self.mlp_norm(hidden_states)))


def first_tokens(hidden_states: torch.Tensor, packing: Packing | None) -> torch.Tensor:
    """Token 0 of every spectrum: (batch, 1, d), or (1, batch, d) with `packing`."""
    return hidden_states[:, :1] if packing is None else hidden_states[:, packing.first]


class Mlp(nn.Module):
    """Linear layers each followed by ReLU, the last one included; dropout before every ReLU but the last.

    Args:
        sizes: of input, hidden layers and output; at least two.
        dropout: probability.
    """

    def __init__(self, sizes: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(..., sizes[0]) to (..., sizes[-1])."""
        for layer in self.layers[:-1]:
            features = functional.relu(self.dropout(layer(features)), inplace=True)
        return functional.relu(self.layers[-1](features), inplace=True)
