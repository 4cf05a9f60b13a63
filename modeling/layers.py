"""Layers that several models share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class BiasedSelfAttention(nn.Module):
    """Multi-head self-attention without linear biases whose scores take an additive mask.

    Args:
        config: gives `hidden_size`, `num_attention_heads`, `attention_dropout` and the attention implementation.
    """

    is_causal = False

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        size: int = config.hidden_size
        self.head_dim = size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.dropout: float = config.attention_dropout
        self.q_proj = nn.Linear(size, size, bias=False)
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj = nn.Linear(size, size, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        blank_queries: torch.Tensor | None = None,
        n_queries: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend.

        Args:
            hidden_states: (batch, tokens, d).
            attention_mask: additive (batch, 1, queries, tokens).
            blank_queries: bool (batch, queries), tokens whose scores come from `attention_mask` alone.
            n_queries: only the first so many tokens ask; all if None.

        Returns:
            (batch, queries, d), and the weights (batch, heads, queries, tokens) or None (fused attention).
        """
        queries = hidden_states if n_queries is None else hidden_states[:, :n_queries]
        query = self.q_proj(queries)
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
            self._heads(self.k_proj(hidden_states)),
            self._heads(self.v_proj(hidden_states)),
            attention_mask,
            dropout=self.dropout if self.training else 0.0,
            scaling=self.scaling,
        )
        return self.o_proj(output.flatten(2)), weights

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class FeedForward(nn.Module):
    """Linear, ReLU, dropout, Linear, without biases.

    Args:
        size: of input and output.
        intermediate_size: between them.
        dropout: probability.
    """

    def __init__(self, size: int, intermediate_size: int, dropout: float) -> None:
        super().__init__()
        self.up_proj = nn.Linear(size, intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, size, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(..., size) to (..., size)."""
        return self.down_proj(self.dropout(functional.relu(self.up_proj(hidden_states))))


class PreNormLayer(GradientCheckpointingLayer):
    """Pre-norm transformer layer of `BiasedSelfAttention` and `FeedForward`.

    Args:
        config: as for `BiasedSelfAttention`, and `intermediate_size`, `hidden_dropout`, `layer_norm_eps`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = BiasedSelfAttention(config)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = FeedForward(config.hidden_size, config.intermediate_size, config.hidden_dropout)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        blank_queries: torch.Tensor | None = None,
        n_queries: int | None = None,
    ) -> torch.Tensor:
        """(batch, tokens, d) to (batch, queries, d); arguments as in `BiasedSelfAttention`."""
        attended, _ = self.attention(
            self.attention_norm(hidden_states), attention_mask, blank_queries, n_queries
        )
        hidden_states = hidden_states[:, :n_queries] + self.dropout(attended)
        return hidden_states + self.dropout(self.mlp(self.mlp_norm(hidden_states)))


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
            features = functional.relu(self.dropout(layer(features)))
        return functional.relu(self.layers[-1](features))
