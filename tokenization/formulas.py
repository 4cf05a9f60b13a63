"""What peaks can be made of: heavy-atom compositions by mass, and the base of extractors that look peaks up in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..spectra.masses import ELECTRON_MASS, formula_mass
from .spectrum import PeakList, SpectrumFeatureExtractor

ADDUCTS = (
    *("[M+H]+", "[M-H]-", "[M]+", "[M+CH3COO]-", "[M+HCOO]-", "[M+Na]+"),
    *("[M-2H]-", "[M-H2O+H]+", "[M+NH4]+"),
)
N_BINS, N_PRECURSOR_BINS, PRECURSOR_BIN = 1005, 60, 20.0
N_CONTEXT = 3 + len(ADDUCTS) + 2 + N_PRECURSOR_BINS  # polarity, adduct, precursor m/z

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FormulaTable:
    """Heavy-atom compositions with every number of hydrogens they may carry, sorted by mass.

    Attributes:
        mass: neutral mass in Da, float64 (n,).
        composition: index into the vocabulary, int64 (n,). hydrogens: int64 (n,).
        prior: logarithm of how often the composition occurs, less a penalty for unusual hydrogen counts.
    """

    mass: Floats
    composition: npt.NDArray[np.int64]
    hydrogens: npt.NDArray[np.int64]
    prior: Floats

    @classmethod
    def build(cls, fragments: Sequence[Sequence[Any]], extra_hydrogens: int = 3) -> FormulaTable:
        """Expand rows (composition such as "C6NO", least H, most H, occurrences)."""
        hydrogen = formula_mass("H")
        mass, composition, hydrogens, prior = [], [], [], []
        for index, (text, least, most, count) in enumerate(fragments):
            heavy = formula_mass(text)
            for h in range(max(0, least - extra_hydrogens), most + extra_hydrogens + 1):
                mass.append(heavy + h * hydrogen)
                composition.append(index)
                hydrogens.append(h)
                prior.append(np.log(count) - 0.7 * max(0, least - h, h - most))
        order = np.argsort(mass, kind="stable")
        rows, hs = (np.array(values, dtype=np.int64)[order] for values in (composition, hydrogens))
        return cls(np.array(mass)[order], rows, hs, np.array(prior)[order])

    def look_up(self, mass: Floats, tolerance: Floats, width: Floats, most: int = 3) -> tuple[Any, Any, Any]:
        """Compositions that masses can have.

        Args:
            mass: neutral masses in Da (n,). tolerance: largest deviation in Da (n,).
            width: standard deviation in Da (n,) of the measurement. most: compositions kept per mass.

        Returns:
            (place in `mass`, row of this table, weight); the weights of one mass sum to 1.
        """
        first, last = (np.searchsorted(self.mass, mass + sign * tolerance) for sign in (-1, 1))
        counts = last - first
        place = np.repeat(np.arange(len(mass)), counts)
        starts = np.cumsum(counts) - counts
        entry = np.repeat(first - starts, counts) + np.arange(counts.sum())
        score = self.prior[entry] - 0.5 * ((self.mass[entry] - mass[place]) / width[place]) ** 2
        order = np.lexsort((-score, place))
        kept = order[np.arange(len(order)) - starts[place] < most]
        place, entry, score = place[kept], entry[kept], score[kept]
        best = np.full(len(mass), -np.inf)
        np.maximum.at(best, place, score)
        weight = np.exp(score - best[place])
        total = np.bincount(place, weight, minlength=len(mass))
        return place, entry, weight / total[place]


class FormulaFeatureExtractor(SpectrumFeatureExtractor):
    """An extractor that knows which formulas a mass can have.

    Args:
        n_highest_peaks: keep this many of the most intense peaks.
        fragments: vocabulary rows (heavy-atom composition, least H, most H, occurrences), see
            ``training_scripts/build_fragments.py``.
        ppm: tolerance of accurate-mass peaks, at least `least_tolerance` Da. unit_tolerance: of the others, in Da.
    """

    def __init__(
        self,
        n_highest_peaks: int | None = 60,
        fragments: Sequence[Sequence[Any]] = (),
        ppm: float = 10.0,
        least_tolerance: float = 0.0015,
        unit_tolerance: float = 0.35,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_highest_peaks, **kwargs)
        self.fragments = [list(row) for row in fragments]
        self.ppm, self.least_tolerance, self.unit_tolerance = ppm, least_tolerance, unit_tolerance

    @cached_property
    def table(self) -> FormulaTable:
        """The vocabulary by mass."""
        return FormulaTable.build(self.fragments)

    def to_dict(self) -> dict[str, Any]:
        """Settings as saved, without the table built from them."""
        return {key: value for key, value in super().to_dict().items() if key != "table"}

    def formulas(self, mass: Floats, ppm: float, unit_resolution: bool) -> tuple[Any, Any, Any]:
        """Formulas that neutral masses (n,) in Da can have: (place, row of `table`, weight)."""
        if unit_resolution:
            tolerance = np.full(len(mass), self.unit_tolerance)
            return self.table.look_up(mass, tolerance, np.full(len(mass), 0.2))
        tolerance = np.maximum(mass * ppm * 1e-6, self.least_tolerance)
        return self.table.look_up(mass, tolerance, tolerance / 2.5)


def electron_mass(ion_mode: str | None) -> float:
    """What to add to the m/z of a singly charged ion for the mass of its atoms, in Da."""
    return {"positive": ELECTRON_MASS, "negative": -ELECTRON_MASS}.get(str(ion_mode), 0.0)


def context_tokens(peaks: PeakList) -> npt.NDArray[np.int64]:
    """Polarity, adduct and coarse precursor m/z as three token offsets; unknown ones have tokens of their own."""
    mode = {"positive": 1, "negative": 2}.get(str(peaks.ion_mode), 0)
    known = ADDUCTS.index(peaks.adduct) if peaks.adduct in ADDUCTS else len(ADDUCTS)
    adduct = len(ADDUCTS) + 1 if peaks.adduct is None else known
    width = 0 if peaks.precursor_mz is None else int(peaks.precursor_mz / PRECURSOR_BIN)
    return np.array([mode, 3 + adduct, 3 + len(ADDUCTS) + 2 + min(width, N_PRECURSOR_BINS - 1)])
