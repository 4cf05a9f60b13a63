"""Search against transformers' own, on small decoders with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LogitsProcessor, LogitsProcessorList, MaxTimeCriteria
from transformers import StoppingCriteriaList as Criteria

from msformers.inference.generation.hypotheses import Hypotheses, SearchOptions
from msformers.inference.generation.search import beam_search, diverse_beam_search, sample
from msformers.modeling.selfies_gpt2 import TINY, SelfiesGpt2Config, SelfiesGpt2LMHeadModel

SPECTRA, VOCABULARY, LENGTH = 5, 40, 24
SETTINGS: list[dict[str, Any]] = [
    {"num_beams": 4, "num_return_sequences": 4},
    {"num_beams": 10, "num_return_sequences": 3, "early_stopping": True},
    {"num_beams": 20, "num_return_sequences": 20, "early_stopping": "never", "length_penalty": 0.5},
    {"num_beams": 8, "num_return_sequences": 8, "length_penalty": -0.5},
    {"num_beams": 50, "num_return_sequences": 50, "length_penalty": 1.3},
    {"num_beams": 6, "num_return_sequences": 1, "length_penalty": 0.0, "early_stopping": "never"},
]


class Shaped(LogitsProcessor):
    """Makes ends likely, at another rate for each spectrum, and forbids tokens that depend on spectrum and length."""

    def __init__(self, rows_per_spectrum: int) -> None:
        self.rows_per_spectrum = rows_per_spectrum

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        spectrum = torch.arange(len(scores)) // self.rows_per_spectrum
        assert spectrum.max() < SPECTRA
        scores = scores.clone()
        scores[:, 2] += spectrum * 0.8
        scores.scatter_(1, (5 + (spectrum * 7 + input_ids.shape[1]) % 30).unsqueeze(1), -torch.inf)
        scores[:, 0] = -torch.inf
        return scores


class Forbidding(LogitsProcessor):
    """Allows nothing from the third token on, for spectrum 1."""

    def __init__(self, rows_per_spectrum: int) -> None:
        self.rows = slice(rows_per_spectrum, 2 * rows_per_spectrum)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        scores = scores.clone()
        if input_ids.shape[1] >= 3:
            scores[self.rows] = -torch.inf
        return scores


def _sharpen(model: Any) -> Any:
    """Random weights large enough for the context to matter."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model.eval()


@pytest.fixture(scope="module")
def decoder() -> Any:
    torch.manual_seed(0)
    return _sharpen(SelfiesGpt2LMHeadModel(SelfiesGpt2Config(**TINY | {"vocab_size": VOCABULARY})))


@pytest.fixture(scope="module")
def context() -> tuple[torch.Tensor, torch.Tensor]:
    vectors = torch.randn(SPECTRA, 6, 32, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(SPECTRA, 6, dtype=torch.long)
    mask[1, 3:], mask[4, 1:] = 0, 0
    return vectors, mask


def _generate(model: Any, context: Any, **options: Any) -> Any:
    options = {"max_length": LENGTH, "do_sample": False, "return_dict_in_generate": True} | options
    return model.generate(
        encoder_hidden_states=context[0], encoder_attention_mask=context[1], output_scores=True, **options
    )


def _score(model: Any, context: Any, spectrum: int, ids: np.ndarray) -> float:
    """Mean log-probability of a sequence, read in one piece."""
    tokens = torch.from_numpy(ids).unsqueeze(0)
    vectors, mask = (values[spectrum : spectrum + 1] for values in context)
    with torch.no_grad():
        logits = model(input_ids=tokens, encoder_hidden_states=vectors, encoder_attention_mask=mask).logits
    return float(logits[0, :-1].log_softmax(-1).gather(1, tokens[0, 1:, None]).mean())


def _same(one: Hypotheses, other: Hypotheses) -> bool:
    pairs = zip(one.sequences, other.sequences, strict=True)
    return all(
        len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True)) for a, b in pairs
    )


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("shaped", [False, True])
def test_beam_search_is_that_of_transformers(
    decoder: Any, context: Any, setting: dict[str, Any], shaped: bool
) -> None:
    processors = LogitsProcessorList([Shaped(setting["num_beams"])] if shaped else [])
    truth = _generate(decoder, context, logits_processor=processors, **setting)
    ours = _generate(decoder, context, logits_processor=processors, custom_generate=beam_search, **setting)
    assert type(ours) is type(truth)
    assert torch.equal(ours.sequences, truth.sequences)
    assert torch.allclose(ours.sequences_scores, truth.sequences_scores, rtol=1e-5, atol=1e-6)
    options = SearchOptions(max_length=LENGTH, **setting)
    found = beam_search(decoder, *context, options, processors or None)
    flat = [ids for one in found.sequences for ids in one]
    assert len(flat) == len(truth.sequences)
    for ids, row in zip(flat, truth.sequences.numpy(), strict=True):
        assert np.array_equal(ids, row[: len(ids)]) and set(row[len(ids) :]) <= {2}
        assert ids.dtype == np.int64 and (ids[-1] == 2 or len(ids) == LENGTH)
    assert np.allclose(np.concatenate(found.scores), truth.sequences_scores, rtol=1e-5, atol=1e-6)


def test_spectra_end_at_different_steps_and_do_not_influence_each_other(decoder: Any, context: Any) -> None:
    options = SearchOptions(num_beams=10, num_return_sequences=10, max_length=LENGTH, early_stopping=True)
    together = beam_search(decoder, *context, options, Shaped(10))
    lengths = [max(map(len, sequences)) for sequences in together.sequences]
    assert len(set(lengths)) >= 3  # so that some left the batch before others
    plain = beam_search(decoder, *context, options)
    for place in range(SPECTRA):
        alone = beam_search(decoder, context[0][[place]], context[1][[place]], options)
        assert _same(alone, Hypotheses([plain.sequences[place]], [plain.scores[place]]))
    order = [3, 0, 4, 2, 1]
    shuffled = beam_search(decoder, context[0][order], context[1][order], options)
    assert _same(shuffled, Hypotheses([plain.sequences[place] for place in order]))


def test_a_stock_decoder_and_a_longer_prompt() -> None:
    torch.manual_seed(3)
    sizes = {"vocab_size": 30, "n_positions": 40, "n_embd": 32, "n_layer": 2, "n_head": 4}
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    model = _sharpen(GPT2LMHeadModel(GPT2Config(add_cross_attention=True, **sizes, **tokens)))
    context = torch.randn(3, 4, 32), torch.ones(3, 4, dtype=torch.bool)
    prompt = torch.tensor([[1, 7, 9], [1, 12, 5], [1, 7, 8]])
    options = {"num_beams": 6, "num_return_sequences": 6, "input_ids": prompt}
    truth = _generate(model, context, **options)
    ours = _generate(model, context, custom_generate=beam_search, **options)
    assert torch.equal(ours.sequences, truth.sequences)
    assert torch.allclose(ours.sequences_scores, truth.sequences_scores, atol=1e-5)
    with pytest.raises(ValueError, match="different length"):
        padded = options | {"input_ids": prompt.clone().index_fill_(1, torch.tensor([0]), 0)}
        _generate(model, context, custom_generate=beam_search, **padded)


def test_scores_are_mean_log_probabilities(decoder: Any, context: Any) -> None:
    options = SearchOptions(num_beams=8, num_return_sequences=8, max_length=LENGTH)
    diverse = SearchOptions(
        num_beams=8, num_return_sequences=8, max_length=LENGTH, num_beam_groups=4, diversity_penalty=1.5
    )
    drawn = SearchOptions(num_return_sequences=4, max_length=LENGTH, temperature=0.7, top_k=12)
    found = [
        beam_search(decoder, *context, options),
        diverse_beam_search(decoder, *context, diverse),
        sample(decoder, *context, drawn),
    ]
    for one in found:
        assert len(one) == SPECTRA
        for spectrum, (sequences, scores) in enumerate(zip(one.sequences, one.scores, strict=True)):
            assert len(sequences) == len(scores) > 0 and scores.dtype == np.float32
            assert np.all(np.diff(scores) <= 0)  # best first
            truth = [_score(decoder, context, spectrum, ids) for ids in sequences]
            assert np.allclose(scores, truth, atol=1e-4)


def test_no_way_to_go_on(decoder: Any, context: Any) -> None:
    options = SearchOptions(num_beams=4, num_return_sequences=4, max_length=LENGTH)
    plain = beam_search(decoder, *context, options)
    found = beam_search(decoder, *context, options, Forbidding(4))
    # only what ended before the third token is left
    assert all(ids.tolist()[-1] == 2 and len(ids) <= 3 for ids in found.sequences[1])
    assert len(found.sequences[1]) == len(found.scores[1]) < 4
    others = [0, 2, 3, 4]
    assert _same(
        Hypotheses([found.sequences[i] for i in others]), Hypotheses([plain.sequences[i] for i in others])
    )
    drawn = sample(decoder, *context, SearchOptions(num_return_sequences=4, max_length=LENGTH), Forbidding(4))
    assert all(len(ids) <= 3 for ids in drawn.sequences[1]) and len(drawn.sequences[0]) == 4
    processors = LogitsProcessorList([Forbidding(4)])
    setting = {"num_beams": 4, "num_return_sequences": 4, "logits_processor": processors}
    output = _generate(decoder, context, custom_generate=beam_search, **setting)
    missing = slice(4 + len(found.sequences[1]), 8)
    assert (output.sequences_scores[missing] == -1e9).all() and (output.sequences[missing, 1:] == 2).all()


def test_sampling_depends_on_the_seed_of_a_spectrum_only(decoder: Any, context: Any) -> None:
    options = SearchOptions(num_return_sequences=6, max_length=LENGTH, top_p=0.9)
    seeds = [11, 12, 13, 14, 15]
    together = sample(decoder, *context, options, seed=seeds)
    order = [4, 2, 0]
    fewer = sample(decoder, context[0][order], context[1][order], options, seed=[seeds[i] for i in order])
    assert _same(fewer, Hypotheses([together.sequences[i] for i in order]))
    assert not _same(sample(decoder, *context, options, seed=99), together)
    assert _same(sample(decoder, *context, options, seed=99), sample(decoder, *context, options, seed=99))
    sampling = {"do_sample": True, "top_k": 0, "top_p": 0.9, "num_return_sequences": 6}
    output = _generate(decoder, context, custom_generate=sample, seed=seeds, **sampling)
    flat = [ids for one in together.sequences for ids in one]
    for ids, row in zip(flat, output.sequences.numpy(), strict=True):
        assert np.array_equal(ids, row[: len(ids)]) and not row[len(ids) :].any()


def test_sampling_follows_the_distribution(decoder: Any, context: Any) -> None:
    one = context[0][:1], context[1][:1]
    count = 4000
    options = SearchOptions(num_return_sequences=count, max_length=2, temperature=0.8)
    found = sample(decoder, *one, options)
    first = np.bincount([ids[1] for ids in found.sequences[0]], minlength=VOCABULARY) / count
    with torch.no_grad():
        logits = decoder(
            input_ids=torch.tensor([[1]]), encoder_hidden_states=one[0], encoder_attention_mask=one[1]
        ).logits
    truth = (logits[0, -1] / 0.8).softmax(-1).numpy()
    assert np.abs(first - truth).max() < 0.03
    cut = sample(decoder, *one, SearchOptions(num_return_sequences=200, max_length=2, top_k=3))
    assert {int(ids[1]) for ids in cut.sequences[0]} == set(truth.argsort()[-3:].tolist())


def test_one_likely_token_leaves_greedy_search(decoder: Any, context: Any) -> None:
    greedy = _generate(decoder, context, num_beams=1).sequences.numpy()
    found = sample(decoder, *context, SearchOptions(num_return_sequences=2, max_length=LENGTH, top_k=1))
    for sequences, row in zip(found.sequences, greedy, strict=True):
        assert all(np.array_equal(ids, row[: len(ids)]) for ids in sequences)


def test_one_group_is_beam_search_and_more_are_more_diverse(decoder: Any, context: Any) -> None:
    sizes: dict[str, Any] = {"num_beams": 12, "num_return_sequences": 12, "max_length": LENGTH}
    plain = beam_search(decoder, *context, SearchOptions(**sizes))
    assert _same(diverse_beam_search(decoder, *context, SearchOptions(**sizes)), plain)
    grouped = SearchOptions(num_beam_groups=6, diversity_penalty=4.0, **sizes)
    diverse = diverse_beam_search(decoder, *context, grouped)
    for many, few in zip(diverse.sequences, plain.sequences, strict=True):
        assert len({int(ids[1]) for ids in many}) > len({int(ids[1]) for ids in few})
        assert len({ids.tobytes() for ids in many}) == len(many)
    # without a penalty every group finds the same, which is reported once
    equal = diverse_beam_search(decoder, *context, SearchOptions(num_beam_groups=6, **sizes))
    pair = SearchOptions(num_beams=2, num_return_sequences=2, max_length=LENGTH)
    assert _same(equal, beam_search(decoder, *context, pair))
    output = _generate(
        decoder,
        context,
        custom_generate=diverse_beam_search,
        num_beams=12,
        num_return_sequences=3,
        num_beam_groups=6,
        diversity_penalty=4.0,
    )
    assert np.array_equal(output.sequences[0, : len(diverse.sequences[0][0])], diverse.sequences[0][0])


def test_what_generate_gets_without_return_dict(decoder: Any, context: Any) -> None:
    setting = {"num_beams": 4, "num_return_sequences": 2, "return_dict_in_generate": False}
    ours = _generate(decoder, context, custom_generate=beam_search, **setting)
    assert torch.equal(ours, _generate(decoder, context, **setting))


def test_errors_say_what_to_do(decoder: Any, context: Any) -> None:
    for options, words in (
        ({"num_beams": 3, "num_return_sequences": 4}, "raise num_beams"),
        ({"num_beams": 10, "num_return_sequences": 1, "num_beam_groups": 3}, "equal groups"),
        ({"num_beams": 0}, "at least 1"),
        ({"top_p": 0.0}, "top_p"),
        ({"temperature": 0.0}, "temperature"),
        ({"early_stopping": "soon"}, "never"),
        ({"max_length": 400}, "positions"),
    ):
        with pytest.raises(ValueError, match=words):
            diverse_beam_search(decoder, *context, SearchOptions(**options))
    with pytest.raises(ValueError, match="diverse_beam_search"):
        beam_search(decoder, *context, SearchOptions(num_beam_groups=2))
    small = SearchOptions(num_beams=2, num_return_sequences=2, max_length=8)
    with pytest.raises(ValueError, match=r"\(spectra, K, c\)"):
        beam_search(decoder, context[0][0], None, small)
    with pytest.raises(ValueError, match="2 seeds for 5 spectra"):
        sample(decoder, *context, small, seed=[1, 2])
    with pytest.raises(ValueError, match="do_sample"):
        _generate(decoder, context, custom_generate=sample)
    with pytest.raises(ValueError, match="MaxTimeCriteria"):
        _generate(
            decoder, context, custom_generate=beam_search, stopping_criteria=Criteria([MaxTimeCriteria(60)])
        )


def test_no_spectra(decoder: Any) -> None:
    empty, options = torch.empty(0, 6, 32), SearchOptions(max_length=8)
    assert len(beam_search(decoder, empty, None, options)) == len(sample(decoder, empty, None, options)) == 0
