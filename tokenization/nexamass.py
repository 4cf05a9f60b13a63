"""Spectra to the eight numbers per peak of NexaMass, and, if asked, what each peak can be made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .formulas import N_BINS, N_CONTEXT, FormulaFeatureExtractor, context_tokens, electron_mass
from .spectrum import PeakList, relative, trim

N_FEATURES = 8
MOST_FORMULAS = 3
WIDTH = 2 + 2 * MOST_FORMULAS
"""Annotations per peak: its unit bin, that of its loss, formulas of the peak, formulas of the loss."""

Floats = npt.NDArray[np.float64]


class NexaMassFeatureExtractor(FormulaFeatureExtractor):
    """Spectra to `features` float32 (batch, N, 8) besides `peaks` and `attention_mask`; peaks sorted by m/z.

    Features of a peak (nexamass.md §3; the model card is silent): m/z / 1000, fractional part of the m/z, relative
    intensity r, √r, log(1 + 1000 r) / log 1001, (precursor m/z − m/z) / 1000, rank of the intensity / 256 (0 = base peak),
    precursor m/z / 1000. Without precursor m/z the sixth and the eighth are 0.

    With a vocabulary, also `annotation_ids` int64 and `annotation_weights` float32 (batch, N, 8): unit bins and possible
    compositions of each peak and of its loss from the precursor; 0 = none; and `context_ids` int64 (batch, 3): polarity,
    adduct, coarse precursor m/z.

    Args:
        n_highest_peaks: keep this many of the most intense peaks.
        fragments: vocabulary as in `FormulaFeatureExtractor`, as are the other settings; empty = none, as published.
    """

    model_input_names: ClassVar[list[str]] = ["peaks", "attention_mask", "features"]

    def __init__(
        self, n_highest_peaks: int | None = 256, fragments: Sequence[Sequence[Any]] = (), **kwargs: Any
    ) -> None:
        super().__init__(n_highest_peaks, fragments, **kwargs)

    @property
    def annotation_size(self) -> int:
        """Number of annotation tokens, filler included; 0 without a vocabulary."""
        return 1 + 2 * N_BINS + 2 * len(self.fragments) if self.fragments else 0

    @property
    def context_size(self) -> int:
        """Number of context tokens; 0 without a vocabulary."""
        return N_CONTEXT if self.fragments else 0

    def batch(self, peak_lists: Sequence[PeakList]) -> dict[str, Any]:
        """Padded peaks, features and annotations."""
        kept = [self._kept(peaks) for peaks in peak_lists]
        arrays = super().batch(kept)
        shape = arrays["peaks"].shape[:2]
        arrays["features"] = np.zeros((*shape, N_FEATURES), dtype=np.float32)
        for row, peaks in zip(arrays["features"], kept, strict=True):
            row[: len(peaks.mz)] = self.features(peaks)
        if not self.fragments:
            return arrays
        arrays["annotation_ids"] = np.zeros((*shape, WIDTH), dtype=np.int64)
        arrays["annotation_weights"] = np.zeros((*shape, WIDTH), dtype=np.float32)
        for place, peaks in enumerate(kept):
            ids, weights = self.annotations(peaks)
            arrays["annotation_ids"][place, : len(ids)] = ids
            arrays["annotation_weights"][place, : len(ids)] = weights
        arrays["context_ids"] = np.stack([context_tokens(peaks) for peaks in kept])
        return arrays

    def _kept(self, peaks: PeakList) -> PeakList:
        mz, intensity = trim(peaks.mz, peaks.intensity, self.n_highest_peaks)
        order = np.argsort(mz, kind="stable")
        return replace(peaks, mz=mz[order], intensity=intensity[order])

    def features(self, peaks: PeakList) -> Floats:
        """The eight numbers of each peak, (n, 8)."""
        mz, share = peaks.mz, relative(peaks.intensity)
        rank = np.empty(len(mz))
        rank[np.argsort(-share, kind="stable")] = np.arange(len(mz))
        precursor = peaks.precursor_mz
        loss = np.zeros(len(mz)) if precursor is None else (precursor - mz) / 1000
        columns = (
            *(mz / 1000, mz - np.floor(mz), share, np.sqrt(share), np.log1p(1000 * share) / np.log(1001)),
            *(loss, rank / 256, np.full(len(mz), (precursor or 0.0) / 1000)),
        )
        return np.stack(columns, axis=1)

    def annotations(self, peaks: PeakList) -> tuple[npt.NDArray[np.int64], Floats]:
        """Annotation tokens and weights (n, 8) of each peak; the weights of the formulas of one mass sum to 1."""
        mz, precursor = peaks.mz, peaks.precursor_mz
        loss = np.full(len(mz), -1.0) if precursor is None else precursor - mz
        ids = np.zeros((len(mz), WIDTH), dtype=np.int64)
        weights = np.zeros(ids.shape)
        for column, mass in enumerate((np.floor(mz), np.rint(loss))):
            seen = (mass < N_BINS) & ((column == 0) | (loss > 0))
            ids[seen, column] = 1 + column * N_BINS + mass[seen].astype(np.int64)
            weights[seen, column] = 1.0
        sources = ((mz + electron_mass(peaks.ion_mode), self.ppm), (loss, 1.5 * self.ppm))
        for number, (mass, ppm) in enumerate(sources):
            valid = np.flatnonzero(mass > 10)
            place, entry, share = self.formulas(mass[valid], ppm, peaks.unit_resolution)
            column = 2 + number * MOST_FORMULAS + np.arange(len(place)) - np.searchsorted(place, place)
            first = 1 + 2 * N_BINS + number * len(self.fragments)
            ids[valid[place], column] = first + self.table.composition[entry]
            weights[valid[place], column] = share
        return ids, weights
