"""Risk and coverage, calibration and conformal thresholds, counted by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from msformers.metrics.selective import (
    brier,
    conformal_quantile,
    excess_area,
    group_weights,
    reliability,
    risk_coverage,
)


def test_risk_is_counted_from_the_surest_on() -> None:
    curve = risk_coverage([0.9, 0.1, 0.8, 0.5], [0, 1, 1, 0])
    assert curve.coverage.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert curve.risk == pytest.approx([0.0, 0.0, 1 / 2, 1 / 3, 2 / 4])
    assert curve.at(0.5) == pytest.approx(0.5) and curve.at(0.375) == pytest.approx(0.25)
    assert curve.area == pytest.approx((0 + 1 / 4 + 5 / 12 + 5 / 12) / 4)


def test_equal_confidence_earns_nothing() -> None:
    curve = risk_coverage(np.ones(10), [1, 0] * 5)
    assert curve.risk == pytest.approx(np.full(11, 0.5)) and curve.area == pytest.approx(0.5)


def test_an_oracle_has_no_excess() -> None:
    errors = np.array([0.0, 1.0, 0.0, 0.5, 1.0])
    assert excess_area(1 - errors, errors) == pytest.approx(0.0)
    assert excess_area(errors, errors) > 0.3


def test_a_molecule_counts_once() -> None:
    weights = group_weights(["a", "a", "a", "b"])
    assert weights == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])
    assert risk_coverage([4, 3, 2, 1], [1, 1, 1, 0], weights).at(1.0) == pytest.approx(0.5)
    assert brier([1, 1, 1, 1], [0, 0, 0, 1], weights) == pytest.approx(0.5)


def test_reliability_by_hand() -> None:
    found = reliability([0.1, 0.2, 0.7, 0.8], [0, 0, 1, 0], bins=2)
    assert found.confidence == pytest.approx([0.15, 0.75])
    assert found.accuracy == pytest.approx([0.0, 0.5]) and found.weight == pytest.approx([0.5, 0.5])
    assert found.error == pytest.approx(0.2)


def test_honest_probabilities_have_a_small_error() -> None:
    rng = np.random.default_rng(0)
    claimed = rng.random(20_000)
    right = rng.random(20_000) < claimed
    assert reliability(claimed, right).error < 0.02
    assert reliability(claimed**3, right).error > 0.2
    assert brier(claimed, right) < brier(claimed**3, right)


def test_the_conformal_threshold_counts_the_new_molecule() -> None:
    assert conformal_quantile([1, 2, 3, 4, 5, 6, 7, 8, 9], 0.9, list("abcdefghi")) == 9.0  # 9 of 10
    assert conformal_quantile([1, 2, 3], 0.9, list("abc")) == np.inf  # three cannot vouch for nine of ten
    # spectra of one molecule count together: a and b weigh the same
    assert conformal_quantile([1, 1, 1, 1, 9], 0.6, list("aaaab")) == 9.0


def test_sets_hold_what_they_promise_for_new_molecules() -> None:
    """Spectra of a molecule share most of their score; some molecules have many."""
    rng, covered = np.random.default_rng(1), []
    for _ in range(300):
        shared = rng.normal(size=61)
        counts = rng.geometric(0.2, size=61)
        groups = np.repeat(np.arange(61), counts)
        scores = shared[groups] + 0.3 * rng.normal(size=len(groups))
        new = groups == 60
        threshold = conformal_quantile(scores[~new], 0.9, groups[~new].tolist())
        covered.append((scores[new] <= threshold).mean())
    assert 0.88 < np.mean(covered) < 0.94


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: risk_coverage([1.0], [0.0, 1.0]), "flat, equal"),
        (lambda: risk_coverage([], []), "not empty"),
        (lambda: risk_coverage([np.nan], [0.0]), "not finite"),
        (lambda: reliability([0.5], [1.0], weights=[0.0]), "not above 0"),
        (lambda: conformal_quantile([1.0], 1.0, ["a"]), "between 0 and 1"),
        (lambda: conformal_quantile([1.0], 0.9, ["a", "b"]), "one per score"),
    ],
)
def test_wrong_input_is_named(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
