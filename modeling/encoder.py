"""The standard transformer encoder layer: biased projections, key mask or additive bias, pre-norm or post-norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .layers import eager_attention


def key_mask(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive mask (batch, 1, 1, tokens) of `dtype` that hides the tokens whose `attention_mask` (batch, tokens) is 0."""
    hidden = (attention_mask == 0)[:, None, None]
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill(
        hidden, torch.finfo(dtype).min
    )


class SelfAttention(nn.Module):
    """Multi-head self-attention with biased projections.

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
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(size, size)
        self.v_proj = nn.Linear(size, size)
        self.o_proj = nn.Linear(size, size)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, first_only: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            hidden_states: (batch, tokens, d).
            attention_mask: additive, broadcastable to (batch, heads, queries, tokens).
            first_only: only token 0 asks.

        Returns:
            (batch, queries, d); the weights (batch, heads, queries, tokens) or None (fused attention).
        """
        query = self.q_proj(hidden_states[:, :1] if first_only else hidden_states)
        attend: Callable[..., tuple[Tensor, Tensor | None]] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention
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

    def _heads(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class EncoderMlp(nn.Module):
    """Linear, activation, dropout, Linear.

    Args:
        config: gives `hidden_size`, `intermediate_size`, `hidden_act`, `hidden_dropout`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout: float = config.hidden_dropout

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., d) to (..., d)."""
        inner = self.activation(self.up_proj(hidden_states))
        return self.down_proj(functional.dropout(inner, self.dropout, self.training))


class EncoderLayer(GradientCheckpointingLayer):
    """Self-attention and MLP, each added to its input; the norm before them (`norm_first`) or after the sum.

    Args:
        config: as for `SelfAttention` and `EncoderMlp`, and `layer_norm_eps`.
        norm_first: pre-norm, or post-norm as in the original transformer.
    """

    def __init__(self, config: Any, norm_first: bool = True) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = SelfAttention(config)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = EncoderMlp(config)
        self.dropout: float = config.hidden_dropout

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, first_only: bool = False
    ) -> Tensor:
        """(batch, tokens, d) to (batch, queries, d); arguments as in `SelfAttention`."""
        inner = self.attention_norm(hidden_states) if self.norm_first else hidden_states
        attended, _ = self.attention(inner, attention_mask, first_only)
        if first_only:
            hidden_states = hidden_states[:, :1]
        hidden_states = hidden_states + self._drop(attended)
        if not self.norm_first:
            hidden_states = self.attention_norm(hidden_states)
            return self.mlp_norm(hidden_states + self._drop(self.mlp(hidden_states)))
        return hidden_states + self._drop(self.mlp(self.mlp_norm(hidden_states)))

    def _drop(self, states: Tensor) -> Tensor:
        return functional.dropout(states, self.dropout, self.training)
