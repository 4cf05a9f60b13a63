"""Rankings become answers: the full record of a candidate, sets, abstention, and the two paths of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from msformers.inference.annotate import Annotation, annotate
from msformers.inference.encode import DecodeError, bit_probabilities
from msformers.inference.options import SearchOptions
from msformers.inference.retrieval.bank import MoleculeBank, open_bank
from msformers.inference.retrieval.bank_store import BankError
from msformers.inference.retrieval.confidence import Calibration, CalibrationError
from msformers.inference.retrieval.query import Query
from msformers.inference.retrieval.verdict import Judge
from msformers.spectra.adducts import parse_adduct
from msformers.spectra.masses import formula_mass
from msformers.spectra.spectrum import Spectrum

from .test_confidence import CALIBRATION

Make = Callable[..., Spectrum]
FORMULAS = {"glucose": "C6H12O6", "alanine": "C3H7NO2", "caffeine": "C8H10N4O2"}


@pytest.fixture
def bank(smi: Path, model: Any, tokenizer: Any) -> MoleculeBank:
    return open_bank(smi, model, tokenizer, progress=False)


@pytest.fixture
def records(molecules: dict[str, str], make_spectrum: Make) -> list[Spectrum]:
    """Two lists of two candidates, one of a single candidate, one spectrum that finds nothing."""

    def made(name: str, **fields: Any) -> Spectrum:
        precursor = parse_adduct("[M+H]+").mz(formula_mass(FORMULAS[name]))
        return make_spectrum(molecules[name], precursor_mz=precursor, adduct="[M+H]+", **fields)

    lost = make_spectrum("CC", index=3, precursor_mz=500.0, adduct="[M+H]+")
    return [made("glucose", index=0), made("alanine", index=1), made("caffeine", index=2), lost]


def run(records: Any, model: Any, extractor: Any, bank: Any, **options: Any) -> list[Annotation]:
    chosen = SearchOptions(**options)
    return list(annotate(records, model, extractor, bank, chosen, calibration=Calibration((CALIBRATION,))))


def test_a_candidate_carries_its_full_record(records: Any, model: Any, extractor: Any, bank: Any) -> None:
    answer = run(records, model, extractor, bank)[0]
    first, second = answer.candidates
    assert (first.rank, first.name, first.formula, first.valid) == (1, "glucose", "C6H12O6", True)
    assert first.exact_mass == pytest.approx(180.06339) and abs(first.mass_error_da or 1) < 1e-4
    assert first.adduct_compatible is True and first.fingerprint_similarity is None
    assert first.probability == pytest.approx(1 - second.probability) and first.probability > 0.5
    odds = np.exp(10 * (first.score - second.score))
    assert first.probability == pytest.approx(odds / (1 + odds), abs=1e-6)
    assert first.in_set and answer.set_size == sum(bool(c.in_set) for c in answer.candidates)
    assert answer.confidence_band == CALIBRATION.band(first.probability) and answer.ambiguity in (
        "unique",
        "few",
    )


def test_one_candidate_or_none_is_no_confidence(records: Any, model: Any, extractor: Any, bank: Any) -> None:
    *_, alone, lost = run(records, model, extractor, bank)
    assert alone.confidence_band == "uncalibrated" and "single candidate" in alone.confidence_note
    assert alone.candidates[0].probability is None and alone.set_size is None
    assert lost.confidence_band is None and lost.rows()[0]["confidence_band"] is None


def test_abstention_is_monotonic_and_loses_no_row(
    records: Any, model: Any, extractor: Any, bank: Any
) -> None:
    plain = run(records, model, extractor, bank)
    before: set[int] = set()
    for least in (0.0, 0.5, 0.9, 0.99, 1.0):
        answers = run(records, model, extractor, bank, min_confidence=least)
        held = {answer.index for answer in answers if answer.status == "abstained"}
        assert before <= held
        assert [len(a.candidates) for a in answers] == [len(a.candidates) for a in plain]
        assert [a.status for a in answers if a.index not in held] == [
            a.status for a in plain if a.index not in held
        ]
        assert all("abstained" in answers[index].reason for index in held)
        before = held
    assert before == {0, 1, 2}
    by_share = [run(records, model, extractor, bank, coverage=share) for share in (1.0, 0.0)]
    assert [sum(a.status == "abstained" for a in answers) for answers in by_share] == [0, 3]


def test_nothing_is_held_back_without_a_calibration(
    records: Any, model: Any, extractor: Any, bank: Any
) -> None:
    with pytest.raises(CalibrationError, match="has none; make one with"):
        next(annotate(records, model, extractor, bank, SearchOptions(min_confidence=0.5)))
    with pytest.raises(CalibrationError, match="mass at 10 ppm, evidence depth 0, fingerprint; search so"):
        run(records, model, extractor, bank, min_confidence=0.5, ppm=5.0)
    opened = run(records[:1], model, extractor, bank, search="open")[0]
    assert opened.confidence_band == "uncalibrated" and "this kind of search" in opened.confidence_note
    with pytest.raises(CalibrationError, match=r"one of 0\.5, 0\.9"):
        run(records, model, extractor, bank, set_level=0.7)


def test_an_assumed_adduct_is_a_condition(records: Any, model: Any, extractor: Any, bank: Any) -> None:
    unstated = replace(records[0], adduct=None, ion_mode="positive")
    assumed = run([unstated], model, extractor, bank)[0]
    assert assumed.status == "assumed_adduct" and "assumed adduct" in assumed.confidence_note
    held = run([unstated], model, extractor, bank, min_confidence=1.0)[0]
    assert held.status == "abstained" and "assumed [M+H]+" in held.reason
    common = run([unstated], model, extractor, bank, adducts="common")[0]
    assert common.confidence_band == "uncalibrated" and "several adducts" in common.confidence_note


def test_an_adduct_that_takes_what_is_not_there(
    model: Any, extractor: Any, bank: Any, molecules: dict[str, str], make_spectrum: Make
) -> None:
    """An open search lists molecules that cannot lose water, and those far from the precursor."""
    loss = parse_adduct("[M-H2O+H]+")
    query = make_spectrum(
        molecules["glucose"], precursor_mz=loss.mz(formula_mass("C6H12O6")), adduct="[M-H2O+H]+"
    )
    answer = run([query], model, extractor, bank, search="open", top_k=8)[0]
    fits = {hit.name: hit.adduct_compatible for hit in answer.candidates}
    assert fits["glucose"] and fits["fructose"] and not fits["caffeine"]
    assert next(h for h in answer.candidates if h.name == "caffeine").mass_error_da == pytest.approx(
        formula_mass("C6H12O6") - formula_mass("C8H10N4O2"), abs=1e-4
    )


def test_fingerprints_are_compared_by_sums_of_minima_and_maxima(
    bag_model: Any, tokenizer: Any, molecules: dict[str, str]
) -> None:
    class Letters(bag_model):  # type: ignore[misc]
        """Which of the letters C, N, O, c a SMILES holds, as bits."""

        decode_paths = ("fingerprint",)

        def get_molecule_features(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor
        ) -> torch.Tensor:
            return torch.stack([(input_ids == ord(letter)).any(1) for letter in "CNOc"], dim=1).float()

    model = Letters()
    bank = open_bank(list(molecules.values()), model, tokenizer, progress=False)
    chances = np.array([[0.9, 0.2, 0.1, 0.6]], dtype=np.float32)
    opened, by_formula = SearchOptions(search="open"), SearchOptions(search="formula")
    for options, query in ((opened, Query("open")), (by_formula, Query("formula", formula="C9H8O4"))):
        (ranking,) = Judge(model, bank, options).rank(chances, [query])
        found = {candidate.smiles: candidate.fingerprint_similarity for candidate in ranking.candidates}
        bits = np.array([1.0, 0.0, 1.0, 1.0])
        expected = np.minimum(chances[0], bits).sum() / np.maximum(chances[0], bits).sum()
        assert found[molecules["aspirin"]] == pytest.approx(expected, abs=1e-3)
    assert len(ranking.candidates) == 1


def test_bits_are_read_off_what_a_model_gives() -> None:
    features = np.zeros((1, 3), dtype=np.float32)
    prior = SimpleNamespace(log_odds=torch.tensor([0.0, 9.0, -9.0]))
    chances = bit_probabilities(SimpleNamespace(prior=prior), features)
    assert chances is not None and chances[0] == pytest.approx([0.5, 1.0, 0.0], abs=1e-3)
    assert bit_probabilities(SimpleNamespace(), features) is None
    two = SimpleNamespace(prior=None, decode_paths=("fingerprint", "projection"))
    assert bit_probabilities(two, features) is features
    assert bit_probabilities(two, features, "projection") is None


def test_two_paths_are_two_spaces(
    records: Any, bag_model: Any, tokenizer: Any, extractor: Any, smi: Path
) -> None:
    """The projections see another table: a bank is built for one path and says so."""

    class TwoPaths(bag_model):  # type: ignore[misc]
        decode_paths = ("fingerprint", "projection")

        def get_query_features(self, **inputs: Any) -> torch.Tensor:
            return self.get_spectrum_features(**inputs)[:, :4]

        def get_target_features(self, **inputs: Any) -> torch.Tensor:
            return self.get_molecule_features(**inputs)[:, :4]

    model = TwoPaths()
    projected = open_bank(smi, model, tokenizer, "projection", progress=False)
    assert (projected.dim, projected.manifest["decode"]) == (4, "projection")
    answer = next(annotate(records, model, extractor, projected, SearchOptions(decode="projection")))
    assert answer.candidates[0].name == "glucose" and answer.candidates[0].fingerprint_similarity is None
    with pytest.raises(BankError, match="--decode projection"):
        open_bank(projected, model, tokenizer)
    with pytest.raises(DecodeError, match="BagModel has no path 'projection'; use --decode fingerprint"):
        open_bank(smi, bag_model(), tokenizer, "projection", progress=False)
    with pytest.raises(DecodeError, match="no path 'projection'"):
        next(annotate(records, bag_model(), extractor, projected, SearchOptions(decode="projection")))
