"""What consensus scores are worth."""

from __future__ import annotations

import numpy as np
import pytest

from msformers.metrics.consensus import substructure_reliability


def test_curve_error_and_brier_by_hand() -> None:
    scores = np.array([[0.0], [0.0], [0.05], [0.62], [0.68], [1.0]])
    truth = np.array([[0], [1], [0], [1], [0], [1]])
    found = substructure_reliability(scores, truth, ["ring"], min_occurrences=1)["ring"]
    assert found.curve.confidence == pytest.approx([0.05 / 3, 0.65, 1.0])
    assert found.curve.accuracy == pytest.approx([1 / 3, 1 / 2, 1.0])
    assert found.curve.weight == pytest.approx([1 / 2, 1 / 3, 1 / 6])
    assert found.curve.error == pytest.approx((1 / 3 - 0.05 / 3) / 2 + 0.15 / 3)
    assert found.brier == pytest.approx(np.mean((scores - truth) ** 2))
    assert (found.occurrences, found.n) == (3, 6)


def test_scores_that_come_true_have_no_error() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((20_000, 1))
    honest = substructure_reliability(scores, rng.random((20_000, 1)) < scores, ["ring"])["ring"]
    assert honest.curve.error < 0.02
    assert honest.brier == pytest.approx(1 / 6, abs=0.01)
    assert honest.curve.accuracy == pytest.approx(np.arange(0.05, 1, 0.1), abs=0.05)


def test_rare_substructures_and_missing_scores_are_left_out() -> None:
    truth = np.zeros((10, 2), dtype=bool)
    truth[:5, 0] = truth[:4, 1] = True
    scores = np.full((10, 2), 0.5)
    assert list(substructure_reliability(scores, truth, ["often", "rare"])) == ["often"]
    assert len(substructure_reliability(scores, truth, ["often", "rare"], min_occurrences=4)) == 2
    scores[0, 0] = np.nan
    assert substructure_reliability(scores, truth, ["often", "rare"]) == {}
    found = substructure_reliability(scores, truth, ["often", "rare"], min_occurrences=4)["often"]
    assert (found.occurrences, found.n) == (4, 9)


def test_weights_make_the_molecule_the_unit() -> None:
    scores, truth = np.full((4, 1), 0.5), np.array([[1], [1], [1], [0]])
    found = substructure_reliability(
        scores, truth, ["ring"], weights=[1 / 3, 1 / 3, 1 / 3, 1], min_occurrences=1
    )
    assert found["ring"].curve.accuracy == pytest.approx([0.5])


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="give queries × substructures"):
        substructure_reliability([[0.5]], [[True]], ["a", "b"])
    with pytest.raises(ValueError, match="not in 0 … 1"):
        substructure_reliability([[1.5]], [[True]], ["a"])
