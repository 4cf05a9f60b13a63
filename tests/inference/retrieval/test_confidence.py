"""Probabilities, sets, bands: of lists that one can count by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msformers.inference.options import SearchOptions
from msformers.inference.retrieval.confidence import (
    FEATURES,
    FILE,
    Calibration,
    CalibrationError,
    Listing,
    SearchCalibration,
    ambiguity,
    assess,
)

FLAT = [0.0] * len(FEATURES)
CALIBRATION = SearchCalibration(
    search="mass",
    ppm=10.0,
    evidence_depth=0,
    decode="fingerprint",
    most_candidates=60,
    n_spectra=100,
    n_molecules=50,
    bias=float(np.log(10.0)),
    weights=FLAT,
    centre=FLAT,
    scale=[1.0] * len(FEATURES),
    low=[-10.0] * len(FEATURES),
    high=[10.0] * len(FEATURES),
    thresholds={"0.5": [0.0, 0.5, 1.0], "0.9": [1.5, 2.5, None]},
    medium=0.4,
    high_band=0.7,
    quantiles=np.linspace(0.0, 1.0, 101).tolist(),
    validation={"note": "made by hand"},
)


def listing(scores: list[float], **changes: Any) -> Listing:
    known = {"cosine": 0.5, "explained": None, "length": 1.0, "n_peaks": 10, "n_candidates": len(scores)}
    return Listing(np.array(scores), **known | changes)


def test_probabilities_are_a_softmax_of_the_scores() -> None:
    known = assess(listing([0.6, 0.5, 0.2]), CALIBRATION, 0.9)
    odds = np.exp(10 * np.array([0.6, 0.5, 0.2]))
    assert known.probabilities == pytest.approx(odds / odds.sum())
    assert known.band == "high" and known.reason == "" and known.ambiguity == "unique"
    assert known.set_size == 2  # 10 · 0.1 is within 1.5, 10 · 0.4 is not


def test_sets_grow_with_the_level_and_always_hold_the_best() -> None:
    scores = [0.6, 0.6, 0.59, 0.46, 0.3]
    sizes = [assess(listing(scores), CALIBRATION, level).set_size for level in (0.5, 0.9)]
    assert sizes == [2, 4]
    longer = listing([0.6 - 0.001 * place for place in range(55)])
    assert assess(longer, CALIBRATION, 0.9).set_size == 55  # no threshold for long lists: all of them


def test_the_temperature_follows_the_features_within_their_range() -> None:
    steep = replace(
        CALIBRATION, weights=[0.0, 0.0, 0.0, 2.0, 1.0], low=[-9.0] * 4 + [0.0], high=[9.0] * 3 + [0.6, 1.0]
    )
    plain, sure, beyond = (
        steep.log_ratios(listing([0.6, 0.5], cosine=cosine))[1] for cosine in (0.0, 0.6, 5.0)
    )
    assert (plain, sure, beyond) == pytest.approx((1.0, np.exp(1.2), np.exp(1.2)))
    with_evidence = steep.log_ratios(listing([0.6, 0.5], cosine=0.0, explained=1.0))[1]
    assert with_evidence == pytest.approx(np.e)  # and no evidence has no say


@pytest.mark.parametrize(
    ("found", "ions", "reason"),
    [
        (listing([0.5]), 1, "a single candidate"),
        (listing([0.5, 0.4], n_candidates=61), 1, "61 candidates, calibrated on at most 60"),
        (listing([0.5, 0.4]), 2, "several adducts"),
    ],
)
def test_a_list_of_another_kind_is_labelled(found: Listing, ions: int, reason: str) -> None:
    known = assess(found, CALIBRATION, 0.9, ions)
    assert known.band == "uncalibrated" and reason in known.reason
    assert known.probabilities is None and known.set_size is None
    assert assess(found, None, 0.9).reason == "no calibration for this kind of search"


@pytest.mark.parametrize(
    ("changes", "evidence", "covered"),
    [
        ({}, False, True),
        ({"evidence_depth": 5}, False, True),  # no evidence there: its depth says nothing
        ({"ppm": 5.0}, False, False),
        ({"search": "open"}, False, False),
        ({"decode": "projection"}, False, False),
        ({}, True, False),
    ],
)
def test_a_calibration_is_for_one_kind_of_search(changes: dict, evidence: bool, covered: bool) -> None:
    found = Calibration((CALIBRATION,)).find(SearchOptions(**changes), evidence)
    assert (found is not None) == covered


def test_bands_and_the_share_to_answer() -> None:
    assert [CALIBRATION.band(p) for p in (0.1, 0.4, 0.69, 0.7)] == ["low", "medium", "medium", "high"]
    asked = [CALIBRATION.probability_for(SearchOptions(coverage=share)) for share in (1.0, 0.5, 0.2, 0.0)]
    assert asked == pytest.approx([0.0, 0.5, 0.8, 1.0])
    assert CALIBRATION.probability_for(SearchOptions(min_confidence=0.3)) == 0.3
    assert CALIBRATION.probability_for(SearchOptions()) is None


def test_ambiguity_counts_who_is_as_good() -> None:
    assert ambiguity(np.array([0.5, 0.46])) == "unique"
    assert ambiguity(np.array([0.5, 0.48, 0.4])) == "few"
    assert ambiguity(np.array([0.5] * 6)) == "many"


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert Calibration.load(str(tmp_path)) is None and Calibration.load("") is None
    Calibration((CALIBRATION,)).save(tmp_path)
    assert Calibration.load(str(tmp_path)) == Calibration((CALIBRATION,))
    assert "truth is among the candidates" in json.loads((tmp_path / FILE).read_text())["assumes"]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": "x"}', '{"format": "msformers-calibration", "format_version": 9}']
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(CalibrationError, match=r"calibration\.json: .*calibrate\.py"):
        Calibration.load(str(tmp_path))


def test_a_level_that_was_not_calibrated_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"level 0\.7 .* one of 0\.5, 0\.9"):
        assess(listing([0.5, 0.4]), CALIBRATION, 0.7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_confidence": 0.5, "coverage": 0.5}, "one of them"),
        ({"coverage": 1.5}, "coverage 1.5"),
        ({"decode": "guess"}, "fingerprint, projection"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchOptions(**options)
