"""A decoder's keys and values as a tree that all hypotheses of a spectrum share.

In a beam search most hypotheses have most of their past in common. Here every token that was decoded is one node with one
key and value per layer, whatever the number of hypotheses that go through it. The hypotheses of a spectrum are laid along
the decoder's sequence axis; which nodes each may attend to, its own ancestors, is an attention mask. So no cache is copied
when hypotheses change places, attention is one matrix product per spectrum and head, and the context of a spectrum is held
once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache

_STEPS_BETWEEN_PRUNINGS = 2


class NodeLayer(DynamicLayer):
    """Keys and values of one layer, stored (spectra, capacity, heads, size) so that a node is one piece of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.used = 0
        self.stores: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append nodes (spectra, heads, nodes, size); returns all of them in the same layout."""
        new = [states.transpose(1, 2) for states in (key_states, value_states)]
        count = new[0].shape[1]
        if not self.stores:
            self.stores, self.is_initialized = [states.contiguous() for states in new], True
        else:
            for store, states in zip(self.stores, new, strict=True):
                store[:, self.used : self.used + count] = states
        self.used += count
        keys, values = (store[:, : self.used].transpose(1, 2) for store in self.stores)
        return keys, values

    def get_seq_length(self) -> int:
        """Nodes."""
        return self.used

    def rebuild(self, rows: Tensor, capacity: int, used: int) -> None:
        """Keep the nodes `rows` (spectra * capacity,) of the flattened stores; the first `used` per spectrum count."""
        self.stores = [
            store.flatten(0, 1).index_select(0, rows).unflatten(0, (-1, capacity)) for store in self.stores
        ]
        self.used = used


class DecodingTree:
    """Hypotheses of several spectra, decoded token by token.

    Args:
        decoder: a decoder with cross-attention, such as `SelfiesGpt2LMHeadModel` or `GPT2LMHeadModel`.
        context: (spectra, K, c) context vectors. context_mask: (spectra, K), 1 = real; None = all.
    """

    def __init__(self, decoder: Any, context: Tensor, context_mask: Tensor | None) -> None:
        self.decoder, self.context, self.context_mask = decoder, context.contiguous(), context_mask
        self.layers = [NodeLayer() for _ in range(decoder.config.num_hidden_layers)]
        self.cache = EncoderDecoderCache(Cache(layers=self.layers), DynamicCache())
        self.mask = torch.empty(
            0
        )  # (spectra, hypotheses, capacity): 0 for ancestors, else the smallest number
        self.length = 0
        self.lowest = torch.finfo(decoder.dtype).min

    def start(self, prompt: Tensor) -> Tensor:
        """Logits (spectra, 1, vocabulary) float32 behind a `prompt` (spectra, length) of token ids."""
        spectra, self.length = prompt.shape
        causal = torch.full(
            (self.length, self.length), self.lowest, device=prompt.device, dtype=self.decoder.dtype
        )
        self.mask = causal.triu(1).expand(spectra, -1, -1)
        logits = self._forward(prompt, torch.arange(self.length, device=prompt.device), self.mask)[:, -1:]
        self.mask = self.mask[:, -1:].contiguous()
        return logits

    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Replace the hypotheses by continuations of them.

        Args:
            tokens: (spectra, hypotheses) the token that each continuation adds.
            parents: (spectra, hypotheses) the number of the hypothesis it continues.

        Returns:
            Logits of the tokens that may follow, (spectra, hypotheses, vocabulary) float32.
        """
        spectra, count = tokens.shape
        if self.mask.shape[1] == 1:  # behind the prompt there is but one
            parents = torch.zeros_like(parents)
        first = torch.arange(spectra, device=tokens.device).unsqueeze(1) * self.mask.shape[1]
        self.mask = (
            self.mask.flatten(0, 1)
            .index_select(0, (first + parents).flatten())
            .unflatten(0, (spectra, count))
        )
        used = self.layers[0].used
        if used + count > self.mask.shape[2]:
            used = self._prune(count)
        own = torch.full(
            (count, count), self.lowest, device=tokens.device, dtype=self.mask.dtype
        ).fill_diagonal_(0)
        self.mask[:, :, used : used + count] = own
        position = torch.full((count,), self.length, device=tokens.device)
        self.length += 1
        return self._forward(tokens, position, self.mask[:, :, : used + count])

    def repeat(self, times: int) -> None:
        """Make every spectrum `times` spectra, one behind the other, that no longer share anything."""
        rows = torch.arange(len(self.mask), device=self.mask.device).repeat_interleave(times)
        self.select(rows)

    def select(self, spectra: Tensor) -> None:
        """Keep `spectra` (n,) of those there are now."""
        capacity = self.mask.shape[2]
        places = torch.arange(self.layers[0].stores[0].shape[1], device=spectra.device)
        rows = (spectra.unsqueeze(1) * len(places) + places).flatten()
        for layer in self.layers:
            layer.rebuild(rows, len(places), layer.used)
        self.cache.cross_attention_cache.batch_select_indices(spectra)
        self.mask = self.mask.index_select(0, spectra)[..., :capacity]
        self.context = self.context.index_select(0, spectra)
        if self.context_mask is not None:
            self.context_mask = self.context_mask.index_select(0, spectra)

    def _forward(self, tokens: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        output = self.decoder(
            input_ids=tokens,
            position_ids=positions.unsqueeze(0),
            attention_mask=mask.unsqueeze(1),
            past_key_values=self.cache,
            encoder_hidden_states=self.context,
            encoder_attention_mask=self.context_mask,
            use_cache=True,
        )
        return output.logits.float()

    def _prune(self, count: int) -> int:
        """Forget nodes that no hypothesis descends from, make room for more; returns how many are left."""
        spectra, used = len(self.mask), self.layers[0].used
        alive = (self.mask[:, :, :used] == 0).any(1)
        left = int(alive.sum(1).max())
        capacity = left + max(_STEPS_BETWEEN_PRUNINGS * count, 16)
        order = torch.zeros(spectra, capacity, dtype=torch.long, device=alive.device)
        order[:, :left] = alive.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :left]
        stored = self.layers[0].stores[0].shape[1]
        rows = (torch.arange(spectra, device=order.device).unsqueeze(1) * stored + order).flatten()
        for layer in self.layers:
            layer.rebuild(rows, capacity, left)
        mask = torch.full(
            (*self.mask.shape[:2], capacity), self.lowest, dtype=self.mask.dtype, device=order.device
        )
        kept = order[:, :left].unsqueeze(1).expand(-1, mask.shape[1], -1)
        mask[:, :, :left] = self.mask.gather(2, kept)
        self.mask = mask
        return left
