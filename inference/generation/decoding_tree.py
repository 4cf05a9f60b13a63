"""A decoder's keys and values as a tree that all hypotheses of a spectrum share.

In a beam search most hypotheses have much of their past in common. Here every token that was decoded is one node with one
key and value per layer, whatever the number of hypotheses that go through it, and the context of a spectrum is held once.
So nothing is copied when hypotheses change places, and attention is one matrix product per spectrum and head: the scores
of all nodes are computed, those of a hypothesis's own ancestors are picked out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_STEPS_BETWEEN_PRUNINGS = 3


def take(values: Tensor, places: Tensor) -> Tensor:
    """values[i, places[i, j]] for `values` (spectra, n, ...) and `places` (spectra, m)."""
    rows = torch.arange(len(values), device=values.device).unsqueeze(1) * values.shape[1] + places
    return values.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, places.shape)


class DecodingTree:
    """Hypotheses of several spectra, decoded token by token.

    The arithmetic is that of transformers' GPT-2 in evaluation mode.

    Args:
        decoder: GPT-2 with cross-attention: `SelfiesGpt2LMHeadModel` or `GPT2LMHeadModel`.
        context: (spectra, K, c) context vectors. context_mask: (spectra, K), 1 = real; None = all.
    """

    def __init__(self, decoder: Any, context: Tensor, context_mask: Tensor | None) -> None:
        self.head, self.body = decoder.lm_head, decoder.transformer
        self.heads, width = decoder.config.num_attention_heads, decoder.config.hidden_size
        read = getattr(self.body, "project_context", None)
        vectors = context.contiguous() if read is None else read(context)
        self.context = [
            self._split(values)
            for block in self.body.h
            for values in block.crossattention.c_attn(vectors).split(width, dim=2)
        ]
        self.real = (
            None if context_mask is None or bool(context_mask.all()) else context_mask[:, None, None] != 0
        )
        self.nodes = [values[:, :, :0] for values in self.context]
        self.ancestors = torch.empty(len(context), 1, 0, dtype=torch.long, device=context.device)
        self.used = 0

    @property
    def length(self) -> int:
        """Tokens of each hypothesis."""
        return self.ancestors.shape[2]

    def start(self, prompt: Tensor) -> Tensor:
        """Logits (spectra, 1, vocabulary) float32 behind a `prompt` (spectra, length) of token ids."""
        parents = torch.zeros_like(prompt[:, :1])
        return [self.step(tokens.unsqueeze(1), parents) for tokens in prompt.unbind(1)][-1]

    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Replace the hypotheses by continuations of them.

        Args:
            tokens: (spectra, hypotheses) the token that each continuation adds.
            parents: (spectra, hypotheses) the number of the hypothesis it continues.

        Returns:
            Logits of the tokens that may follow, (spectra, hypotheses, vocabulary) float32.
        """
        if self.ancestors.shape[1] == 1:  # behind the prompt there is but one
            parents = torch.zeros_like(parents)
        spectra, count = tokens.shape
        self.ancestors = take(self.ancestors, parents)
        if self.used + count > self.nodes[0].shape[2]:
            self._prune(count)
        own = torch.arange(self.used, self.used + count, device=tokens.device)
        self.ancestors = torch.cat([self.ancestors, own.view(1, -1, 1).expand(spectra, -1, -1)], dim=2)
        self.used += count
        body = self.body
        states = body.wte(tokens) + body.wpe.weight[self.length - 1]
        for number, block in enumerate(body.h):
            states = states + self._attend_past(block.attn, block.ln_1(states), number)
            states = states + self._attend_context(block.crossattention, block.ln_cross_attn(states), number)
            states = states + block.mlp(block.ln_2(states))
        return self.head(body.ln_f(states)).float()

    def repeat(self, times: int) -> None:
        """Make every spectrum `times` spectra, one behind the other, that no longer share anything."""
        rows = torch.arange(len(self.ancestors), device=self.ancestors.device).repeat_interleave(times)
        self.select(rows)

    def select(self, spectra: Tensor) -> None:
        """Keep `spectra` (n,) of those there are now."""
        self.ancestors = self.ancestors.index_select(0, spectra)
        self.nodes = [values.index_select(0, spectra) for values in self.nodes]
        self.context = [values.index_select(0, spectra) for values in self.context]
        self.real = None if self.real is None else self.real.index_select(0, spectra)

    def _split(self, values: Tensor) -> Tensor:
        """(spectra, n, width) as (spectra, heads, n, size)."""
        return values.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def _attend_past(self, attention: Any, states: Tensor, number: int) -> Tensor:
        count = states.shape[1]
        query, *news = attention.c_attn(states).split(states.shape[2], dim=2)
        stores = self.nodes[2 * number : 2 * number + 2]
        for store, new in zip(stores, news, strict=True):
            store[:, :, self.used - count : self.used] = self._split(new)
        keys, values = (store[:, :, : self.used] for store in stores)
        scores = self._split(query) @ keys.transpose(2, 3)
        own = self.ancestors.unsqueeze(1).expand(-1, self.heads, -1, -1)
        weights = (scores.gather(3, own).float() * attention.scaling).softmax(-1)
        found = scores.zero_().scatter_(3, own, weights.to(scores.dtype)) @ values
        return attention.c_proj(found.transpose(1, 2).flatten(2))

    def _attend_context(self, attention: Any, states: Tensor, number: int) -> Tensor:
        keys, values = self.context[2 * number : 2 * number + 2]
        query = self._split(attention.q_attn(states))
        found = F.scaled_dot_product_attention(query, keys, values, self.real, scale=attention.scaling)
        return attention.c_proj(found.transpose(1, 2).flatten(2))

    def _prune(self, count: int) -> None:
        """Forget nodes that no hypothesis descends from, and make room for `count` more, a few times."""
        spectra, heads, stored, size = self.nodes[0].shape
        alive = torch.zeros(spectra, stored, dtype=torch.long, device=self.ancestors.device)
        alive.scatter_(1, self.ancestors.flatten(1), 1)
        left = int(alive.sum(1).max()) if stored else 0
        order = alive.argsort(dim=1, descending=True, stable=True)[:, :left]
        capacity = left + max(_STEPS_BETWEEN_PRUNINGS * count, 16)
        for place, values in enumerate(self.nodes):
            self.nodes[place] = values.new_empty(spectra, heads, capacity, size)
            kept = take(values.flatten(0, 1), order.repeat_interleave(heads, dim=0))
            self.nodes[place][:, :, :left] = kept.unflatten(0, (spectra, heads))
        places = (alive.cumsum(1) - 1).gather(1, self.ancestors.flatten(1))
        self.ancestors, self.used = places.view_as(self.ancestors), left
