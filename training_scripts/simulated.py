"""Molecules without spectra as if they had been measured: predicted fingerprints with their errors, and library matches.

A decoder that reads true fingerprints in training and predicted ones in use would trust them too much. Here each molecule's
bits get probabilities drawn from those that the encoder really gave to bits of the same kind on spectra it was not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator
from torch import Tensor

Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint8]
N_BINS = 8


def morgan_bits(smiles: Sequence[str], size: int, radius: int = 2) -> Bits:
    """Morgan bits of molecules, uint8 (n, size); a row of zeros for what RDKit cannot read."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=size)
    result = np.zeros((len(smiles), size), dtype=np.uint8)
    with rdBase.BlockLogs():
        for row, text in enumerate(smiles):
            mol = Chem.MolFromSmiles(text)
            if mol is not None:
                result[row] = generator.GetFingerprintAsNumPy(mol)
    return result


class FingerprintNoise:
    """How an encoder errs: probabilities it gave to present and absent bits, by spectrum and by the bits' frequency.

    Args:
        probabilities: (n, bits) that it gave to spectra of molecules unknown to it.
        truth: (n, bits) of their molecules.
    """

    def __init__(self, probabilities: Floats, truth: Bits) -> None:
        frequency = truth.mean(0)
        edges = np.quantile(frequency, np.linspace(0, 1, N_BINS + 1)[1:-1])
        self.bins = np.searchsorted(edges, frequency)
        kinds = 2 * self.bins[None] + (truth > 0)
        self.pools = [
            [row[kind == k] for k in range(2 * N_BINS)]
            for row, kind in zip(probabilities, kinds, strict=True)
        ]
        self.fallback = [probabilities[kinds == k] for k in range(2 * N_BINS)]

    def __call__(self, bits: Bits, rng: np.random.Generator) -> Floats:
        """Probabilities (bits,) as one random spectrum might have given them to a molecule's bits."""
        pools = self.pools[int(rng.integers(len(self.pools)))]
        kinds = 2 * self.bins + (bits > 0)
        result = np.zeros(len(bits), dtype=np.float32)
        for kind in np.unique(kinds):
            where = np.flatnonzero(kinds == kind)
            pool = pools[kind] if len(pools[kind]) else self.fallback[kind]
            if len(pool):
                result[where] = pool[rng.integers(len(pool), size=len(where))]
            else:
                result[where] = float(kind % 2)
        return result


@dataclass
class Library:
    """Known molecules, to tell the decoder the one most like what the spectrum says.

    Attributes:
        smiles, inchikey14: of the molecules.
        bits: float32 (n, bits), of unit length.
        embeds: per molecule its SELFIES-BERT vectors (K, c), half precision.
    """

    smiles: list[str]
    inchikey14: list[str]
    bits: Tensor
    embeds: list[Tensor]

    @classmethod
    @torch.inference_mode()
    def build(
        cls,
        smiles: Sequence[str],
        inchikey14: Sequence[str],
        ids: Sequence[npt.NDArray[Any]],
        bert: Any,
        size: int,
    ) -> Library:
        """Encode molecules given by SMILES, first InChIKey block and token ids with `bert`, a `SelfiesBertModel`."""
        bits = torch.nn.functional.normalize(torch.from_numpy(morgan_bits(smiles, size)).float(), dim=-1)
        embeds: list[Tensor] = [torch.empty(0)] * len(ids)
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        for start in range(0, len(order), 256):
            rows = order[start : start + 256]
            width = max(len(ids[row]) for row in rows)
            batch = torch.zeros(len(rows), width, dtype=torch.int64)
            for place, row in enumerate(rows):
                batch[place, : len(ids[row])] = torch.as_tensor(ids[row])
            vectors, real = bert.context(batch)
            for place, row in enumerate(rows):
                embeds[row] = vectors[place][real[place]].half()
        return cls(list(smiles), list(inchikey14), bits, embeds)

    def nearest(self, fingerprints: Tensor, exclude: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The best match of each fingerprint (B, bits): places (B,) and cosines (B,).

        Args:
            exclude: first InChIKey block of each one's own molecule, which is not to be told.
        """
        cosines = torch.nn.functional.normalize(fingerprints.float(), dim=-1) @ self.bits.T
        places = {key: place for place, key in enumerate(self.inchikey14)}
        for row, key in enumerate(exclude):
            if key in places:
                cosines[row, places[key]] = -1.0
        best, which = cosines.max(dim=-1)
        return which, best

    def conditions(self, which: Tensor, similarity: Tensor, told: Sequence[bool]) -> dict[str, Tensor]:
        """`library_embeds`, `library_mask` and `library_similarity` of a batch; where not `told`, NaN and an empty mask."""
        chosen = [self.embeds[place] for place in which.tolist()]
        width = max(len(item) for item in chosen)
        embeds = torch.zeros(len(chosen), width, chosen[0].shape[1])
        mask = torch.zeros(len(chosen), width, dtype=torch.bool)
        for row, item in enumerate(chosen):
            embeds[row, : len(item)] = item.float()
            mask[row, : len(item)] = bool(told[row])
        known = torch.where(torch.tensor(list(told)), similarity, torch.nan)
        return {"library_embeds": embeds, "library_mask": mask, "library_similarity": known}
