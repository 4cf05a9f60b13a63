"""Preparation of spectra for LSM1-MS2: every peak is three classes, and a quarter of the peaks is masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .spectrum import PeakList, SpectrumBatch, SpectrumFeatureExtractor, relative, trim

MAX_MZ = 1000.0
CLASSES = 1000
"""Classes of a peak in each of the three codebooks: 0 ... 999."""
PRECURSOR_INTENSITY = 2.0
"""Relative intensity of the precursor token: the preset 2,000 where the base peak is 1,000."""
PRECURSOR_ID = 1000
PAD_IDS = (1000, 1000, 1001)

Floats = npt.NDArray[np.float64]


class Lsm1FeatureExtractor(SpectrumFeatureExtractor):
    """Precursor and the most intense peaks in order of m/z, with `token_ids` int64 (batch, tokens, 3).

    The three ids of a token are its integer m/z, its fractional m/z in steps of 0.001 Th and its intensity, each 0 to 999
    (LSM1-MS2, Methods, "Tokenization"). Ids beyond 999 are no peak: intensity 1000 is the precursor, (1000, 1000, 1001)
    is padding. They are computed in float64, so they do not depend on the precision of `peaks`.

    Args:
        n_highest_peaks: fragments kept besides the precursor.
        max_mz: fragments above are dropped, a precursor above is an error; in Th, at most 1000.

    Raises:
        ValueError: `max_mz` is beyond what the codebook holds.
    """

    model_input_names: ClassVar[list[str]] = ["peaks", "attention_mask", "token_ids"]

    def __init__(self, n_highest_peaks: int | None = 64, max_mz: float = MAX_MZ, **kwargs: Any) -> None:
        super().__init__(n_highest_peaks=n_highest_peaks, **kwargs)
        if not 0 < max_mz <= MAX_MZ:
            raise ValueError(f"max_mz must be above 0 and at most {MAX_MZ:g} Th, got {max_mz}")
        self.max_mz = max_mz

    def batch(self, peak_lists: Sequence[PeakList]) -> dict[str, Any]:
        """Padded peaks, mask and ids."""
        rows = [precursor_and_fragments(p, self.n_highest_peaks, self.max_mz, "LSM1") for p in peak_lists]
        arrays = self.collate([row.astype(np.float32) for row in rows])
        arrays["token_ids"] = np.broadcast_to(np.array(PAD_IDS), (*arrays["peaks"].shape[:2], 3)).copy()
        for target, row in zip(arrays["token_ids"], rows, strict=True):
            target[: len(row)] = token_ids(row)
        return arrays


def precursor_and_fragments(peaks: PeakList, n_highest: int | None, max_mz: float, model: str) -> Floats:
    """Tokens (n + 1, 2) float64: the precursor with intensity 2, then fragments by m/z, base peak 1.

    Fragments above `max_mz` are dropped, then the `n_highest` most intense kept.

    Raises:
        ValueError: the precursor m/z is missing, or above `max_mz`.
    """
    if peaks.precursor_mz is None:
        raise ValueError(f"{peaks.name}: precursor_mz is missing; {model} starts from the precursor, add it")
    if peaks.precursor_mz > max_mz:
        raise ValueError(
            f"{peaks.name}: precursor_mz is {peaks.precursor_mz}, {model} reads up to {max_mz:g} Th; leave it out"
        )
    seen = peaks.mz <= max_mz
    mz, intensity = trim(peaks.mz[seen], peaks.intensity[seen], n_highest)
    order = np.lexsort((intensity, mz))
    tokens = np.empty((len(mz) + 1, 2))
    tokens[0] = peaks.precursor_mz, PRECURSOR_INTENSITY
    tokens[1:, 0], tokens[1:, 1] = mz[order], relative(intensity)[order]
    return tokens


def token_ids(tokens: Floats) -> npt.NDArray[np.int64]:
    """Ids (n, 3) of tokens (n, 2) float64, the first being the precursor.

    Integer part floor(mz), 999 for the one m/z 1000; fraction floor(1000 (mz - floor(mz))), which never rounds up to
    1000; intensity round(999 x), x relative to the base peak.
    """
    whole = np.floor(tokens[:, 0])
    ids = np.stack([whole, (tokens[:, 0] - whole) * CLASSES, np.rint(tokens[:, 1] * (CLASSES - 1))], axis=1)
    ids = np.clip(np.floor(ids), 0, CLASSES - 1).astype(np.int64)
    ids[0, 2] = PRECURSOR_ID
    return ids


def choose_masked(
    attention_mask: npt.NDArray[np.int64], rng: np.random.Generator, fraction: float
) -> npt.NDArray[np.bool_]:
    """Peaks to mask, bool like `attention_mask` (batch, tokens): ``max(1, round(fraction n))`` of n peaks per spectrum.

    Peaks are drawn evenly; the precursor (token 0) and padding never.
    """
    eligible = attention_mask.astype(bool)
    eligible[:, 0] = False
    n_peaks = eligible.sum(axis=1)
    n_masked = np.minimum(np.maximum(np.rint(fraction * n_peaks), fraction > 0), n_peaks)
    keys = np.where(eligible, rng.random(eligible.shape), np.inf)
    ranks = np.argsort(np.argsort(keys, axis=1), axis=1)
    return ranks < n_masked[:, None]


class Lsm1MaskingCollator:
    """Spectra to a batch of `Lsm1ForMaskedPeakModeling`; a `data_collator` of Trainer (`remove_unused_columns=False`).

    Adds `peak_mask` bool (batch, tokens), True where the model has to guess the peak.

    Args:
        extractor: prepares the spectra.
        mask_fraction: share of the peaks to mask.
        seed: of the random choices.

    Attributes:
        rng: where the choices come from; replace it to repeat them.
    """

    def __init__(self, extractor: Lsm1FeatureExtractor, mask_fraction: float = 0.25, seed: int = 0) -> None:
        if not 0 <= mask_fraction <= 1:
            raise ValueError(f"mask_fraction must be between 0 and 1, got {mask_fraction}")
        self.extractor, self.mask_fraction = extractor, mask_fraction
        self.rng = np.random.default_rng(seed)

    def __call__(self, features: Sequence[Any]) -> SpectrumBatch:
        """Keys of the forward method of `Lsm1ForMaskedPeakModeling`, as PyTorch tensors."""
        batch = dict(self.extractor(list(features), return_tensors="np"))
        batch["peak_mask"] = choose_masked(batch["attention_mask"], self.rng, self.mask_fraction)
        return SpectrumBatch(batch, tensor_type="pt")
