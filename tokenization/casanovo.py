"""Preparation of spectra for Casanovo, as casanovo 4.x and 5.x do it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .spectrum import PeakList, SpectrumFeatureExtractor

VERSIONS = ("4", "5")
MAX_CHARGE = {"4": 10, "5": 4}
# masses of the published programs: of a proton in the precursor's mass, and of a hydrogen where its peaks are removed
PROTON, HYDROGEN = 1.007276, 1.007825

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]


class CasanovoFeatureExtractor(SpectrumFeatureExtractor):
    """Spectra to `peaks` and `attention_mask`, and `precursors` (batch, 3) float32: neutral mass in Da, charge, m/z.

    Peaks outside `min_mz` to `max_mz` and near the precursor (in every charge state up to its own) go; the most intense
    are kept, without those at or below `min_intensity` of the base peak; intensities are square roots, of norm 1. Version 4
    takes the root after the intensity filter, version 5 before it. A spectrum with too few peaks left is an error in
    version 5; in version 4 one without any becomes the single peak of m/z 0 and intensity 1.

    Args:
        version: "4" or "5", of the program the weights are from.
        n_highest_peaks: most peaks kept.
        min_peaks: fewest peaks that are worth it (version 5).
        min_mz, max_mz: range of m/z kept, in Th, ends included.
        min_intensity: share of the base peak.
        remove_precursor_tol: peaks removed on each side of the precursor, in Th.
        max_charge: highest charge known; None for 10 (version 4) or 4 (version 5).

    Raises:
        ValueError: an argument is out of range.
    """

    model_input_names: ClassVar[list[str]] = ["peaks", "attention_mask", "precursors"]

    def __init__(
        self,
        version: str = "5",
        n_highest_peaks: int = 150,
        min_peaks: int = 20,
        min_mz: float = 50.0,
        max_mz: float = 2500.0,
        min_intensity: float = 0.01,
        remove_precursor_tol: float = 2.0,
        max_charge: int | None = None,
        **kwargs: Any,
    ) -> None:
        if version not in VERSIONS:
            raise ValueError(f"version must be one of {', '.join(VERSIONS)}, got {version!r}")
        super().__init__(n_highest_peaks=n_highest_peaks, **kwargs)
        self.version = version
        self.min_peaks = min_peaks
        self.min_mz, self.max_mz = min_mz, max_mz
        self.min_intensity = min_intensity
        self.remove_precursor_tol = remove_precursor_tol
        self.max_charge = max_charge or MAX_CHARGE[version]

    def batch(self, peak_lists: Sequence[PeakList]) -> dict[str, Any]:
        """Padded peaks, and the precursors."""
        precursors = [self.precursor(peaks) for peaks in peak_lists]
        stacked = np.array(precursors, dtype=np.float32).reshape(-1, 3)
        return super().batch(peak_lists) | {"precursors": stacked}

    def precursor(self, peaks: PeakList) -> Singles:
        """Neutral mass, charge and m/z (3,), the mass in float32 steps as the published programs compute it.

        Raises:
            ValueError: the precursor m/z or the charge is missing, or the charge is negative or too high.
        """
        mz, charge = self._known(peaks)
        single = np.float32(mz)
        mass = (single - np.float32(PROTON)) * np.float32(charge)
        return np.array([mass, charge, single], dtype=np.float32)

    def tokens(self, peaks: PeakList) -> Singles:
        """Peaks (n, 2) of one spectrum in the order of m/z.

        Raises:
            ValueError: as `precursor`; in version 5 also, fewer than `min_peaks` are left.
        """
        precursor_mz, charge = self._known(peaks)
        order = np.argsort(peaks.mz, kind="stable")
        mz, intensity = peaks.mz[order], peaks.intensity[order].astype(np.float32)
        kept = (mz >= self.min_mz) & (mz <= self.max_mz)
        kept &= ~near_precursor(mz, precursor_mz, charge, self.remove_precursor_tol)
        mz, intensity = mz[kept], intensity[kept]
        if self.version == "5":
            intensity = rooted(intensity)
        highest = self.highest(intensity)
        mz, intensity = mz[highest], intensity[highest]
        if self.version == "4":
            if not len(mz):
                return np.array([[0.0, 1.0]], dtype=np.float32)
            intensity = rooted(intensity)
        elif len(mz) < max(self.min_peaks, 1):
            raise ValueError(
                f"{peaks.name}: {len(mz)} of {len(peaks.mz)} peaks are left within m/z {self.min_mz:g} to {self.max_mz:g}, "
                f"away from the precursor and above the noise; Casanovo needs {max(self.min_peaks, 1)}"
            )
        return np.stack([mz, intensity / np.linalg.norm(intensity)], axis=1).astype(np.float32)

    def highest(self, intensity: Singles) -> npt.NDArray[np.int64]:
        """Places of the peaks to keep, ascending."""
        order = np.argsort(intensity, kind="stable")[-(self.n_highest_peaks or len(intensity)) :]
        least = self.min_intensity * float(intensity.max(initial=0.0))
        return np.sort(order[intensity[order].astype(np.float64) > least])

    def _known(self, peaks: PeakList) -> tuple[float, int]:
        """Precursor m/z and charge, checked."""
        if peaks.precursor_mz is None:
            raise ValueError(f"{peaks.name}: precursor_mz is missing; Casanovo needs it, add it")
        if peaks.ion_mode == "negative" or (peaks.charge or 0) < 0:
            raise ValueError(f"{peaks.name}: a negative ion; Casanovo reads positive ones only")
        if peaks.charge is None:
            raise ValueError(f"{peaks.name}: charge is missing; Casanovo needs the precursor's, add it")
        if peaks.charge > self.max_charge:
            raise ValueError(
                f"{peaks.name}: charge {peaks.charge} is above the highest this model knows, {self.max_charge}"
            )
        return peaks.precursor_mz, peaks.charge


def near_precursor(mz: Floats, precursor_mz: float, charge: int, tolerance: float) -> npt.NDArray[np.bool_]:
    """Which m/z (n,) are within `tolerance` Th of the precursor in its own or a lower charge state."""
    states = (precursor_mz - HYDROGEN) * charge / np.arange(charge, 0, -1) + HYDROGEN
    near: npt.NDArray[np.bool_] = np.abs(mz[:, None] - states) <= tolerance
    return np.any(near, axis=1)


def rooted(intensity: Singles) -> Singles:
    """Square roots relative to the highest, each step in float64 and kept in float32."""
    if not len(intensity):
        return intensity
    root = np.sqrt(intensity.astype(np.float64)).astype(np.float32)
    base = float(root.max())
    return (root.astype(np.float64) / base).astype(np.float32) if base > 0 else root
