from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest

from msformers.metrics.retrieval import (
    bootstrap_interval,
    hits_at_k,
    mrr,
    positives_by_block,
    ranks,
    recall_at_k,
)

ASPIRIN = "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
CAFFEINE = "RYYVLZVUVIJVGH-UHFFFAOYSA-N"


def test_a_list_without_ties_counted_by_hand() -> None:
    scores = [[0.1, 0.9, 0.5], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]]
    positives = [[False, False, True], [True, False, False], [True, False, False, False]]
    assert ranks(scores, positives).tolist() == [2, 1, 4]
    assert recall_at_k(scores, positives, 1) == pytest.approx(1 / 3)
    assert recall_at_k(scores, positives, 2) == pytest.approx(2 / 3)
    assert recall_at_k(scores, positives, 4) == 1
    assert mrr(scores, positives) == pytest.approx((1 / 2 + 1 + 1 / 4) / 3)


def test_the_best_of_several_positives_counts() -> None:
    scores, positives = [[0.2, 0.8, 0.9, 0.1]], [[True, True, False, False]]
    assert ranks(scores, positives).tolist() == [2]
    assert hits_at_k(scores, positives, 1).tolist() == [0]
    assert hits_at_k(scores, positives, 2).tolist() == [1]


@pytest.mark.parametrize(
    ("scores", "positives"),
    [
        ([1, 1, 1, 1, 1], [True, False, False, False, False]),
        ([2, 1, 1, 1, 0], [False, True, False, True, True]),
        ([3, 3, 2, 2, 2], [False, False, False, False, True]),
        ([1, 1, 1, 0, 0], [True, True, False, True, False]),
    ],
)
def test_ties_are_the_mean_over_every_order_of_equal_scores(
    scores: list[float], positives: list[bool]
) -> None:
    orders = [
        order for order in permutations(range(5)) if all(scores[a] >= scores[b] for a, b in pairwise(order))
    ]
    first = np.array([next(place for place, i in enumerate(order, 1) if positives[i]) for order in orders])
    assert ranks([scores], [positives])[0] == pytest.approx(first.mean())
    for k in (1, 2, 3, 4, 5):
        assert hits_at_k([scores], [positives], k)[0] == pytest.approx((first <= k).mean())


@pytest.mark.parametrize("place", [0, 15, 29])
def test_a_constant_scorer_gains_nothing_wherever_the_truth_stands(place: int) -> None:
    positives = np.arange(30) == place
    assert recall_at_k([np.zeros(30)], [positives], 1) == pytest.approx(1 / 30)
    assert recall_at_k([np.zeros(30)], [positives], 20) == pytest.approx(20 / 30)
    assert mrr([np.zeros(30)], [positives]) == pytest.approx(1 / 15.5)


def test_official_ties_favour_the_first_position() -> None:
    scores = [np.zeros(30), np.zeros(30)]
    positives = [np.arange(30) == 0, np.arange(30) == 3]
    assert hits_at_k(scores, positives, 1, ties="official").tolist() == [1, 0]
    assert ranks(scores, positives, ties="official").tolist() == [1, 4]
    assert int(np.argmax(scores[0])) == 0


def test_a_random_scorer_recalls_k_over_n_and_an_oracle_recalls_all() -> None:
    rng = np.random.default_rng(0)
    positives = [np.arange(20) == rng.integers(20) for _ in range(4000)]
    noise = [rng.random(20) for _ in range(4000)]
    for k in (1, 5):
        assert recall_at_k(noise, positives, k) == pytest.approx(k / 20, abs=0.02)
    assert recall_at_k(positives, positives, 1) == 1
    assert mrr(positives, positives) == 1


def test_a_missing_positive_is_an_error_or_a_miss() -> None:
    scores, positives = [[1.0, 2.0], [1.0, 2.0]], [[False, True], [False, False]]
    with pytest.raises(ValueError, match="query 1: no positive among 2"):
        ranks(scores, positives)
    assert ranks(scores, positives, missing="miss").tolist() == [1, np.inf]
    assert recall_at_k(scores, positives, 2, missing="miss") == 0.5
    assert mrr(scores, positives, missing="miss") == 0.5


@pytest.mark.parametrize(
    ("scores", "positives", "message"),
    [
        ([[1.0, float("nan")]], [[True, False]], "query 0: a score is NaN"),
        ([[1.0]], [[True, False]], "query 0: scores"),
        ([[]], [[]], "not empty"),
        ([[1.0]], [], "1 score lists for 0"),
        ([], [], "no queries"),
    ],
)
def test_unusable_input_is_named(
    scores: list[list[float]], positives: list[list[bool]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        recall_at_k(scores, positives, 1)


def test_k_and_tie_mode_are_checked() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        recall_at_k([[1.0]], [[True]], 0)
    with pytest.raises(ValueError, match="use 'expected' or 'official'"):
        recall_at_k([[1.0]], [[True]], 1, ties="optimistic")  # type: ignore[arg-type]


def test_hits_go_by_the_first_inchikey_block() -> None:
    other_stereo = ASPIRIN[:14] + "-VIFPVBQESA-N"
    (marks,) = positives_by_block([ASPIRIN], [[CAFFEINE, other_stereo, ASPIRIN[:14]]])
    assert marks.tolist() == [False, True, True]
    with pytest.raises(ValueError, match="query 0: 'CCO' is no InChIKey"):
        positives_by_block([ASPIRIN], [["CCO"]])


def test_bootstrap_matches_the_normal_interval_and_repeats_itself() -> None:
    values = np.random.default_rng(1).normal(5, 2, size=400)
    interval = bootstrap_interval(values, confidence=0.95, resamples=5000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)
    assert interval == bootstrap_interval(values, confidence=0.95, resamples=5000)
    wide = bootstrap_interval(values)
    assert wide.confidence == 0.999
    assert wide.low < interval.low < interval.high < wide.high


def test_spectra_of_one_molecule_are_drawn_together() -> None:
    values = np.repeat(np.random.default_rng(2).random(50), 8)
    alone = bootstrap_interval(values, resamples=2000)
    together = bootstrap_interval(values, resamples=2000, groups=np.repeat(np.arange(50), 8).tolist())
    assert together.mean == alone.mean
    assert together.high - together.low > 2 * (alone.high - alone.low)
    with pytest.raises(ValueError, match="1 groups for 400 values"):
        bootstrap_interval(values, groups=["a"])
