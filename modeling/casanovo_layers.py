"""The parts of Casanovo: embeddings of peaks, post-norm encoder layers on padded or ragged batches, post-norm decoder layers with a cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .casanovo_config import CasanovoConfig
from .layers import FeedForward, Packing, eager_attention
from .sinusoid import Sinusoid

KeysValues = tuple[Tensor, Tensor]


class CasanovoEmbeddings(nn.Module):
    """Peaks to tokens, and the learned token that stands for the spectrum."""

    def __init__(self, config: CasanovoConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.spectrum = nn.Parameter(torch.randn(1, 1, size))
        self.mz = Sinusoid(size, 0.001, 1e4)
        if config.version == "4":
            self.intensity: nn.Module = nn.Linear(1, size, bias=False)
        else:
            self.intensity = Sinusoid(size, 1e-6, 1.0)
            self.combine = nn.Linear(2 * size, size, bias=False)

    def forward(self, peaks: Tensor, spectrum_token: Tensor) -> Tensor:
        """Peaks (batch, tokens, 2) float32 to tokens (batch, tokens, d); the learned token where `spectrum_token` is True."""
        mz, intensity = peaks.unbind(-1)
        dtype = self.spectrum.dtype
        if isinstance(self.intensity, Sinusoid):
            features = torch.cat([self.mz(mz).to(dtype), self.intensity(intensity).to(dtype)], dim=-1)
            tokens = self.combine(features)
        else:
            linear = self.intensity(intensity.unsqueeze(-1).to(dtype))
            tokens = (self.mz(mz) + linear.float()).to(dtype)
        return torch.where(spectrum_token.unsqueeze(-1), self.spectrum, tokens)


class CasanovoAttention(nn.Module):
    """Multi-head attention with biases whose keys and values may be computed once and kept.

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
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(size, size)
        self.v_proj = nn.Linear(size, size)
        self.o_proj = nn.Linear(size, size)

    def keys_values(self, states: Tensor, packing: Packing | None = None) -> KeysValues:
        """Keys and values (batch, heads, tokens, head_dim) of states (batch, tokens, d), or packed (1, present, d)."""
        key, value = self.k_proj(states), self.v_proj(states)
        if packing is not None:
            key, value = packing.pad(key), packing.pad(value)
        return self._heads(key), self._heads(value)

    def forward(
        self,
        states: Tensor,
        keys_values: KeysValues,
        attention_mask: Tensor | None = None,
        lengths: list[int] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            states: the queries, (batch, queries, d).
            keys_values: as `keys_values` gives them.
            attention_mask: additive, broadcastable to (batch, heads, queries, keys).
            lengths: the one row of the batch holds sequences of these lengths, which do not see each other.

        Returns:
            states of the same shape; the weights (batch, heads, queries, keys) or None (fused attention, or `lengths`).
        """
        attend: Callable[..., tuple[Tensor, Tensor | None]] = partial(
            ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention),
            self,
            dropout=self.config.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
        )
        triple = self._heads(self.q_proj(states)), *keys_values
        if lengths is None:
            output, weights = attend(*triple, attention_mask)
        else:
            sequences = zip(*(states.split(lengths, dim=2) for states in triple), strict=True)
            output, weights = torch.cat([attend(*one, None)[0] for one in sequences], dim=1), None
        return self.o_proj(output.flatten(2)), weights

    def _heads(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class CasanovoEncoderLayer(GradientCheckpointingLayer):
    """Self-attention and MLP, each followed by a norm of the sum.

    Args:
        config: as for `CasanovoAttention`, and `intermediate_size`, `hidden_act`, `hidden_dropout`, `layer_norm_eps`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention = CasanovoAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = _feed_forward(config)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout: float = config.hidden_dropout

    def forward(
        self, states: Tensor, attention_mask: Tensor | None = None, lengths: list[int] | None = None
    ) -> Tensor:
        """(batch, tokens, d) to the same; arguments as in `CasanovoAttention`."""
        keys_values = self.attention.keys_values(states)
        attended, _ = self.attention(states, keys_values, attention_mask, lengths)
        states = self.attention_norm(states + self._drop(attended))
        return self.mlp_norm(states + self._drop(self.mlp(states)))

    def _drop(self, states: Tensor) -> Tensor:
        return functional.dropout(states, self.dropout, self.training)


class PastTokens:
    """Keys and values of the tokens a decoder layer has seen, one row per beam; grows with every step."""

    def __init__(self) -> None:
        self.keys_values: KeysValues | None = None

    def extend(self, new: KeysValues) -> KeysValues:
        """Append `new` and return all."""
        if self.keys_values is not None:
            new = (
                torch.cat([self.keys_values[0], new[0]], dim=2),
                torch.cat([self.keys_values[1], new[1]], dim=2),
            )
        self.keys_values = new
        return new

    def select(self, rows: Tensor) -> None:
        """Keep `rows` (n,) int64, in this order, each as often as it is named."""
        if self.keys_values is not None:
            self.keys_values = self.keys_values[0][rows], self.keys_values[1][rows]


class CasanovoDecoderLayer(GradientCheckpointingLayer):
    """Causal self-attention, attention to the spectrum and MLP, each followed by a norm of the sum.

    Args:
        config: as for `CasanovoEncoderLayer`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention = CasanovoAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.cross_attention = CasanovoAttention(config)
        self.cross_attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = _feed_forward(config)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout: float = config.hidden_dropout

    def memory(self, states: Tensor, packing: Packing | None = None) -> KeysValues:
        """Keys and values of encoded spectra, as in `CasanovoAttention.keys_values`."""
        return self.cross_attention.keys_values(states, packing)

    def forward(
        self,
        states: Tensor,
        attention_mask: Tensor | None,
        memory: KeysValues,
        memory_mask: Tensor | None,
        past: PastTokens | None = None,
    ) -> Tensor:
        """Decode.

        Args:
            states: (rows, tokens, d). With beams, those of one spectrum are neighbours.
            attention_mask: additive, broadcastable to (rows, heads, tokens, tokens so far).
            memory: keys and values of the spectra, (spectra, heads, memory tokens, head_dim); rows are a multiple of it.
            memory_mask: additive, broadcastable to (spectra, heads, queries, memory tokens).
            past: the tokens before `states`, extended by them.

        Returns:
            (rows, tokens, d).
        """
        keys_values = self.attention.keys_values(states)
        if past is not None:
            keys_values = past.extend(keys_values)
        attended, _ = self.attention(states, keys_values, attention_mask)
        states = self.attention_norm(states + self._drop(attended))
        # all beams of a spectrum ask its one memory
        asked, _ = self.cross_attention(
            states.reshape(memory[0].shape[0], -1, states.shape[-1]), memory, memory_mask
        )
        states = self.cross_attention_norm(states + self._drop(asked.reshape(states.shape)))
        return self.mlp_norm(states + self._drop(self.mlp(states)))

    def _drop(self, states: Tensor) -> Tensor:
        return functional.dropout(states, self.dropout, self.training)


def grouped(lengths: list[int], limit: int) -> list[list[int]]:
    """Consecutive lengths in groups whose sum is at most `limit`, or of a single one."""
    groups: list[list[int]] = []
    for length in lengths:
        if not groups or sum(groups[-1]) + length > limit:
            groups.append([])
        groups[-1].append(length)
    return groups


def _feed_forward(config: Any) -> FeedForward:
    sizes = config.hidden_size, config.intermediate_size
    return FeedForward(*sizes, config.hidden_dropout, config.hidden_act, bias=True)
