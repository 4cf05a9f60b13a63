"""Beam search over a `DecodingTree`, with the arithmetic of transformers' `generate`, hypothesis for hypothesis.

As there, hypotheses that do not exist yet have the score -1e9, a step looks at twice as many continuations as beams, and
only those among the best `num_beams` can finish. Each spectrum stops by itself and leaves the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .decoding_tree import DecodingTree, take
from .hypotheses import Hypotheses, SearchOptions

NOT_THERE = -1.0e9
LogitsProcessor = Callable[[Tensor, Tensor], Tensor]


class Beams:
    """Running and finished hypotheses of the spectra that are still searched.

    Attributes:
        running: (spectra, beams, max_length) token ids.
        running_scores: (spectra, beams) their log-probabilities less `running_penalties`.
        finished, finished_lengths, finished_scores, finished_penalties, is_finished: the best so far; scores and
            penalties divided by generated tokens ** length_penalty.
        open: (spectra,) bool, whether more can finish.
    """

    def __init__(self, prompt: Tensor, beams: int, options: SearchOptions) -> None:
        spectra, self.prompt_length = prompt.shape
        shape, device = (spectra, beams), prompt.device
        self.options, self.beams, self.length = options, beams, self.prompt_length
        self.running = torch.full((*shape, options.max_length), options.pad_token_id, device=device)
        self.running[:, :, : self.length] = prompt.unsqueeze(1)
        self.running_scores = torch.full(shape, NOT_THERE, device=device)
        self.running_scores[:, 0] = 0.0
        self.running_penalties = torch.zeros(shape, device=device)
        self.finished = self.running.clone()
        self.finished_lengths = torch.full(shape, self.length, device=device)
        self.finished_scores = torch.full(shape, NOT_THERE, device=device)
        self.finished_penalties = torch.zeros(shape, device=device)
        self.is_finished = torch.zeros(shape, dtype=torch.bool, device=device)
        self.open = torch.full((spectra,), self.length < options.max_length, device=device)

    def select(self, spectra: Tensor) -> None:
        """Keep `spectra` (n,)."""
        for name, values in vars(self).items():
            if isinstance(values, Tensor):
                setattr(self, name, values.index_select(0, spectra))

    def advance(self, log_probabilities: Tensor, penalties: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One token more.

        Args:
            log_probabilities: (spectra, beams, vocabulary) of the next token.
            penalties: (spectra, vocabulary) subtracted from them.

        Returns:
            tokens, parents: (spectra, beams) of the hypotheses that run on.
        """
        vocabulary = log_probabilities.shape[-1]
        if penalties is None:
            penalties = log_probabilities.new_zeros(len(log_probabilities), vocabulary)
        else:
            log_probabilities = log_probabilities - penalties.unsqueeze(1)
        total = (log_probabilities + self.running_scores.unsqueeze(-1)).flatten(1)
        scores, places = total.topk(2 * self.beams, dim=1)
        parents, tokens = places // vocabulary, places % vocabulary
        spent = self.running_penalties.gather(1, parents) + penalties.gather(1, tokens)
        ended = tokens == self.options.eos_token_id
        if self.length + 1 >= self.options.max_length:
            ended = torch.ones_like(ended)
        self._finish(scores, spent, parents, tokens, ended)
        going_on = scores + ended.to(scores.dtype) * NOT_THERE
        chosen = going_on.topk(self.beams, dim=1)[1]
        self.running_scores, self.running_penalties = going_on.gather(1, chosen), spent.gather(1, chosen)
        tokens, parents = tokens.gather(1, chosen), parents.gather(1, chosen)
        self.running = take(self.running, parents)
        self.running[:, :, self.length] = tokens
        self.length += 1
        self.open &= self._can_improve()
        return tokens, parents

    def _finish(self, scores: Tensor, spent: Tensor, parents: Tensor, tokens: Tensor, ended: Tensor) -> None:
        """Enter the continuations that `ended` and are among the best `beams` into the finished hypotheses."""
        best = slice(0, self.beams)
        ended = ended[:, best] & self.open.unsqueeze(1)
        if not bool(ended.any()):
            return
        weight = (self.length + 1 - self.prompt_length) ** self.options.length_penalty
        new = take(self.running, parents[:, best])
        new[:, :, self.length] = tokens[:, best]
        news = {
            "finished_scores": scores[:, best] / weight + (~ended).to(scores.dtype) * NOT_THERE,
            "finished": new,
            "finished_lengths": torch.full_like(self.finished_lengths, self.length + 1),
            "finished_penalties": spent[:, best] / weight,
            "is_finished": ended,
        }
        places = torch.cat([self.finished_scores, news["finished_scores"]], dim=1).topk(self.beams, dim=1)[1]
        for name, values in news.items():
            setattr(self, name, take(torch.cat([getattr(self, name), values], dim=1), places))

    def _can_improve(self) -> Tensor:
        """(spectra,) bool: whether a running hypothesis may still beat a finished one, as far as the options ask."""
        options = self.options
        if self.length >= options.max_length:
            return torch.zeros_like(self.open)
        longest = options.early_stopping == "never" and options.length_penalty > 0.0
        generated = (options.max_length if longest else self.length) - self.prompt_length
        possible = self.running_scores[:, :1] / generated**options.length_penalty
        worst = torch.where(self.is_finished, self.finished_scores.amin(1, keepdim=True), NOT_THERE)
        can = (possible > worst).any(1)
        return can & ~self.is_finished.all(1) if options.early_stopping is True else can

    def harvest(self, spectra: Tensor) -> Hypotheses:
        """What was found for `spectra` (n,), best first; scores without penalties."""
        weights = (self.finished_lengths - self.prompt_length).clamp(min=1) ** self.options.length_penalty
        exists = self.is_finished & (self.finished_scores * weights > NOT_THERE / 2)
        pure = self.finished_scores + self.finished_penalties
        parts = [
            values[spectra].cpu().numpy() for values in (self.finished, self.finished_lengths, exists, pure)
        ]
        found = Hypotheses()
        for ids, lengths, real, scores in zip(*parts, strict=True):
            found.sequences.append([ids[i, : lengths[i]].copy() for i in real.nonzero()[0]])
            found.scores.append(scores[real])
        return found


class Rows:
    """Calls a logits processor the way `generate` does: always with the rows of all spectra, in their order.

    Rows that have left are shown as finished: the prompt, </s>, padding.
    """

    def __init__(self, processor: LogitsProcessor | None, prompt: Tensor, options: SearchOptions) -> None:
        """For `prompt` (rows, length)."""
        self.processor, self.prompt, self.options = processor, prompt, options

    def __call__(self, ids: Tensor, scores: Tensor, present: Tensor) -> Tensor:
        """Processed `scores` (n, vocabulary) behind `ids` (n, length) of the rows `present` (n,)."""
        if self.processor is None:
            return scores
        if len(present) == len(self.prompt):
            return self.processor(ids, scores)
        rows, length = self.prompt.shape
        all_ids = ids.new_full((rows, ids.shape[1]), self.options.pad_token_id)
        all_ids[:, :length] = self.prompt
        all_ids[:, length : length + 1] = self.options.eos_token_id
        all_ids[present] = ids
        all_scores = scores.new_zeros(rows, scores.shape[1])
        all_scores[present] = scores
        return self.processor(all_ids, all_scores)[present]


@torch.inference_mode()
def search_beams(
    decoder: Any,
    prompt: Tensor,
    context: Tensor,
    context_mask: Tensor | None,
    options: SearchOptions,
    processor: LogitsProcessor | None,
) -> Hypotheses:
    """Search, with the options' groups one after the other at each step (one group: plain beam search)."""
    size, groups = options.num_beams // options.num_beam_groups, options.num_beam_groups
    found: list[tuple[Tensor, list[Hypotheses]]] = []
    beams = [Beams(prompt, size, options) for _ in range(groups)]
    if not len(prompt):
        return Hypotheses()
    tree = DecodingTree(decoder, context, context_mask)
    process = Rows(processor, prompt.repeat_interleave(options.num_beams, dim=0), options)
    present = torch.arange(len(prompt), device=prompt.device)
    of_spectrum = torch.arange(options.num_beams, device=prompt.device)
    logits = tree.start(prompt).expand(-1, options.num_beams, -1)
    while len(present):
        running = torch.cat([group.running for group in beams], dim=1)[:, :, : tree.length]
        rows = (present.unsqueeze(1) * options.num_beams + of_spectrum).flatten()
        scores = process(running.flatten(0, 1), logits.log_softmax(-1).flatten(0, 1), rows)
        scores = scores.unflatten(0, (-1, options.num_beams))
        tokens, parents = advance_groups(beams, scores, options.diversity_penalty)
        is_open = torch.stack([group.open for group in beams]).any(0)
        if not bool(is_open.all()):
            leaving, kept = (~is_open).nonzero().squeeze(1), is_open.nonzero().squeeze(1)
            found.append((present[leaving], [group.harvest(leaving) for group in beams]))
            present, tokens, parents = present[kept], tokens[kept], parents[kept]
            if not len(kept):
                break
            tree.select(kept)
            for group in beams:
                group.select(kept)
        logits = tree.step(tokens, parents)
    return merge(found, len(prompt), options.num_return_sequences)


def advance_groups(beams: Sequence[Beams], scores: Tensor, diversity_penalty: float) -> tuple[Tensor, Tensor]:
    """One token more for every group; tokens and parents (spectra, all beams), parents numbered over all groups."""
    counts = scores.new_zeros(len(scores), scores.shape[-1])
    tokens, parents = [], []
    for number, group in enumerate(beams):
        places = slice(number * group.beams, (number + 1) * group.beams)
        chosen, ancestors = group.advance(scores[:, places], counts * diversity_penalty if number else None)
        counts.scatter_add_(1, chosen, group.open.unsqueeze(1).expand(chosen.shape).to(counts.dtype))
        tokens.append(chosen)
        parents.append(ancestors + places.start)
    return torch.cat(tokens, dim=1), torch.cat(parents, dim=1)


def merge(found: Sequence[tuple[Tensor, list[Hypotheses]]], spectra: int, count: int) -> Hypotheses:
    """Of every spectrum the best `count` distinct sequences of all groups, in the order of the spectra."""
    merged = Hypotheses([[] for _ in range(spectra)], [np.empty(0, dtype=np.float32)] * spectra)
    for places, groups in found:
        for row, place in enumerate(places.tolist()):
            scores = np.concatenate([group.scores[row] for group in groups])
            sequences = [ids for group in groups for ids in group.sequences[row]]
            order = np.argsort(-scores, kind="stable").tolist()
            # two groups may have ended with the same sequence
            best = list({sequences[i].tobytes(): i for i in reversed(order)}.values())[::-1][:count]
            merged.sequences[place] = [sequences[i] for i in best]
            merged.scores[place] = scores[best]
    return merged
