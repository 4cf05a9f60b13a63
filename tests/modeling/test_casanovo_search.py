from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from casanovo_support import batch, tiny

from msformers.modeling.casanovo import CasanovoForPeptideSequencing
from msformers.modeling.casanovo_config import CasanovoConfig
from msformers.modeling.casanovo_rules import Found, Hypothesis, SearchRules
from msformers.tokenization.peptides import WATER, PeptideTokenizer


def rules(version: str, **options: Any) -> SearchRules:
    masses = PeptideTokenizer(version=version).masses.tolist()
    return SearchRules.of(CasanovoConfig(version=version, residue_masses=masses), **options)


def judge(version: str, peptides: list[list[str]], mass: float = 5000.0, **options: Any) -> list[str]:
    """What becomes of each beam; tokens are in decoding order."""
    ids = PeptideTokenizer(version=version).get_vocab()
    tokens = torch.tensor([[[ids[token] for token in peptide] for peptide in peptides]])
    precursors = torch.tensor([[mass, 2.0, mass / 2 + 1.00727646688]])
    finished, discarded, fits = rules(version, **options).judge(tokens, precursors)
    return [
        "discarded" if d else ("fits" if f else "misses") if e else "runs"
        for e, d, f in zip(finished[0], discarded[0], fits[0], strict=True)
    ]


def test_beams_end_with_stop_and_not_before_the_least_length() -> None:
    beams = [[*"KAG", "$"], [*"KAGG"], [*"KAG", "<pad>"]]
    assert judge("5", beams, min_length=3) == ["fits", "runs", "discarded"]
    assert judge("5", beams, min_length=4) == ["discarded", "runs", "discarded"]


def test_modifications_of_the_n_terminus_come_last() -> None:
    acetyl = "[Acetyl]-"
    beams = [[*"KA", acetyl, "$"], [*"KA", acetyl, "G"], [acetyl, *"KAG"], [*"K", acetyl, acetyl, "$"]]
    assert judge("5", beams, min_length=1) == ["fits", "discarded", "discarded", "discarded"]
    # version 4 looks from the third token on
    assert judge("4", [["+42.011", "K"]]) == ["runs"]
    assert judge("4", [["+42.011", "K", "A"]]) == ["discarded"]
    assert judge("5", [[acetyl, "K"]]) == ["discarded"]


def test_the_precursor_filter_of_version_4() -> None:
    tokenizer = PeptideTokenizer(version="4")
    mass = tokenizer.mass("GAGAGK")
    stopped, longer = [[*"KGAGAG", "$"]], [[*"KAGAGGG"]]
    assert judge("4", stopped, mass) == ["fits"]
    assert judge("4", stopped, mass + 1.00335) == ["fits"]  # the first isotope
    assert judge("4", stopped, mass + 2 * 1.00335) == ["misses"]
    assert judge("4", stopped, mass + 2 * 1.00335, isotopes=(0, 2)) == ["fits"]
    assert judge("4", stopped, mass * (1 + 60e-6)) == ["misses"]
    assert judge("4", stopped, mass + 10, precursor_tolerance=0) == ["fits"]
    assert judge("4", stopped, mass + 10, precursor_tolerance=math.inf) == ["fits"]
    # too heavy ends a beam, unless the loss of ammonia could still make up for it
    assert judge("4", longer, tokenizer.mass("GGAGAGK") - 20) == ["misses"]
    assert judge("4", longer, tokenizer.mass("GGGAGAK") - 10) == ["runs"]


def test_scores_of_both_versions() -> None:
    p = np.array([0.5, 0.8, 0.9])
    score, residues = rules("4").score(p, stopped=True, fits=True)
    assert score == pytest.approx(2.2 / 3)
    assert residues == pytest.approx([(0.5 + score) / 2, (0.8 + score) / 2])
    score, residues = rules("4").score(p, stopped=False, fits=False)
    assert score == pytest.approx(0.55 - 1)
    assert residues == pytest.approx((p + 0.55) / 2)
    score, residues = rules("5").score(p, stopped=True, fits=True)
    assert score == pytest.approx(0.36) and residues == pytest.approx([0.5, 0.8])
    assert rules("5").score(p, stopped=True, fits=False)[0] == pytest.approx(0.36 - 1)


def test_duplicates_and_the_number_kept() -> None:
    def hypothesis(score: float, *tokens: int) -> Hypothesis:
        return Hypothesis(score, tokens, np.zeros(len(tokens)))

    for keep_better, score in ((True, 0.9), (False, 0.5)):
        found = Found(2, keep_better)
        for one in (hypothesis(0.5, 3, 4), hypothesis(0.9, 3, 4), hypothesis(0.1, 5), hypothesis(0.4, 6)):
            found.add(one)
        assert [(h.score, h.tokens) for h in found.best(2, stop=1)] == [(score, (3, 4)), (0.4, (6,))]
    found.add(hypothesis(0.99, 3, 1, 4))
    assert found.best(1, stop=1) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_length": 0}, "need 1 <= min_length <= max_length"),
        ({"min_length": 9, "max_length": 8}, "min_length 9 and max_length 8"),
        ({"precursor_tolerance": -1.0}, "allows no mass"),
        ({"isotopes": (1, 0)}, "isotopes 1 to 0 allows no mass"),
        ({"num_beams": 0}, "num_beams 0"),
        ({"num_beams": 30}, r"<= 29 \(the vocabulary\)"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences 3"),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], message: str) -> None:
    model = tiny(CasanovoForPeptideSequencing, "5")
    with pytest.raises(ValueError, match=message):
        model.generate(**batch(4), **options)


def test_unknown_options_and_missing_masses_are_named() -> None:
    with pytest.raises(TypeError, match="no option 'temperature'"):
        tiny(CasanovoForPeptideSequencing, "5").generate(**batch(4), temperature=1.0)
    with pytest.raises(ValueError, match="needs residue masses"):
        tiny(CasanovoForPeptideSequencing, "4").generate(**batch(4))


def search(model: Any, inputs: dict[str, torch.Tensor], **options: Any) -> list[tuple[int, list[int], float]]:
    found = model.generate(
        **inputs, num_return_sequences=options.get("num_beams", 1), precursor_tolerance=0, **options
    )
    rows = zip(found.spectrum_index, found.sequences, found.lengths, found.scores, strict=True)
    return [(int(i), ids[:n].tolist(), round(float(score), 4)) for i, ids, n, score in rows]


@pytest.fixture
def lively() -> Any:
    """A model with random weights that writes peptides of different lengths."""
    model = tiny(CasanovoForPeptideSequencing, "5")
    with torch.no_grad():
        model.decoder.output.weight.mul_(4)
        model.decoder.output.bias.fill_(12.0)
    return model


def test_a_batch_finds_what_each_spectrum_finds_alone(lively: Any) -> None:
    inputs, options = batch(6, 9, 4, 12, 8), {"num_beams": 4, "min_length": 1, "max_length": 12}
    together = search(lively, inputs, **options)
    assert len({spectrum for spectrum, _, _ in together}) > 1
    for row in range(5):
        alone = search(lively, {key: v[row : row + 1] for key, v in inputs.items()}, **options)
        assert [one[1:] for one in alone] == [one[1:] for one in together if one[0] == row]


def test_peptides_of_negative_mean_logit_lose_to_padding(lively: Any) -> None:
    """Adding a constant to all logits changes no probability, but the published ranking multiplies by 1e-8."""
    inputs, options = batch(6, 9, 4, 12, 8), {"num_beams": 4, "min_length": 1, "max_length": 12}
    assert search(lively, inputs, **options)
    with torch.no_grad():
        lively.decoder.output.bias.sub_(60)
    one_token = search(lively, inputs, **options)
    assert all(len(ids) <= 1 for _, ids, _ in one_token)


def test_the_output_of_a_search_without_result_is_empty(lively: Any) -> None:
    found = lively.generate(**batch(6, 9), min_length=3, max_length=3, num_beams=2, num_return_sequences=2)
    assert len(found.scores) == len(found.sequences) == 0 and found.residue_scores.shape == (0, 0)


def test_water_is_the_same_in_search_and_tokenizer() -> None:
    from msformers.modeling import casanovo_rules

    assert pytest.approx(WATER, abs=1e-6) == casanovo_rules.WATER
