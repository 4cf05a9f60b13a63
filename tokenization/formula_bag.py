"""Spectra to weighted tokens: unit bins, and the formulas that peaks and neutral losses can have.

A fragment ion of 105.0335 Th is not a number but C7H5O+. Every peak, and its loss from the precursor, is looked up in a
vocabulary of heavy-atom compositions that occur as fragments of molecules; what is found becomes a token. Rare exact
masses of a new compound then share tokens with the compounds of the training set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .formulas import N_BINS, N_CONTEXT, FormulaFeatureExtractor, context_tokens, electron_mass
from .spectrum import PeakList, relative, trim

Tokens = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


class FormulaBagFeatureExtractor(FormulaFeatureExtractor):
    """Spectra to `token_ids` int64 (batch, T) and `token_weights` float32 (batch, T), besides `peaks` and its mask.

    Tokens: unit m/z bins, unit bins of neutral losses, compositions of peaks, compositions of losses (weight √intensity ×
    share of the composition), and the context: polarity, adduct, coarse precursor m/z. Token 0 is filler of weight 0.

    Args:
        fragments: as in `FormulaFeatureExtractor`, as are the other settings.
    """

    model_input_names: ClassVar[list[str]] = ["peaks", "attention_mask", "token_ids", "token_weights"]

    def __init__(
        self,
        n_highest_peaks: int | None = 60,
        fragments: Sequence[Sequence[Any]] = (("C6", 0, 12, 100), ("C7O", 0, 8, 50), ("O", 0, 2, 100)),
        **kwargs: Any,
    ) -> None:
        super().__init__(n_highest_peaks, fragments, **kwargs)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, filler included."""
        return 1 + 2 * N_BINS + 2 * len(self.fragments) + N_CONTEXT

    def batch(self, peak_lists: Sequence[PeakList]) -> dict[str, Any]:
        """Padded peaks, and padded bags of tokens."""
        bags = [self.bag(peaks) for peaks in peak_lists]
        ids = np.zeros((len(bags), max((len(tokens) for tokens, _ in bags), default=0)), dtype=np.int64)
        weights = np.zeros(ids.shape, dtype=np.float32)
        for row, (token, weight) in enumerate(bags):
            ids[row, : len(token)], weights[row, : len(token)] = token, weight
        return super().batch(peak_lists) | {"token_ids": ids, "token_weights": weights}

    def bag(self, peaks: PeakList) -> Tokens:
        """Token ids and weights of one spectrum."""
        mz, intensity = trim(peaks.mz, peaks.intensity, self.n_highest_peaks)
        weight = np.sqrt(relative(intensity))
        precursor = peaks.precursor_mz
        loss = np.full(len(mz), -1.0) if precursor is None else precursor - mz
        seen, lost = mz < N_BINS, (loss > 0) & (np.rint(loss) < N_BINS)
        base = 1
        ids = [base + mz[seen].astype(np.int64), base + N_BINS + np.rint(loss[lost]).astype(np.int64)]
        weights = [weight[seen], weight[lost]]
        base += 2 * N_BINS
        sources = ((mz + electron_mass(peaks.ion_mode), self.ppm), (loss, 1.5 * self.ppm))
        for number, (mass, ppm) in enumerate(sources):
            valid = np.flatnonzero(mass > 10)
            place, entry, share = self.formulas(mass[valid], ppm, peaks.unit_resolution)
            ids.append(base + number * len(self.fragments) + self.table.composition[entry])
            weights.append(weight[valid][place] * share)
        context = base + 2 * len(self.fragments) + context_tokens(peaks)
        ids.append(context)
        weights.append(np.ones(len(context)))
        return np.concatenate(ids), np.concatenate(weights).astype(np.float32)
