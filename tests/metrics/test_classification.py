from __future__ import annotations

import math

import numpy as np
import pytest

from msformers.metrics.classification import area_under_roc


def test_known_cases() -> None:
    assert area_under_roc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert area_under_roc([1, 0], [0.5, 0.5]) == 0.5
    assert area_under_roc([1, 1, 0], [0.9, 0.8, 0.1]) == 1.0
    assert area_under_roc([1, 0, np.nan, -1], [0.9, 0.1, 5.0, 0.0]) == 1.0
    assert math.isnan(area_under_roc([1, 1], [0.2, 0.3]))


def test_it_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60), rng.integers(0, 9, 60)
    pairs = np.sign(scores[labels == 1][:, None] - scores[labels == 0][None, :])
    assert area_under_roc(labels, scores) == pytest.approx(((pairs + 1) / 2).mean())
