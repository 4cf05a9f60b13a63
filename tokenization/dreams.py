"""Preparation of spectra for DreaMS, and of its two pre-training objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .spectrum import PeakList, SpectrumBatch, SpectrumFeatureExtractor, pad_rows, relative, trim

IGNORED = -100
PADDINGS = ("collapsed", "max_length")


class DreamsFeatureExtractor(SpectrumFeatureExtractor):
    """The published preparation: the n most intense peaks, relative intensities, precursor in front, (0, 0) padding.

    The model attends to padding, so every spectrum is completed to ``n_highest_peaks + 1`` tokens; with "collapsed"
    padding the (0, 0) tokens of a spectrum are one token, and `token_counts` (batch, tokens) float32 says how many it
    stands for: 1 for precursor and peaks, n for that token, 0 for filler of the batch. The model's output is the same
    for both kinds of padding.

    Args:
        n_highest_peaks: 100 for the published embedding model, 60 for the self-supervised one.
        precursor_intensity: intensity given to the precursor token.
        padding: "collapsed" or "max_length".

    Raises:
        ValueError: an argument is out of range.
    """

    model_input_names: ClassVar[list[str]] = ["peaks", "attention_mask", "token_counts"]

    def __init__(
        self,
        n_highest_peaks: int = 100,
        precursor_intensity: float = 1.1,
        padding: str = "collapsed",
        **kwargs: Any,
    ) -> None:
        super().__init__(n_highest_peaks=n_highest_peaks, **kwargs)
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}")
        self.precursor_intensity = precursor_intensity
        self.padding = padding

    def tokens(self, peaks: PeakList) -> npt.NDArray[np.float32]:
        """Precursor and peaks (n + 1, 2), in the order of the spectrum.

        Raises:
            ValueError: the spectrum has no precursor m/z.
        """
        if peaks.precursor_mz is None:
            raise ValueError(
                f"{peaks.name}: precursor_mz is missing; DreaMS starts from the precursor, add it"
            )
        mz, intensity = trim(peaks.mz, peaks.intensity, self.n_highest_peaks)
        tokens = np.empty((len(mz) + 1, 2), dtype=np.float64)
        tokens[0] = peaks.precursor_mz, self.precursor_intensity
        tokens[1:, 0], tokens[1:, 1] = mz, relative(intensity)
        return tokens.astype(np.float32)

    def collate(self, tokens: Sequence[npt.NDArray[np.float32]]) -> dict[str, Any]:
        """Pad; see the class."""
        n_tokens = (self.n_highest_peaks or 0) + 1
        lengths = np.array([len(row) for row in tokens], dtype=np.int64).reshape(-1, 1)
        if self.padding == "max_length":
            peaks = pad_rows(tokens, n_tokens)
            counts = np.ones(peaks.shape[:2], dtype=np.float32)
        else:
            peaks = pad_rows(tokens, int(min(lengths.max(initial=0) + 1, n_tokens)))
            position = np.arange(peaks.shape[1])
            counts = (position < lengths) + (position == lengths) * (n_tokens - lengths)
        # a token of m/z 0 is padding for the published model even where a file has it as a peak
        return {
            "peaks": peaks,
            "attention_mask": (peaks[..., 0] != 0).astype(np.int64),
            "token_counts": counts.astype(np.float32),
        }


def mz_bins(
    mz: npt.NDArray[np.floating], bin_size: float = 0.05, n_bins: int = 20000
) -> npt.NDArray[np.int64]:
    """Class of an m/z: ``mz / bin_size`` in float32, rounded half to even, at most ``n_bins - 1``; same shape as `mz`."""
    return np.clip(np.rint(mz.astype(np.float32) / np.float32(bin_size)), 0, n_bins - 1).astype(np.int64)


def choose_masked(
    tokens: npt.NDArray[np.float32], rng: np.random.Generator, fraction: float = 0.3, minimum: int = 2
) -> npt.NDArray[np.int64]:
    """Positions of the tokens to mask, sorted: drawn without replacement in proportion to intensity.

    Eligible are tokens of intensity between 0 and 1 exclusive, so neither base peak nor precursor; a share `fraction`
    of them but at least `minimum`, all if there are no more (DreaMS, Methods, "Masked peak modelling").

    Args:
        tokens: (n, 2) of one spectrum.
    """
    eligible = np.flatnonzero((tokens[:, 1] > 0) & (tokens[:, 1] < 1))
    n_masked = max(minimum, round(fraction * len(eligible)))
    if len(eligible) <= n_masked:
        return eligible
    weights = tokens[eligible, 1].astype(np.float64)
    return np.sort(rng.choice(eligible, n_masked, replace=False, p=weights / weights.sum()))


class DreamsPreTrainingCollator:
    """Spectra to a batch of `DreamsForPreTraining`; a `data_collator` of Trainer (with `remove_unused_columns=False`).

    A feature is a spectrum in any form the extractor takes, or a mapping with `first`, `second` (two spectra of one LC
    run) and `order` (1 if the first eluted before the second, 0 if after). Do not mix the two forms in one batch.

    Args:
        extractor: prepares the spectra.
        num_mz_bins, mz_bin_size, mask_value: as in `DreamsConfig`; bins in Th.
        mask_fraction: share of the eligible peaks to mask.
        shift_probability, max_shift: with this probability one constant, uniform below `max_shift` Th, is added to
            every m/z of a spectrum, precursor and padding included.
        seed: of the random choices.
    """

    def __init__(
        self,
        extractor: DreamsFeatureExtractor,
        num_mz_bins: int = 20000,
        mz_bin_size: float = 0.05,
        mask_value: float = -1.0,
        mask_fraction: float = 0.3,
        shift_probability: float = 0.2,
        max_shift: float = 50.0,
        seed: int = 0,
    ) -> None:
        self.extractor = extractor
        self.num_mz_bins, self.mz_bin_size = num_mz_bins, mz_bin_size
        self.mask_value, self.mask_fraction = mask_value, mask_fraction
        self.shift_probability, self.max_shift = shift_probability, max_shift
        self.rng = np.random.default_rng(seed)

    def __call__(self, features: Sequence[Any]) -> SpectrumBatch:
        """Keys of the forward method of `DreamsForPreTraining`, as PyTorch tensors."""
        paired = bool(features) and isinstance(features[0], dict) and "first" in features[0]
        spectra = [f[side] for side in ("first", "second") for f in features] if paired else list(features)
        batch = dict(self.extractor(spectra, return_tensors="np"))
        labels = np.full(batch["peaks"].shape[:2], IGNORED, dtype=np.int64)
        for row, tokens in enumerate(batch["peaks"]):
            if self.rng.random() < self.shift_probability:
                real = batch["token_counts"][row] > 0
                tokens[real, 0] += np.float32(self.rng.uniform(0, self.max_shift))
                batch["attention_mask"][row] = real
            masked = choose_masked(tokens, self.rng, self.mask_fraction)
            labels[row, masked] = mz_bins(tokens[masked, 0], self.mz_bin_size, self.num_mz_bins)
            tokens[masked, 0] = self.mask_value
        batch["mz_labels"] = labels
        if paired:
            n_pairs = len(features)
            batch["order_pairs"] = np.arange(2 * n_pairs).reshape(2, n_pairs).T.copy()
            batch["order_labels"] = np.array([f["order"] for f in features], dtype=np.int64)
        return SpectrumBatch(batch, tensor_type="pt")
