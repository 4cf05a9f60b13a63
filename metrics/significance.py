"""Is one system better than another on the same queries, or lucky?

Paired bootstrap and permutation, and the tests that LSM1-MS2 reports (lsm1.md §8): Kruskal-Wallis and Friedman, each with
Dunn's pairwise test, Wilcoxon's signed ranks, two-way analysis of variance with Tukey's test, stars. The tests are those of
scipy, scikit-posthocs and statsmodels: ``pip install "msformers[stats]"``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from .retrieval import FloatArray, Interval, bootstrap_interval

STARS = ((1e-4, "****"), (1e-3, "***"), (1e-2, "**"), (5e-2, "*"))
"""p-values up to and including each get its stars."""


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Mean of first minus second over the same queries, its bootstrap interval, and a permutation p-value."""

    difference: Interval
    p_value: float


@dataclass(frozen=True, slots=True)
class PairTest:
    """One of the pairwise tests that follow a test over all systems; its p-value is corrected for their number.

    Attributes:
        first, second: names of the systems; of a two-way design "system, set".
    """

    first: str
    second: str
    p_value: float

    @property
    def stars(self) -> str:
        """As `stars`."""
        return stars(self.p_value)


@dataclass(frozen=True, slots=True)
class OmnibusTest:
    """A test whether any system differs, then every pair.

    Attributes:
        name: of both tests. statistic: of the first. p_value: of the first. pairs: of the second, in order of names.
    """

    name: str
    statistic: float
    p_value: float
    pairs: tuple[PairTest, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """One source of variance: F statistic, its degrees of freedom, p-value."""

    statistic: float
    degrees: float
    p_value: float


@dataclass(frozen=True, slots=True)
class TwoWayTest:
    """Two-way analysis of variance (system, set, interaction; sums of squares of type II), then Tukey's test of all cells."""

    system: Effect
    set: Effect
    interaction: Effect
    pairs: tuple[PairTest, ...]


def stars(p_value: float) -> str:
    """`*` to `****` at .05, .01, .001, .0001; "ns" above."""
    return next((mark for limit, mark in STARS if p_value <= limit), "ns")


def kruskal_dunn(groups: Mapping[str, npt.ArrayLike], p_adjust: str = "bonferroni") -> OmnibusTest:
    """Kruskal-Wallis over independent groups, then Dunn's test of all pairs.

    Args:
        groups: figures by name, such as the errors of masked and of unmasked peaks; lengths may differ.
        p_adjust: correction of Dunn's test for the number of pairs, by statsmodels' names, such as "holm".

    Raises:
        ModuleNotFoundError: without the `stats` extra.
        ValueError: fewer than two groups, or a group is empty or holds NaN.
    """
    stats, posthocs = _library("scipy.stats"), _library("scikit_posthocs")
    values = _groups(groups)
    result = stats.kruskal(*values.values())
    matrix = posthocs.posthoc_dunn(list(values.values()), p_adjust=p_adjust).to_numpy()
    return OmnibusTest(
        "Kruskal-Wallis, Dunn", float(result.statistic), float(result.pvalue), _pairs(list(values), matrix)
    )


def friedman_dunn(systems: Mapping[str, npt.ArrayLike], p_adjust: str = "bonferroni") -> OmnibusTest:
    """Friedman over the same blocks, then Dunn's test of all pairs on its mean ranks.

    On Friedman's ranks the pairwise test is that of Siegel and Castellan (1988), by whose names scikit-posthocs has it.

    Args:
        systems: at least three; one figure per block (such as the R² of each property), same order.
        p_adjust: as in `kruskal_dunn`.

    Raises:
        ModuleNotFoundError: without the `stats` extra.
        ValueError: fewer than three systems, unequal lengths, or a figure is NaN.
    """
    stats, posthocs = _library("scipy.stats"), _library("scikit_posthocs")
    values = _groups(systems, at_least=3)
    if len({column.size for column in values.values()}) > 1:
        sizes = ", ".join(f"{name} {column.size}" for name, column in values.items())
        raise ValueError(f"every system needs a figure for every block; there are {sizes}")
    result = stats.friedmanchisquare(*values.values())
    blocks = np.stack(list(values.values()), axis=1)
    matrix = posthocs.posthoc_siegel_friedman(blocks, p_adjust=p_adjust).to_numpy()
    return OmnibusTest(
        "Friedman, Dunn", float(result.statistic), float(result.pvalue), _pairs(list(values), matrix)
    )


def wilcoxon(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test on the same queries; 1 if no query differs.

    Raises:
        ModuleNotFoundError: without the `stats` extra.
        ValueError: the lengths differ, or a figure is NaN.
    """
    values = _groups({"first": first, "second": second})
    left, right = values["first"], values["second"]
    if left.size != right.size:
        raise ValueError(f"first {left.shape} and second {right.shape} must hold the same queries")
    test = _library("scipy.stats").wilcoxon
    return float(test(left, right).pvalue) if (left != right).any() else 1.0


def two_way_anova(cells: Mapping[tuple[str, str], npt.ArrayLike]) -> TwoWayTest:
    """Analysis of variance by system and set (Known, Unknown), then Tukey's test between all cells.

    Args:
        cells: figures by (system, set); every system in every set, lengths may differ.

    Raises:
        ModuleNotFoundError: without the `stats` extra.
        ValueError: a combination is missing, or a cell is empty or holds NaN.
    """
    formula, anova = _library("statsmodels.formula.api"), _library("statsmodels.stats.anova")
    values = _groups({", ".join(cell): figures for cell, figures in cells.items()})
    systems, sets = ({cell[axis] for cell in cells} for axis in (0, 1))
    missing = sorted({(a, b) for a in systems for b in sets} - set(cells))
    if missing or min(len(systems), len(sets)) < 2:
        raise ValueError(f"two systems and two sets at least, each in each; missing: {missing}")
    repeats = [column.size for column in values.values()]
    table = {"value": np.concatenate(list(values.values()))}
    for axis, name in enumerate(("system", "set")):
        table[name] = np.repeat([cell[axis] for cell in cells], repeats)
    rows = anova.anova_lm(formula.ols("value ~ C(system) * C(set)", data=table).fit(), typ=2)
    system, of_set, interaction = (
        Effect(float(row.F), float(row.df), float(row["PR(>F)"])) for _, row in rows.iloc[:3].iterrows()
    )
    tukey = _library("scipy.stats").tukey_hsd(*values.values())
    return TwoWayTest(system, of_set, interaction, _pairs(list(values), tukey.pvalue))


def _library(name: str) -> Any:
    """A module of the `stats` extra."""
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'this test needs {name}; pip install "msformers[stats]"') from error


def _groups(groups: Mapping[str, npt.ArrayLike], at_least: int = 2) -> dict[str, FloatArray]:
    values = {name: np.asarray(figures, dtype=np.float64).ravel() for name, figures in groups.items()}
    if len(values) < at_least:
        raise ValueError(f"{len(values)} systems; at least {at_least} are needed")
    for name, figures in values.items():
        if not figures.size or np.isnan(figures).any():
            raise ValueError(
                f"{name}: {int(np.isnan(figures).sum())} of {figures.size} figures are NaN; none may be"
            )
    return values


def _pairs(names: Sequence[str], p_values: FloatArray) -> tuple[PairTest, ...]:
    pairs = combinations(range(len(names)), 2)
    return tuple(PairTest(names[a], names[b], float(p_values[a, b])) for a, b in pairs)


def paired_comparison(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    groups: Sequence[object] | None = None,
) -> PairedComparison:
    """Compare two systems by their figures on the same queries, such as two results of `hits_at_k`.

    The interval is the paired bootstrap of the mean difference. The p-value is two-sided, from randomly exchanging the two
    systems per query (`scipy.stats.permutation_test`), which assumes no distribution.

    Args:
        first, second: one figure per query, same order, shape (n,).
        groups: one label per query (the molecule); whole groups are then drawn and exchanged.

    Raises:
        ModuleNotFoundError: without the `metrics` extra.
        ValueError: if the lengths differ or nothing is given.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(
            f"first {left.shape} and second {right.shape} must be flat and hold the same queries"
        )
    difference = bootstrap_interval(left - right, confidence, resamples, seed, groups)
    return PairedComparison(difference, _permutation_p(left - right, resamples, seed, groups))


def _permutation_p(gaps: FloatArray, resamples: int, seed: int, groups: Sequence[object] | None) -> float:
    try:
        from scipy.stats import permutation_test
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the permutation test needs scipy; pip install "msformers[metrics]"'
        ) from error
    if groups is not None:
        # Exchanging a whole group flips the sign of its summed difference; the factor 1/n does not change a p-value.
        gaps = np.bincount(np.unique([str(g) for g in groups], return_inverse=True)[1], weights=gaps).astype(
            np.float64
        )
    halves = (gaps / 2, -gaps / 2)
    result = permutation_test(
        halves,
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // max(1, gaps.size)),
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)
