from __future__ import annotations

import numpy as np
import pytest

from msformers.metrics import significance
from msformers.metrics.significance import (
    friedman_dunn,
    kruskal_dunn,
    paired_comparison,
    stars,
    two_way_anova,
    wilcoxon,
)

pytest.importorskip("scipy")


@pytest.fixture
def stats() -> None:
    """The libraries of the `stats` extra."""
    for name in ("scikit_posthocs", "statsmodels"):
        pytest.importorskip(name, reason='needs pip install "msformers[stats]"')


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


def test_stars_by_the_four_limits() -> None:
    marks = [stars(p) for p in (0.2, 0.05, 0.01, 0.001, 0.0001, 0.0)]
    assert marks == ["ns", "*", "**", "***", "****", "****"]


def test_kruskal_dunn_gives_the_worked_example(stats: None) -> None:
    # Zar (2010), example 10.10: number of flies in three layers of vegetation; H = 8.720
    flies = {
        "herb": [14, 12.1, 9.6, 8.2, 10.2],
        "shrub": [8.4, 5.1, 5.5, 6.6, 6.3],
        "tree": [6.9, 7.3, 5.8, 4.1, 5.4],
    }
    result = kruskal_dunn(flies)
    assert result.statistic == pytest.approx(8.72)
    assert result.p_value == pytest.approx(0.0128, abs=1e-4)
    assert [(pair.first, pair.second) for pair in result.pairs] == [
        ("herb", "shrub"),
        ("herb", "tree"),
        ("shrub", "tree"),
    ]
    # rank sums 64, 30 and 26 of five flies each: z = 7.6 / sqrt(15 * 16 / 12 * 2 / 5), times three pairs
    holm = kruskal_dunn(flies, p_adjust="holm").pairs
    assert result.pairs[1].p_value == pytest.approx(3 * 0.00720, abs=1e-4)
    assert result.pairs[2].stars == "ns"
    assert holm[0].p_value <= result.pairs[0].p_value


def test_friedman_dunn_ranks_within_blocks(stats: None) -> None:
    rng = np.random.default_rng(0)
    block = rng.normal(size=40) * 10  # differences between blocks dwarf those between systems
    systems = {"a": block + 0.3, "b": block + 0.1 * rng.normal(size=40), "c": block - 0.3}
    result = friedman_dunn(systems)
    assert result.p_value < 1e-6
    assert result.pairs[1].stars == "****"
    # mean ranks 3 and 1 of three systems in 40 blocks: z = 2 / sqrt(3 * 4 / 240)
    plain = friedman_dunn({"a": block + 1, "b": block, "c": block - 1}).pairs
    assert plain[0].p_value == pytest.approx(3 * 7.744e-6, rel=1e-3)


def test_wilcoxon_is_exact_for_few_queries_and_sees_no_difference_where_there_is_none() -> None:
    assert wilcoxon([1, 2, 3, 4, 5], [0, 0, 0, 0, 0]) == pytest.approx(2 / 32)
    assert wilcoxon([1, 2], [1, 2]) == 1


def test_two_way_anova_separates_system_set_and_interaction(stats: None) -> None:
    rng = np.random.default_rng(2)
    effect = {
        ("ours", "Known"): 2.0,
        ("ours", "Unknown"): 1.0,
        ("peer", "Known"): 1.0,
        ("peer", "Unknown"): 0.0,
    }
    result = two_way_anova({cell: mean + 0.3 * rng.normal(size=50) for cell, mean in effect.items()})
    assert max(result.system.p_value, result.set.p_value) < 1e-10
    assert result.interaction.p_value > 0.01
    assert (result.system.degrees, result.interaction.degrees) == (1, 1)
    pairs = {(pair.first, pair.second): pair.p_value for pair in result.pairs}
    assert len(pairs) == 6
    assert pairs["ours, Unknown", "peer, Known"] > 0.05 > pairs["ours, Known", "peer, Unknown"]


def test_unusable_figures_are_named(stats: None) -> None:
    with pytest.raises(ValueError, match="b: 1 of 2 figures are NaN"):
        kruskal_dunn({"a": [1, 2], "b": [1, float("nan")]})
    with pytest.raises(ValueError, match="2 systems; at least 3"):
        friedman_dunn({"a": [1, 2], "b": [1, 2]})
    with pytest.raises(ValueError, match="a 2, b 3, c 2"):
        friedman_dunn({"a": [1, 2], "b": [1, 2, 3], "c": [1, 2]})
    with pytest.raises(ValueError, match="the same queries"):
        wilcoxon([1, 2], [1])
    with pytest.raises(ValueError, match=r"missing: \[\('peer', 'Unknown'\)\]"):
        two_way_anova({("ours", "Known"): [1, 2], ("ours", "Unknown"): [1, 2], ("peer", "Known"): [1, 2]})


def test_a_missing_library_is_named_with_its_remedy() -> None:
    with pytest.raises(ModuleNotFoundError, match=r'needs no_such_library; pip install "msformers\[stats\]"'):
        significance._library("no_such_library")
