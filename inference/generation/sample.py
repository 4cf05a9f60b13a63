"""Sampling over a `DecodingTree`, reproducible for every spectrum whatever it shares a batch with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from .decoding_tree import DecodingTree
from .hypotheses import Hypotheses, SearchOptions
from .search_beams import LogitsProcessor, Rows

_LEAVING = 0.25


class Draws:
    """The sequences under way, one row per sequence of every spectrum.

    Attributes:
        ids: (rows, max_length). lengths: (rows,). total: (rows,) float32 log-probability of what was generated.
        going_on, dead: (rows,) bool; a dead row had no token left that the logits processor allows.
    """

    def __init__(self, prompt: Tensor, options: SearchOptions, seeds: Sequence[int]) -> None:
        self.options, self.prompt_length, self.length = options, prompt.shape[1], prompt.shape[1]
        count, device = options.num_return_sequences, prompt.device
        rows = len(prompt) * count
        self.ids = torch.full((rows, options.max_length), options.pad_token_id, device=device)
        self.ids[:, : self.prompt_length] = prompt.repeat_interleave(count, dim=0)
        self.lengths = torch.full((rows,), self.prompt_length, device=device)
        self.total = torch.zeros(rows, device=device)
        self.going_on = torch.full((rows,), self.prompt_length < options.max_length, device=device)
        self.dead = torch.zeros_like(self.going_on)
        # all numbers of a spectrum are drawn beforehand, so that they do not depend on its neighbours
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        draws = [torch.rand(count, options.max_length, generator=g, dtype=torch.float64) for g in generators]
        self.uniform = (
            torch.cat(draws).to(device) if draws else torch.empty(0, options.max_length, device=device)
        )

    def extend(self, rows: Tensor, logits: Tensor, probabilities: Tensor) -> Tensor:
        """Draw the next token for those of `rows` (n,) that go on; returns the last tokens of all of them.

        Args:
            rows: which.
            logits: (n, vocabulary) of the decoder, for the score.
            probabilities: (n, vocabulary) to draw from; NaN where nothing is allowed.
        """
        cumulated = probabilities.double().cumsum(-1)
        threshold = self.uniform[rows, self.length].unsqueeze(1) * cumulated[:, -1:]
        tokens = (cumulated <= threshold).sum(-1).clamp(max=logits.shape[-1] - 1)
        gain = logits.log_softmax(-1).gather(1, tokens.unsqueeze(1)).squeeze(1)
        active = self.going_on[rows]
        live = rows[active]
        self.ids[live, self.length] = tokens[active]
        self.lengths[live] += 1
        self.total[live] += gain[active]
        self.dead[live] = probabilities[active].isnan().any(-1)
        self.length += 1
        ended = self.dead[live] | (tokens[active] == self.options.eos_token_id)
        self.going_on[live] = ~ended & (self.length < self.options.max_length)
        return tokens

    def harvest(self) -> Hypotheses:
        """The sequences of every spectrum, best first."""
        count = self.options.num_return_sequences
        weights = (self.lengths - self.prompt_length).clamp(min=1) ** self.options.length_penalty
        scores = (self.total / weights).cpu().numpy()
        ids, lengths, dead = (values.cpu().numpy() for values in (self.ids, self.lengths, self.dead))
        found = Hypotheses()
        for first in range(0, len(ids), count):
            places = np.arange(first, first + count)
            places = places[~dead[places]]
            places = places[np.argsort(-scores[places], kind="stable")]
            found.sequences.append([ids[i, : lengths[i]].copy() for i in places])
            found.scores.append(scores[places])
        return found


@torch.inference_mode()
def draw(
    decoder: Any,
    prompt: Tensor,
    context: Tensor,
    context_mask: Tensor | None,
    options: SearchOptions,
    processor: LogitsProcessor | None,
    seeds: Sequence[int],
) -> Hypotheses:
    """Sample `options.num_return_sequences` sequences for every spectrum, with one of the `seeds` each."""
    count, draws, warp = options.num_return_sequences, Draws(prompt, options, seeds), _warpers(options)
    process = Rows(processor, prompt.repeat_interleave(count, dim=0), options)
    here = torch.arange(len(draws.ids), device=prompt.device)
    if not len(here) or not bool(draws.going_on.any()):
        return draws.harvest()
    tree = DecodingTree(decoder, context, context_mask)
    logits = tree.start(prompt).squeeze(1).repeat_interleave(count, dim=0)
    tree.repeat(count)
    while True:
        ids = draws.ids[here, : draws.length]
        allowed = warp(ids, process(ids, logits, here))
        tokens = draws.extend(here, logits, allowed.softmax(-1))
        going_on = draws.going_on[here]
        if float(going_on.float().mean()) < 1 - _LEAVING:
            kept = going_on.nonzero().squeeze(1)
            if not len(kept):
                return draws.harvest()
            tree.select(kept)
            here, tokens = here[kept], tokens[kept]
        logits = tree.step(tokens.unsqueeze(1), torch.zeros_like(tokens).unsqueeze(1)).squeeze(1)


def _warpers(options: SearchOptions) -> LogitsProcessorList:
    """Temperature, top k and top p, in the order of transformers."""
    warpers = LogitsProcessorList()
    if options.temperature != 1.0:
        warpers.append(TemperatureLogitsWarper(options.temperature))
    if options.top_k:
        warpers.append(TopKLogitsWarper(options.top_k))
    if options.top_p < 1.0:
        warpers.append(TopPLogitsWarper(options.top_p))
    return warpers
