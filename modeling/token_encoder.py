"""The encoder of LSM1 and MS2Prop: pre-norm layers over the tokens of padded spectra, with ALiBi for those who want it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from .layers import BiasedSelfAttention, FeedForward, Packing, PreNormLayer


def alibi_slopes(num_heads: int) -> torch.Tensor:
    """Slope of each head, (heads,) float32: ``2 ** (-8 k / heads)``, k = 1 ... heads (Press et al., ICLR 2022).

    For a number of heads that is no power of two: the slopes of the power below, then every second one of the power
    above, as published.
    """
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = [2 ** (-8 * k / power) for k in range(1, power + 1)]
    between = [2 ** (-4 * k / power) for k in range(1, 2 * power + 1, 2)]
    return torch.tensor((slopes + between)[:num_heads])


def alibi_bias(
    num_heads: int, n_tokens: int, exempt_first: bool = False, device: torch.device | None = None
) -> torch.Tensor:
    """What ALiBi adds to the scores, (1, heads, tokens, tokens) float32: ``-slope |i - j|``, in both directions.

    Args:
        num_heads: as in `alibi_slopes`.
        n_tokens: of a spectrum.
        exempt_first: no bias from and to token 0.
        device: of the result.
    """
    place = torch.arange(n_tokens, device=device)
    distance = (place[:, None] - place).abs().float()
    if exempt_first:
        distance[0] = distance[:, 0] = 0.0
    return -alibi_slopes(num_heads).to(device)[None, :, None, None] * distance


def real_tokens(peaks: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """Bool (batch, tokens), False for padding: by the mask, or tokens of m/z 0 where there is none."""
    return peaks[..., 0] != 0 if attention_mask is None else attention_mask != 0


def is_recorded(config: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether a forward call with `kwargs` shall return hidden states or attentions."""
    keys = ("output_hidden_states", "output_attentions")
    return any(kwargs.get(key, getattr(config, key)) for key in keys)


class PreNormEncoder(nn.Module):
    """Dropout, layers, LayerNorm. Padding is neither attended to nor, where it can be left out, computed.

    Args:
        config: as for `PreNormLayer`, and `num_hidden_layers`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(PreNormLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self,
        tokens: torch.Tensor,
        real: torch.Tensor,
        bias: torch.Tensor | None = None,
        recorded: bool = False,
    ) -> torch.Tensor:
        """Encode.

        Args:
            tokens: (batch, tokens, d).
            real: bool (batch, tokens), False for padding.
            bias: added to the scores, broadcastable to (batch, heads, tokens, tokens).
            recorded: keep every layer's output in the shape (batch, tokens, d).

        Returns:
            (batch, tokens, d); padding is zero, or anything finite when `recorded`.
        """
        packing = None if recorded or torch.compiler.is_compiling() else Packing.of(real)
        hidden_states = self.dropout(tokens if packing is None else packing.pack(tokens))
        dtype, seen = hidden_states.dtype, real[:, None, None, :]
        mask = torch.where(seen, 0.0 if bias is None else bias, torch.finfo(dtype).min).to(dtype)
        mask = mask.expand(-1, -1, real.shape[1], -1)
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, packing=packing)
        hidden_states = self.norm(hidden_states)
        return hidden_states if packing is None else packing.pad_with_zeros(hidden_states)


def initialize_encoder(module: nn.Module, num_layers: int) -> None:
    """Start values of one module of such an encoder, its input projection or its heads; children come first.

    Weights have variance 1 / inputs; what a layer adds to the stream starts smaller by the root of twice the number of
    layers, so that depth does not drown the peaks.
    """
    if isinstance(module, nn.LayerNorm):
        init.ones_(module.weight)
        init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        init.normal_(module.weight, std=module.in_features**-0.5)
        if module.bias is not None:
            init.zeros_(module.bias)
    elif isinstance(module, BiasedSelfAttention | FeedForward):
        last = module.o_proj if isinstance(module, BiasedSelfAttention) else module.down_proj
        init.normal_(last.weight, std=(2 * num_layers * last.in_features) ** -0.5)
