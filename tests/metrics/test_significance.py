from __future__ import annotations

import numpy as np
import pytest

from msformers.metrics.significance import paired_comparison

pytest.importorskip("scipy")


def test_equal_systems_differ_by_nothing() -> None:
    hits = np.random.default_rng(0).random(60)
    comparison = paired_comparison(hits, hits, resamples=500)
    assert (comparison.difference.mean, comparison.difference.low, comparison.difference.high) == (0, 0, 0)
    assert comparison.p_value == 1


def test_a_small_sample_gives_the_exact_sign_flip_probability() -> None:
    # Five queries, each better by 1: of the 2**5 sign flips two are as extreme.
    comparison = paired_comparison([1] * 5, [0] * 5, resamples=1000)
    assert comparison.p_value == pytest.approx(2 / 32)
    assert comparison.difference.mean == 1


def test_a_real_gain_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    base = rng.random(300)
    better = paired_comparison(base + 0.1 + 0.05 * rng.normal(size=300), base, resamples=2000)
    assert better.p_value < 0.01
    assert better.difference.low > 0.08
    noise = paired_comparison(rng.random(300), rng.random(300), resamples=2000)
    assert noise.p_value > 0.05
    assert noise.difference.low < 0 < noise.difference.high


def test_repeated_spectra_of_one_molecule_are_no_extra_evidence() -> None:
    gains, groups = np.repeat([1.0, 1.0, -0.2, 1.0], 25), np.repeat(list("abcd"), 25).tolist()
    alone = paired_comparison(gains, np.zeros(100), resamples=2000)
    together = paired_comparison(gains, np.zeros(100), resamples=2000, groups=groups)
    assert alone.p_value < 0.01
    assert together.p_value == pytest.approx(4 / 16)


def test_other_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="same queries"):
        paired_comparison([1, 0], [1])
