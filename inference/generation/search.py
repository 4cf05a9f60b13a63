"""Sequences for context vectors: beam search, sampling and diverse beam search.

Each is called in one of two ways:

* ``beam_search(decoder, context, context_mask, options)`` gives `Hypotheses`;
* ``model.generate(..., custom_generate=beam_search)`` gives what `generate` gives: a tensor, or with
  ``return_dict_in_generate=True`` a `GenerateBeamDecoderOnlyOutput` (sampling: `GenerateDecoderOnlyOutput`).

All work on any number of spectra at once and do not let one influence another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria
from transformers.generation.utils import GenerateBeamDecoderOnlyOutput, GenerateDecoderOnlyOutput

from .hypotheses import Hypotheses, SearchOptions
from .sample import draw
from .search_beams import NOT_THERE, LogitsProcessor, search_beams


def _also_for_generate(search: Callable[..., Hypotheses]) -> Callable[..., Any]:
    """`search`, which `generate` may call too: with its own arguments, among them `generation_config`."""

    @wraps(search)
    def either(decoder: Any, *args: Any, **kwargs: Any) -> Any:
        if "generation_config" in kwargs:
            return _generated(search, decoder, *args, **kwargs)
        return search(decoder, *args, **kwargs)

    return either


@_also_for_generate
def beam_search(
    decoder: Any,
    context: Tensor,
    context_mask: Tensor | None = None,
    options: SearchOptions | None = None,
    logits_processor: LogitsProcessor | None = None,
    prompt: Tensor | None = None,
) -> Hypotheses:
    """The sequences and scores of transformers' beam search, in less time (benchmarks/generation.py).

    Args:
        decoder: with cross-attention, such as `SelfiesGpt2LMHeadModel`, in evaluation mode.
        context: (spectra, K, c) context vectors.
        context_mask: (spectra, K), 1 = real; None = all.
        options: how to search.
        logits_processor: as of transformers, called at each step with token ids (rows, length) and log-probabilities
            (rows, vocabulary), rows = spectra * num_beams; row // num_beams is the spectrum. Spectra whose search is over
            are shown as finished rows.
        prompt: (spectra, length) tokens to begin with; <s> if None.

    Raises:
        ValueError: options contradict each other, or shapes do.
    """
    options = options or SearchOptions()
    if options.num_beam_groups != 1:
        raise ValueError("num_beam_groups is for diverse_beam_search; call that, or leave it at 1")
    return diverse_beam_search(decoder, context, context_mask, options, logits_processor, prompt)


@_also_for_generate
def diverse_beam_search(
    decoder: Any,
    context: Tensor,
    context_mask: Tensor | None = None,
    options: SearchOptions | None = None,
    logits_processor: LogitsProcessor | None = None,
    prompt: Tensor | None = None,
) -> Hypotheses:
    """Beam search in groups that avoid each other's tokens (Vijayakumar et al. 2016, arXiv 1610.02424, algorithm 1).

    The beams are split into `num_beam_groups`. At each step the groups choose one after the other; the log-probability of
    a token is reduced by `diversity_penalty` for each beam of an earlier group that took it at this step (Hamming
    diversity). Reported scores are free of these penalties, and a sequence found by two groups is reported once.

    Args, Raises: see `beam_search`.
    """
    options = options or SearchOptions()
    options.check_beams()
    prompt = _check(decoder, context, context_mask, options, prompt)
    return search_beams(decoder, prompt, context, context_mask, options, logits_processor)


@_also_for_generate
def sample(
    decoder: Any,
    context: Tensor,
    context_mask: Tensor | None = None,
    options: SearchOptions | None = None,
    logits_processor: LogitsProcessor | None = None,
    prompt: Tensor | None = None,
    seed: int | Sequence[int] = 0,
) -> Hypotheses:
    """Draw `num_return_sequences` sequences per spectrum; scores are the decoder's own, without temperature and cuts.

    Args:
        decoder, context, context_mask, prompt: see `beam_search`.
        options: temperature, top_k, top_p, num_return_sequences, max_length, length_penalty.
        logits_processor: as in `beam_search`, but given logits; rows = spectra * num_return_sequences.
        seed: one for every spectrum or one each; what a spectrum gets depends on its seed alone, not on its neighbours.

    Raises:
        ValueError: shapes contradict each other, or the number of seeds is not that of spectra.
    """
    options = options or SearchOptions()
    prompt = _check(decoder, context, context_mask, options, prompt)
    seeds = [seed] * len(context) if isinstance(seed, int) else list(seed)
    if len(seeds) != len(context):
        raise ValueError(
            f"{len(seeds)} seeds for {len(context)} spectra; give one number, or one per spectrum"
        )
    return draw(decoder, prompt, context, context_mask, options, logits_processor, seeds)


def _check(
    decoder: Any, context: Tensor, context_mask: Tensor | None, options: SearchOptions, prompt: Tensor | None
) -> Tensor:
    """The prompt, once everything fits together."""
    if context.ndim != 3 or (context_mask is not None and context_mask.shape != context.shape[:2]):
        mask = None if context_mask is None else tuple(context_mask.shape)
        raise ValueError(
            f"context {tuple(context.shape)} and context_mask {mask}: give (spectra, K, c) and (spectra, K)"
        )
    if prompt is None:
        prompt = torch.full((len(context), 1), options.bos_token_id, device=context.device)
    if prompt.ndim != 2 or len(prompt) != len(context) or not 1 <= prompt.shape[1] < options.max_length:
        raise ValueError(
            f"prompt {tuple(prompt.shape)}: give token ids ({len(context)} spectra, 1 to {options.max_length - 1})"
        )
    positions = decoder.config.max_position_embeddings
    if options.max_length > positions:
        raise ValueError(
            f"max_length {options.max_length}: the decoder has {positions} positions; give at most that"
        )
    return prompt


def _generated(
    search: Callable[..., Hypotheses],
    decoder: Any,
    input_ids: Tensor,
    *,
    generation_config: Any,
    logits_processor: Any,
    stopping_criteria: Any,
    encoder_hidden_states: Tensor | None = None,
    encoder_attention_mask: Tensor | None = None,
    attention_mask: Tensor | None = None,
    **others: Any,
) -> Any:
    """Answer a call of `generate`, which has repeated every spectrum for its beams and prepared everything else."""
    if encoder_hidden_states is None:
        raise ValueError("give encoder_hidden_states, the context vectors (spectra, K, c)")
    if attention_mask is not None:
        raise ValueError("prompts of different length cannot share a call; group them by length")
    for one in stopping_criteria:
        if not isinstance(one, MaxLengthCriteria | EosTokenCriteria):
            raise ValueError(f"{type(one).__name__}: only max_length and the end token can stop this search")
    drawn = bool(generation_config.do_sample)
    if drawn != ("seed" in signature(search).parameters):
        raise ValueError(f"do_sample={drawn}: sample needs do_sample=True, a beam search do_sample=False")
    options = _options(generation_config)
    times = max(generation_config.num_beams, options.num_return_sequences)
    mask = None if encoder_attention_mask is None else encoder_attention_mask[::times]
    given = {name: others[name] for name in ("seed",) if name in others}
    prompt, processor = input_ids[::times], logits_processor or None
    found = search(decoder, encoder_hidden_states[::times], mask, options, processor, prompt, **given)
    return _as_generate(found, prompt, options, generation_config)


def _options(config: Any) -> SearchOptions:
    """Options of a `GenerationConfig`; its temperature, top_k and top_p are among the logits processors already."""
    ends = config._eos_token_tensor
    if ends is None or ends.numel() != 1:
        raise ValueError("give one eos_token_id")
    end = int(ends)
    return SearchOptions(
        num_beams=config.num_beams,
        num_return_sequences=config.num_return_sequences,
        max_length=config.max_length,
        length_penalty=config.length_penalty,
        early_stopping=config.early_stopping,
        num_beam_groups=config.num_beam_groups or 1,
        diversity_penalty=config.diversity_penalty or 0.0,
        eos_token_id=end,
        pad_token_id=end if config._pad_token_tensor is None else int(config._pad_token_tensor),
    )


def _as_generate(found: Hypotheses, prompt: Tensor, options: SearchOptions, config: Any) -> Any:
    """The answer in the form of `generate`; sequences that do not exist are prompts with score -1e9."""
    count, drawn = options.num_return_sequences, bool(config.do_sample)
    # transformers fills up with the end token in a beam search whose padding token is 0
    padding = options.pad_token_id if drawn else options.pad_token_id or options.eos_token_id
    longest = max((len(ids) for one in found.sequences for ids in one), default=prompt.shape[1])
    sequences = torch.full((len(found) * count, longest), padding)
    scores = torch.full((len(found) * count,), NOT_THERE)
    sequences[:, : prompt.shape[1]] = prompt.repeat_interleave(count, dim=0).cpu()
    for spectrum, (ids, values) in enumerate(zip(found.sequences, found.scores, strict=True)):
        first = spectrum * count
        scores[first : first + len(values)] = torch.from_numpy(values)
        for row, one in enumerate(ids, start=first):
            sequences[row, : len(one)] = torch.from_numpy(one)
    sequences, scores = sequences.to(prompt.device), scores.to(prompt.device)
    if not config.return_dict_in_generate:
        return sequences
    if drawn:
        return GenerateDecoderOnlyOutput(sequences=sequences)
    return GenerateBeamDecoderOnlyOutput(
        sequences=sequences, sequences_scores=scores if config.output_scores else None
    )
