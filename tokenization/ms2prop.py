"""Preparation of spectra for MS2Prop: m/z in bins of 0.1 Th."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .lsm1 import MAX_MZ, precursor_and_fragments
from .spectrum import PeakList, SpectrumFeatureExtractor

BINS_PER_TH = 10


class MS2PropFeatureExtractor(SpectrumFeatureExtractor):
    """Precursor and the most intense peaks in order of m/z, with `token_ids` int64 (batch, tokens).

    An id is the m/z rounded to 0.1 Th, in tenths: 0 to 10,000; padding has id 0. The intensity stays a number: peaks
    relative to the base peak, the precursor 2 (LSM1-MS2, Methods, "MS2Prop").

    Args:
        n_highest_peaks: fragments kept besides the precursor.
        max_mz: fragments above are dropped, a precursor above is an error; in Th, at most 1000.

    Raises:
        ValueError: `max_mz` is beyond the look-up table.
    """

    model_input_names: ClassVar[list[str]] = ["peaks", "attention_mask", "token_ids"]

    def __init__(self, n_highest_peaks: int | None = 64, max_mz: float = MAX_MZ, **kwargs: Any) -> None:
        super().__init__(n_highest_peaks=n_highest_peaks, **kwargs)
        if not 0 < max_mz <= MAX_MZ:
            raise ValueError(f"max_mz must be above 0 and at most {MAX_MZ:g} Th, got {max_mz}")
        self.max_mz = max_mz

    def batch(self, peak_lists: Sequence[PeakList]) -> dict[str, Any]:
        """Padded peaks, mask and ids."""
        rows = [precursor_and_fragments(p, self.n_highest_peaks, self.max_mz, "MS2Prop") for p in peak_lists]
        arrays = self.collate([row.astype(np.float32) for row in rows])
        arrays["token_ids"] = np.zeros(arrays["peaks"].shape[:2], dtype=np.int64)
        for target, row in zip(arrays["token_ids"], rows, strict=True):
            target[: len(row)] = np.rint(row[:, 0] * BINS_PER_TH)
        return arrays
