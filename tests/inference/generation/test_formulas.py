"""Formulas of a mass: against brute force, against the formulas of real molecules, and what cannot be asked."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from msformers.inference.generation.formulas import (
    FormulaLimitError,
    double_bond_equivalents,
    formula_counts,
    formula_elements,
    formula_masses,
    formulas_within,
    golden,
)
from msformers.spectra.masses import FormulaError, formula_mass, parse_formula

COMMON = ("C", "H", "N", "O", "P", "S", "F", "Cl", "Br", "I")


def window(mass: float, ppm: float = 10.0) -> tuple[float, float]:
    return mass * (1 - ppm * 1e-6), mass * (1 + ppm * 1e-6)


def brute_force(low: float, high: float, elements: tuple[str, ...]) -> set[tuple[int, ...]]:
    """Every composition by nested counting, then the rules."""
    order = formula_elements()
    others = [name for name in order if name in elements and name not in "CH"]
    masses = {name: formula_mass(name) for name in order}
    rows = []
    for counts in itertools.product(*(range(int(high / masses[name]) + 1) for name in others)):
        rest = sum(count * masses[name] for count, name in zip(counts, others, strict=True))
        for carbon in range(1, max(0, int((high - rest) / 12)) + 1):
            hydrogen = round((low + high) / 2 - rest - 12 * carbon)
            for h in range(max(hydrogen - 2, 0), hydrogen + 2):
                if low <= rest + 12 * carbon + h * masses["H"] <= high:
                    found = {"C": carbon, "H": h, **dict(zip(others, counts, strict=True))}
                    rows.append([found.get(name, 0) for name in order])
    counts_ = np.array(rows, dtype=np.int64).reshape(-1, len(order))
    distinct = (counts_[:, 4:] > 0).sum(axis=1) <= 3
    return set(map(tuple, counts_[golden(counts_) & distinct].tolist()))


@pytest.mark.parametrize("mass", [46.0419, 89.0477, 151.0633, 180.0634])
def test_finds_what_brute_force_finds(mass: float) -> None:
    low, high = window(mass, 80.0)
    elements = ("C", "H", "N", "O", "S", "P", "F", "Cl")
    found = set(map(tuple, formulas_within(low, high, elements).tolist()))
    assert found == brute_force(low, high, elements)
    assert found


def test_every_formula_is_in_the_window_and_sorted() -> None:
    low, high = window(300.1)
    counts = formulas_within(low, high)
    masses = formula_masses(counts)
    assert len(counts) > 50 and (masses >= low - 1e-6).all() and (masses <= high + 1e-6).all()
    assert (np.diff(masses) >= 0).all()
    dbe = double_bond_equivalents(counts)
    assert (dbe >= 0).all() and (dbe % 1 == 0).all()
    assert len(np.unique(counts, axis=0)) == len(counts)


def test_ions_have_half_double_bond_equivalents() -> None:
    choline = formula_counts([parse_formula("C5H14NO")])[0].tolist()
    low, high = window(formula_mass("C5H14NO"))
    assert choline not in formulas_within(low, high).tolist()
    assert choline in formulas_within(low, high, half=True).tolist()


def test_rules_keep_the_formulas_of_real_molecules(shared: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(shared / "data" / "molecules.parquet", columns=["smiles", "formula"]).to_pydict()
    rows = []
    for smiles, formula in list(zip(table["smiles"], table["formula"], strict=True))[::90]:
        if "." not in smiles and not formula.rstrip("0123456789").endswith(("+", "-")):
            try:
                rows.append(parse_formula(formula))
            except FormulaError:
                continue
    counts = formula_counts(rows)
    kept = golden(counts) & ((counts[:, 4:] > 0).sum(axis=1) <= 3)
    assert len(rows) > 7_000
    assert kept.mean() >= 0.995


def test_finds_a_real_formula_by_its_mass() -> None:
    for formula in ("C8H10N4O2", "C27H44O7", "C12H9ClF3N3OS", "C6H18OSi2", "C2H5BrO", "C21H39N7O12"):
        found = formulas_within(*window(formula_mass(formula), 5.0))
        assert formula_counts([parse_formula(formula)])[0].tolist() in found.tolist(), formula


def test_is_fast_once_the_tables_are_made() -> None:
    formulas_within(*window(500.2), COMMON)
    start = time.process_time()
    for _ in range(5):
        found = formulas_within(*window(500.2), COMMON)
    assert len(found) > 100
    assert (time.process_time() - start) / 5 < 0.05


def test_only_the_elements_asked_for() -> None:
    counts = formulas_within(*window(180.0634, 20.0), ("O",))
    assert counts.tolist() == formula_counts([parse_formula("C6H12O6")]).tolist()


@pytest.mark.parametrize("bounds", [(10.0, 5.0), (-1.0, 5.0), (3000.0, 3001.0), (float("nan"), 5.0)])
def test_impossible_windows_are_named(bounds: tuple[float, float]) -> None:
    with pytest.raises(FormulaLimitError, match=r"mass window .* Da must be ascending"):
        formulas_within(*bounds)


def test_unknown_elements_are_named() -> None:
    with pytest.raises(FormulaLimitError, match="'Na' is not among C H N O"):
        formulas_within(100.0, 101.0, ("C", "Na"))
    with pytest.raises(FormulaLimitError, match="'Fe'"):
        formula_counts([{"C": 2, "Fe": 1}])


def test_no_formula_weighs_thirteen_and_a_half() -> None:
    assert formulas_within(13.4, 13.6).shape == (0, len(formula_elements()))
