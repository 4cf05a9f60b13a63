from __future__ import annotations

import numpy as np
import pytest

from msformers.metrics.properties import (
    balanced_accuracy_per_property,
    binary_properties,
    property_scores,
    r2_per_property,
)

NAN = float("nan")


def test_r2_is_the_textbook_value_and_does_not_depend_on_the_unit() -> None:
    truth, predicted = np.array([[3.0], [-0.5], [2.0], [7.0]]), np.array([[2.5], [0.0], [2.0], [8.0]])
    assert r2_per_property(truth, predicted)[0] == pytest.approx(0.9486081370449679)  # scikit-learn's example
    for unit in (1e-150, 1e6, 1e180):
        assert r2_per_property(truth * unit, predicted * unit)[0] == pytest.approx(0.9486081370449679)


def test_the_mean_scores_nothing_and_the_truth_everything() -> None:
    truth = np.random.default_rng(0).normal(size=(50, 3))
    assert r2_per_property(truth, truth).tolist() == [1, 1, 1]
    assert r2_per_property(truth, np.repeat(truth.mean(0, keepdims=True), 50, 0)) == pytest.approx(
        np.zeros(3)
    )
    assert (r2_per_property(truth, truth + 10) < -10).all()


def test_unknown_values_are_left_out_and_a_constant_has_no_r2() -> None:
    truth = np.array([[1.0, 5.0, NAN], [2.0, 5.0, NAN], [NAN, 5.0, NAN]])
    predicted = np.array([[1.0, 4.0, 1.0], [2.0, 6.0, 1.0], [NAN, 5.0, NAN]])
    scores = r2_per_property(truth, predicted)
    assert scores[0] == 1
    assert np.isnan(scores[1:]).all()
    assert np.isnan(balanced_accuracy_per_property(truth, predicted)[1:]).all()


def test_balanced_accuracy_weighs_both_values_alike_and_cuts_at_their_midpoint() -> None:
    truth = np.array([[2.0], [2.0], [2.0], [6.0]])
    predicted = np.array([[2.1], [3.9], [4.1], [4.1]])
    assert balanced_accuracy_per_property(truth, predicted)[0] == pytest.approx((2 / 3 + 1) / 2)
    assert balanced_accuracy_per_property(truth, np.full((4, 1), 2.0))[0] == 0.5
    assert (
        balanced_accuracy_per_property(truth, np.full((4, 1), 4.0))[0] == 0.5
    )  # the midpoint is not above it


def test_a_property_is_binary_by_its_values_in_the_evaluated_set() -> None:
    truth = np.array([[0, 0.1, 3, 7], [1, 0.2, 3, 7], [1, 0.3, NAN, 8]])
    assert binary_properties(truth).tolist() == [True, False, True, True]
    scores = property_scores(truth, np.nan_to_num(truth))
    assert np.isnan(scores.r2[[0, 2, 3]]).all()
    assert np.isnan(scores.balanced_accuracy[[1, 2]]).all()
    assert (scores.mean_r2, scores.median_balanced_accuracy) == (1, 1)


def test_summaries_are_over_properties() -> None:
    truth = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [3.0, 3.0, 3.0]])
    predicted = np.stack([truth[:, 0], truth[::-1, 0], np.full(3, 2.0)], axis=1)
    scores = property_scores(truth, predicted)
    assert scores.r2 == pytest.approx([1, -3, 0])
    assert (scores.mean_r2, scores.median_r2) == pytest.approx((-2 / 3, 0))
    assert np.isnan(scores.mean_balanced_accuracy)


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), "must hold the same samples and properties"),
        (np.zeros(3), np.zeros(3), r"truth has shape \(3,\)"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "one sample or more"),
        ([[0.0, 1.0]], [[0.0, NAN]], "sample 0, property 1: predicted nan where the truth is 1.0"),
        ([[0.0], [1.0]], [[0.0], [np.inf]], "sample 1, property 0: predicted inf"),
    ],
)
def test_unusable_input_is_named(truth, predicted, message) -> None:
    with pytest.raises(ValueError, match=message):
        property_scores(truth, predicted)
