from __future__ import annotations

import numpy as np
import pytest

from msformers.metrics.analyses import hardness, margins, pool_size_sensitivity
from msformers.metrics.retrieval import recall_at_k


def test_margins_counted_by_hand() -> None:
    scores = [[0.9, 0.5, 0.7], [0.1, 0.4], [1.0], [1.0]]
    positives = [[True, True, False], [True, False], [True], [False]]
    assert margins(scores, positives) == pytest.approx([0.2, -0.3, np.inf, -np.inf])


def test_the_whole_pool_gives_the_plain_recall() -> None:
    rng = np.random.default_rng(0)
    scores = [rng.integers(0, 8, size=12).astype(float) for _ in range(30)]
    positives = [rng.random(12) < 0.2 for _ in range(30)]
    for marks in positives:
        marks[0] = True
    curve = pool_size_sensitivity(scores, positives, sizes=[12], ks=[1, 3, 5])
    assert curve.n_queries == 30
    for column, k in enumerate((1, 3, 5)):
        assert curve.recall[0, column] == pytest.approx(recall_at_k(scores, positives, k))


def test_smaller_pools_equal_a_simulation() -> None:
    rng = np.random.default_rng(3)
    scores = np.array([5, 9, 8, 5, 5, 5, 3, 2, 2, 1], dtype=float)
    positives = np.array([True, False, False, True] + [False] * 6)
    decoys = np.flatnonzero(~positives)
    curve = pool_size_sensitivity([scores], [positives], sizes=[4, 6, 8], ks=[1, 2, 3])
    for row, size in enumerate((4, 6, 8)):
        drawn = [np.concatenate([[0, 3], rng.choice(decoys, size - 2, replace=False)]) for _ in range(4000)]
        pools, marks = [scores[pool] for pool in drawn], [positives[pool] for pool in drawn]
        for column, k in enumerate((1, 2, 3)):
            assert curve.recall[row, column] == pytest.approx(recall_at_k(pools, marks, k), abs=0.02)


def test_pools_constant_scorer_and_oracle() -> None:
    positives = [np.arange(50) == 7]
    constant = pool_size_sensitivity([np.zeros(50)], positives, sizes=[2, 10, 50], ks=[1])
    assert constant.recall[:, 0] == pytest.approx([1 / 2, 1 / 10, 1 / 50])
    oracle = pool_size_sensitivity([positives[0].astype(float)], positives, sizes=[2, 50], ks=[1])
    assert oracle.recall[:, 0] == pytest.approx([1, 1])


def test_only_queries_with_pools_large_enough_are_counted() -> None:
    scores = [np.arange(5.0), np.arange(9.0)]
    positives = [np.arange(5) == 4, np.arange(9) == 0]
    curve = pool_size_sensitivity(scores, positives, sizes=[2, 6], ks=[1])
    assert curve.n_queries == 1
    assert curve.recall[:, 0].tolist() == [0, 0]
    with pytest.raises(ValueError, match="no query has a positive and 10 candidates"):
        pool_size_sensitivity(scores, positives, sizes=[10])


def test_hardness_bins_counted_by_hand() -> None:
    curve = hardness([1, 0, 1, 1, 0], [0.1, 0.2, 0.55, 1.0, 2.0], edges=[0, 0.25, 0.5, 1.0])
    assert curve.count.tolist() == [2, 0, 2]
    assert curve.mean[[0, 2]].tolist() == [0.5, 1.0]
    assert np.isnan(curve.mean[1])
    assert curve.low[0] == 0
    assert curve.high[0] == 1


def test_hardness_checks_its_input() -> None:
    with pytest.raises(ValueError, match="ascending"):
        hardness([1], [0.5], edges=[1, 0])
    with pytest.raises(ValueError, match="equally long"):
        hardness([1, 0], [0.5], edges=[0, 1])
