"""Two augmented views of each spectrum in one batch, for contrastive losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from data import Augmentation
from torch import Tensor


class ViewsCollator:
    """Spectra to a batch whose second half holds second views of the first half, made from (seed, epoch, index) alone.

    Args:
        extractor: prepares the spectra.
        augmentation: applied once per view; None gives one unchanged view.
        seed: of the augmentation.
        bits: (molecules, bits) fingerprints of 0 and 1, any dtype, to add as `fingerprints`; None for none.
        truth: row in `bits` of each spectrum, which then also numbers its molecule.
    """

    def __init__(
        self,
        extractor: Any,
        augmentation: Augmentation | None,
        seed: int,
        bits: Tensor | None = None,
        truth: Sequence[int] | None = None,
        views: int = 2,
    ) -> None:
        self.extractor, self.augmentation, self.seed, self.bits = extractor, augmentation, seed, bits
        self.truth = None if truth is None else torch.tensor(truth)
        self.views = 1 if augmentation is None else views

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Tensors of one batch and the number of `views`."""
        rows = [self._view(item, view) for view in range(self.views) for item in features]
        batch: dict[str, Any] = dict(self.extractor(rows, return_tensors="pt"))
        if self.truth is not None and self.bits is not None:
            molecules = self.truth[[item["index"] for item in features]].repeat(self.views)
            batch |= {"molecule_ids": molecules, "fingerprints": self.bits[molecules].float()}
        return batch | {"views": self.views}

    def _view(self, item: dict[str, Any], view: int) -> dict[str, Any]:
        if self.augmentation is None:
            return item
        rng = np.random.default_rng([self.seed, 6 + view, item["epoch"], item["index"]])
        mz, intensity, precursor = self.augmentation(item["mz"], item["intensity"], item["precursor_mz"], rng)
        return item | {"mz": mz, "intensity": intensity, "precursor_mz": precursor}
