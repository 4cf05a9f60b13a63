"""What the molecules of one spectrum may be: the formulas that its precursor or its user allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...spectra.masses import parse_formula
from ..retrieval.precursor import Ion, Reading
from .formulas import (
    Counts,
    double_bond_equivalents,
    formula_counts,
    formula_elements,
    formulas_within,
)

DEFAULT_ELEMENTS = ("C", "H", "N", "O", "F", "P", "S", "Cl", "Br", "I")
"""Elements of the formulas of a mass; Si, B and Se can be asked for."""
LARGEST = 1200.0
"""Largest mass in Da that restricts molecules. At 10 ppm 200,000 formulas have it, at 1500 Da a million: a search among them
takes minutes and gigabytes, and tells little."""


@dataclass(frozen=True, slots=True, eq=False)
class MassTarget:
    """Formulas that a finished molecule may have.

    Attributes:
        counts: (n, elements) int64, columns as `formula_elements`.
        charges: (n,) int64, the formal charge the molecule has with that formula: 0 unless the ion is the molecule itself.
        windows: neutral masses (low, high) in Da they were made from; empty for a formula of the user.
        reason: why there is no formula, else "".
    """

    counts: Counts
    charges: Counts
    windows: tuple[tuple[float, float], ...] = ()
    reason: str = ""

    @classmethod
    def from_formula(cls, formula: str) -> MassTarget:
        """The target of one known formula of the neutral molecule.

        Raises:
            FormulaError: the text is no formula.
            FormulaLimitError: it holds an element that is not generated.
        """
        counts = formula_counts([parse_formula(formula)])
        odd = bool(double_bond_equivalents(counts)[0] % 1)
        charges = [1, -1] if odd else [0]
        return cls(np.repeat(counts, len(charges), axis=0), np.array(charges, dtype=np.int64))

    @classmethod
    def from_windows(
        cls, windows: Sequence[tuple[float, float]], elements: Sequence[str] | None = None
    ) -> MassTarget:
        """The target of neutral, uncharged molecules within mass windows (low, high) in Da.

        Raises:
            FormulaLimitError: an element is not among `formula_elements`.
        """
        found = [_window_rows(low, high, elements, 0) for low, high in windows]
        return cls._joined(found, tuple(windows))

    @classmethod
    def from_reading(
        cls, reading: Reading, formula: str | None = None, elements: Sequence[str] | None = None
    ) -> MassTarget | None:
        """The target of a spectrum, or None if neither its precursor nor a formula restricts it.

        Args:
            reading: of its precursor; every adduct counts, and the molecule holds the atoms that the adduct loses.
            formula: of the neutral molecule if it is known; then the precursor does not matter.
            elements: of the formulas of a mass, `DEFAULT_ELEMENTS` if not given.

        Raises:
            FormulaError: `formula` is none.
            FormulaLimitError: an element is not generated.
        """
        if formula is not None:
            return cls.from_formula(formula)
        if not reading.ions:
            return None
        windows = tuple((ion.low, ion.high) for ion in reading.ions)
        return cls._joined([_ion_rows(ion, elements) for ion in reading.ions], windows)

    @classmethod
    def _joined(
        cls, found: Sequence[tuple[Counts, Counts]], windows: tuple[tuple[float, float], ...]
    ) -> MassTarget:
        counts = np.concatenate([counts for counts, _ in found]) if found else formula_counts([])
        charges = np.concatenate([charges for _, charges in found]) if found else np.zeros(0, dtype=np.int64)
        both = np.unique(np.column_stack([counts, charges]), axis=0)
        reason = ""
        if not len(both):
            said = ", ".join(f"{low:.4f} to {high:.4f}" for low, high in windows)
            beyond, remedy = "", "check precursor m/z and adduct, or widen the tolerance"
            if any(high > LARGEST for _, high in windows):
                beyond = f", beyond {LARGEST:g} Da, where too many have it"
                remedy = "give the formula, or do not restrict the mass"
            reason = f"no formula is listed for a neutral mass of {said} Da{beyond}; {remedy}"
        return cls(both[:, :-1], both[:, -1], windows, reason)

    def limited(self, elements: Sequence[str]) -> MassTarget:
        """The same without the formulas that hold other elements than these and hydrogen."""
        known = {*elements, "H"}
        others = [place for place, name in enumerate(formula_elements()) if name not in known]
        kept = ~self.counts[:, others].any(axis=1)
        if kept.all():
            return self
        missing = [formula_elements()[place] for place in others if self.counts[:, place].any()]
        reason = "" if kept.any() else f"the model's vocabulary has no {', '.join(missing)}"
        return MassTarget(self.counts[kept], self.charges[kept], self.windows, self.reason or reason)


def _ion_rows(ion: Ion, elements: Sequence[str] | None) -> tuple[Counts, Counts]:
    adduct = ion.adduct
    bare = not adduct.composition and adduct.multiplicity == 1
    counts, charges = _window_rows(ion.low, ion.high, elements, adduct.charge if bare else 0)
    lost = {symbol: -count for symbol, count in adduct.composition if count < 0}
    names = formula_elements()
    if set(lost) - set(names):
        return counts[:0], charges[:0]
    needed = np.array([lost.get(name, 0) for name in names])
    kept = (counts * adduct.multiplicity >= needed).all(axis=1)
    return counts[kept], charges[kept]


def _window_rows(
    low: float, high: float, elements: Sequence[str] | None, charge: int
) -> tuple[Counts, Counts]:
    """Formulas of a window with their charges; the molecule may carry `charge` itself where valences ask for it."""
    if high <= 0.0 or high > LARGEST:
        return formula_counts([]), np.zeros(0, dtype=np.int64)
    chosen = DEFAULT_ELEMENTS if elements is None else elements
    counts = formulas_within(max(low, 0.0), high, chosen, half=charge != 0)
    odd = double_bond_equivalents(counts) % 1 != 0
    if charge % 2:
        return counts, np.where(odd, charge, 0)
    if charge == 0:
        return counts, np.zeros(len(counts), dtype=np.int64)
    even = counts[~odd]
    return np.concatenate([even, even]), np.repeat(np.array([0, charge]), len(even))
