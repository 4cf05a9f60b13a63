from __future__ import annotations

import numpy as np
import pytest

from msformers.inference.retrieval.search import normalize, rank_open, rank_rows


def test_rank_rows_orders_scores_and_gives_gaps() -> None:
    hits = rank_rows(np.array([0.1, 0.9, 0.5], np.float32), np.array([4, 7, 9]), top_k=2)
    assert [hit.row for hit in hits] == [7, 9]
    assert [hit.rank for hit in hits] == [1, 2]
    assert hits[0].gap == pytest.approx(0.4) and hits[1].gap == pytest.approx(0.4)
    assert [hit.expected_rank for hit in hits] == [1.0, 2.0]
    assert rank_rows(np.array([0.3], np.float32), np.array([0]), 5)[0].gap is None


def test_ties_share_the_mean_of_their_ranks_even_beyond_top_k() -> None:
    scores = np.array([0.5, 0.9, 0.5, 0.5, 0.1], np.float32)
    hits = rank_rows(scores, np.arange(5), top_k=3)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert [hit.expected_rank for hit in hits] == [1.0, 3.0, 3.0]
    assert [hit.row for hit in hits] == [1, 0, 2]
    assert {hit.expected_rank for hit in rank_rows(np.zeros(7, np.float32), np.arange(7), 7)} == {4.0}


def test_open_search_equals_a_full_sort() -> None:
    rng = np.random.default_rng(0)
    bank, queries = normalize(rng.normal(size=(3000, 8))), normalize(rng.normal(size=(5, 8)))
    blocks = ((start, bank[start : start + 257]) for start in range(0, 3000, 257))
    found = rank_open(queries, blocks, top_k=7)
    for query, hits in zip(queries, found, strict=True):
        scores = bank @ query
        expected = np.argsort(-scores)[:8]
        assert [hit.row for hit in hits] == expected[:7].tolist()
        assert hits[0].score == pytest.approx(float(scores[expected[0]]), abs=1e-6)
        assert hits[6].gap == pytest.approx(float(scores[expected[6]] - scores[expected[7]]), abs=1e-6)


def test_normalize_keeps_zero_rows() -> None:
    assert np.array_equal(normalize([[3.0, 4.0], [0.0, 0.0]]), np.array([[0.6, 0.8], [0.0, 0.0]], np.float32))
