"""Molecular formulas within a mass window, by the Seven Golden Rules (Kind & Fiehn 2007, doi:10.1186/1471-2105-8-105).

Used are rule 1 (most atoms of an element by mass), rule 2 (valences: double-bond equivalents a whole number of at least
0), rule 4 (hydrogens per carbon, with halogens counted as the hydrogens they stand for), rule 5 (other elements per
carbon, the range of 99.7 % of their molecules) and rule 6 (several hetero elements at once). Rules 3 and 7 need isotope
patterns and a derivative's chemistry. The limits are in formula_limits.csv; those of I, B and Se are not in the paper.
Formulas without carbon are not made.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...spectra.masses import monoisotopic_masses

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MAX_MASS = 2000.0
"""Largest mass in Da of which formulas are listed; beyond it there are too many to tell anything."""
_STEP = 100.0
_HYDROGENS = (0.2, 3.1)
_DISTINCT = 3


class FormulaLimitError(ValueError):
    """A mass window or element set of which no formulas can be listed; says which and why."""


class _Limit(NamedTuple):
    valence: int
    per_carbon: float
    most: tuple[int, ...]


@cache
def _limits() -> dict[str, _Limit]:
    text = (resources.files(__package__) / "formula_limits.csv").read_text(encoding="utf-8")
    return {
        row["element"]: _Limit(
            int(row["valence"]),
            float(row["per_carbon"] or "inf"),
            tuple(int(row[f"most_{mass}"]) for mass in (500, 1000, 2000)),
        )
        for row in csv.DictReader(text.splitlines())
    }


@cache
def formula_elements() -> tuple[str, ...]:
    """The elements formulas may hold, in the order of the columns of every count array here: C, H, N, O, then others."""
    return tuple(_limits())


def formula_valences() -> dict[str, int]:
    """The usual valence of each of `formula_elements`, by which double-bond equivalents are counted."""
    return {name: limit.valence for name, limit in _limits().items()}


def _most(element: str, mass: float) -> int:
    return _limits()[element].most[0 if mass < 500 else 1 if mass < 1000 else 2]


def formula_counts(formulas: Iterable[dict[str, int]]) -> Counts:
    """(n, elements) counts of parsed formulas, in the order of `formula_elements`.

    Raises:
        FormulaLimitError: a formula holds another element.
    """
    rows = []
    for counts in formulas:
        strange = [element for element in counts if element not in formula_elements()]
        if strange:
            known = " ".join(formula_elements())
            raise FormulaLimitError(f"element {strange[0]!r} is not among {known}; leave the formula out")
        rows.append([counts.get(element, 0) for element in formula_elements()])
    return np.array(rows, dtype=np.int64).reshape(-1, len(formula_elements()))


def formula_masses(counts: Counts) -> Floats:
    """(n,) monoisotopic masses in Da of rows of counts."""
    masses = monoisotopic_masses()
    return counts @ np.array([masses[element] for element in formula_elements()])


def double_bond_equivalents(counts: Counts) -> Floats:
    """(n,) rings and double bonds by the usual valences; half-integers for ions and radicals."""
    valences = np.array([limit.valence for limit in _limits().values()])
    return 1.0 + (counts @ (valences - 2)) / 2.0


def golden(counts: Counts, *, half: bool = False) -> npt.NDArray[np.bool_]:
    """(n,) whether formulas keep the rules named above.

    Args:
        counts: (n, elements) as `formula_counts`.
        half: also take half-integer double-bond equivalents (from -0.5): ions that are charged without a proton.
    """
    names = formula_elements()
    column = {name: counts[:, place] for place, name in enumerate(names)}
    carbon = column["C"]
    mass = formula_masses(counts)
    dbe = double_bond_equivalents(counts)
    kept = (carbon > 0) & (dbe >= (-0.5 if half else 0.0)) & (half | (dbe % 1 == 0))
    group = np.searchsorted([500.0, 1000.0], mass, side="right")
    for place, (name, limit) in enumerate(_limits().items()):
        kept &= counts[:, place] <= np.array(limit.most)[group]
        if name not in "CH":
            kept &= counts[:, place] <= limit.per_carbon * carbon + 1.0
    hydrogens = sum((column[name] for name in ("F", "Cl", "Br", "I")), start=column["H"])
    few, many = _HYDROGENS
    kept &= (hydrogens >= few * carbon) & (hydrogens <= many * carbon + 1.0)
    return kept & _together(column["N"], column["O"], column["P"], column["S"])


def _together(n: Counts, o: Counts, p: Counts, s: Counts) -> npt.NDArray[np.bool_]:
    """Rule 6: how many atoms there may be of N, O, P and S where several of them are present in number."""
    return ~(
        ((np.minimum.reduce([n, o, p, s]) > 1) & ((n >= 10) | (o >= 20) | (p >= 4) | (s >= 3)))
        | ((np.minimum.reduce([n, o, p]) > 3) & ((n >= 11) | (o >= 22) | (p >= 6)))
        | ((np.minimum.reduce([o, p, s]) > 1) & ((o >= 14) | (p >= 3) | (s >= 3)))
        | ((np.minimum.reduce([p, s, n]) > 1) & ((p >= 3) | (s >= 3) | (n >= 4)))
        | ((np.minimum.reduce([n, o, s]) > 6) & ((n >= 19) | (o >= 14) | (s >= 8)))
    )


@lru_cache(maxsize=16)
def _others(limit: float, elements: tuple[str, ...]) -> tuple[Counts, Floats, Counts]:
    """Counts, mass and fewest carbons of every choice of the elements after C, H, N, O up to a mass, sorted by mass."""
    names, masses = formula_elements(), monoisotopic_masses()
    counts = np.zeros((1, len(names)), dtype=np.int64)
    mass, least = np.zeros(1), np.ones(1, dtype=np.int64)
    for place, name in enumerate(names[4:], start=4):
        if name not in elements:
            continue
        number = np.arange(_most(name, limit) + 1)
        carbons = np.ceil((number - 1.0) / _limits()[name].per_carbon).astype(np.int64)
        new_mass = (mass[:, None] + number * masses[name]).ravel()
        new_least = np.maximum(least[:, None], carbons).ravel()
        kept = np.flatnonzero(new_mass + 12.0 * new_least <= limit)
        counts = counts[kept // len(number)]
        counts[:, place] = number[kept % len(number)]
        kept_distinct = (counts > 0).sum(axis=1) <= _DISTINCT
        mass, least = new_mass[kept], new_least[kept]
        counts, mass, least = counts[kept_distinct], mass[kept_distinct], least[kept_distinct]
    order = np.argsort(mass, kind="stable")
    return counts[order], mass[order], least[order]


@lru_cache(maxsize=16)
def _skeletons(limit: float, elements: tuple[str, ...]) -> tuple[Floats, npt.NDArray[np.int16]]:
    """Mass and counts (C, H, N, O) of what C, H, N and O can contribute up to a mass, sorted by mass."""
    masses = monoisotopic_masses()
    nitrogen = np.arange(_most("N", limit) + 1) if "N" in elements else np.zeros(1, dtype=np.int64)
    oxygen = np.arange(_most("O", limit) + 1) if "O" in elements else np.zeros(1, dtype=np.int64)
    c, n, o = (
        a.ravel() for a in np.meshgrid(np.arange(1, int(limit / 12) + 1), nitrogen, oxygen, indexing="ij")
    )
    heavy = 12.0 * c + masses["N"] * n + masses["O"] * o
    kept = (heavy <= limit) & (n <= 1.3 * c + 1.0) & (o <= 1.2 * c + 1.0)
    c, n, o, heavy = c[kept], n[kept], o[kept], heavy[kept]
    hydrides = sum(
        (_limits()[name].valence - 2) * _most(name, limit) for name in ("Si", "P", "B") if name in elements
    )
    most = np.minimum(2 * c + n + 3 + hydrides, (_HYDROGENS[1] * c + 1.0).astype(np.int64))
    most = np.minimum(most, ((limit - heavy) / masses["H"]).astype(np.int64))
    rows = np.repeat(np.arange(len(c)), most + 1)
    h = np.arange(len(rows)) - np.repeat(np.cumsum(most + 1) - most - 1, most + 1)
    mass = heavy[rows] + h * masses["H"]
    order = np.argsort(mass, kind="stable")
    rows = rows[order]
    counts = np.stack([c[rows], h[order], n[rows], o[rows]], axis=1).astype(np.int16)
    return mass[order], counts


def formulas_within(
    low: float, high: float, elements: Sequence[str] | None = None, *, half: bool = False
) -> Counts:
    """All formulas of a mass window that keep the rules of this module.

    Args:
        low, high: neutral monoisotopic masses in Da, both ends included.
        elements: those allowed besides C and H; by default all of `formula_elements`.
        half: as in `golden`.

    Returns:
        (n, elements) counts in the order of `formula_elements`, sorted by mass; n may be 0.

    Raises:
        FormulaLimitError: the window is empty or beyond `MAX_MASS`, or an element is not known.
    """
    if not 0.0 <= low <= high <= MAX_MASS:
        raise FormulaLimitError(
            f"mass window {low:.4f} to {high:.4f} Da must be ascending and lie within 0 and {MAX_MASS:g} Da"
        )
    chosen = formula_elements() if elements is None else tuple(sorted({"C", "H", *elements}))
    strange = [element for element in chosen if element not in formula_elements()]
    if strange:
        raise FormulaLimitError(f"element {strange[0]!r} is not among {' '.join(formula_elements())}")
    limit = _STEP * np.ceil(high / _STEP)
    others, other_mass, least = _others(float(limit), chosen)
    mass, skeletons = _skeletons(float(limit), chosen)
    some = np.flatnonzero(other_mass + 12.0 * least <= high)
    first = np.searchsorted(mass, low - other_mass[some] - 1e-9, side="left")
    number = np.searchsorted(mass, high - other_mass[some] + 1e-9, side="right") - first
    other = np.repeat(some, number)
    start = np.cumsum(number) - number
    rows = np.repeat(first - start, number) + np.arange(number.sum())
    enough = skeletons[rows, 0] >= least[other]
    other, rows = other[enough], rows[enough]
    counts = others[other]
    counts[:, :4] = skeletons[rows]
    counts = counts[golden(counts, half=half)]
    return counts[np.argsort(formula_masses(counts), kind="stable")]
