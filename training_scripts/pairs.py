"""Pairs of spectra, stratified evenly over the Tanimoto similarity of their molecules (as MS2DeepScore draws them)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from data import SpectrumDataset
from targets import tanimoto_rows
from torch.utils.data import Dataset
from tqdm import tqdm

DECILES = 10
PARTNERS = 64  # kept of each molecule in each decile: bounds the memory to 640 numbers per molecule
Ints = npt.NDArray[np.int64]


@dataclass
class Decile:
    """The pairs of molecules whose similarity is in one decile.

    Attributes:
        molecules: int64 (n,), those that have a partner in it, ascending.
        starts: int64 (n + 1,), where the partners of each begin.
        partners: int32 (pairs,), molecules. similarity: float32 (pairs,), Tanimoto.
    """

    molecules: Ints
    starts: Ints
    partners: npt.NDArray[np.int32]
    similarity: npt.NDArray[np.float32]

    def draw(self, rng: np.random.Generator) -> tuple[int, int, float]:
        """A molecule, evenly among those that have a partner, one of its partners, and their similarity."""
        place = int(rng.integers(len(self.molecules)))
        chosen = int(rng.integers(self.starts[place], self.starts[place + 1]))
        return int(self.molecules[place]), int(self.partners[chosen]), float(self.similarity[chosen])


def tanimoto_deciles(fingerprints: npt.NDArray[np.uint8], seed: int) -> list[Decile]:
    """Pairs of molecules by decile of their Tanimoto similarity: [0, 0.1), ... [0.9, 1].

    The last decile holds each molecule with itself: two of its spectra are a pair of similarity 1. Of a molecule's
    partners in a decile a random 64 are kept.

    Args:
        fingerprints: of `targets.morgan_fingerprints`.
        seed: of the partners kept.
    """
    found: list[list[tuple[int, Ints, npt.NDArray[np.float32]]]] = [[] for _ in range(DECILES)]
    rows = tqdm(tanimoto_rows(fingerprints), total=len(fingerprints), desc="pairs", unit="mol")
    for molecule, similarity in enumerate(rows):
        rng = np.random.default_rng([seed, molecule])
        decile = np.minimum((similarity * DECILES).astype(np.int64), DECILES - 1)
        order = np.argsort(decile, kind="stable")
        bounds = np.searchsorted(decile[order], np.arange(DECILES + 1))
        for number in range(DECILES):
            mine = order[bounds[number] : bounds[number + 1]]
            if len(mine):
                mine = rng.permutation(mine)[:PARTNERS]
                found[number].append((molecule, mine, similarity[mine]))
    return [_decile(entries) for entries in found]


def _decile(entries: list[tuple[int, Ints, npt.NDArray[np.float32]]]) -> Decile:
    lengths = [len(partners) for _, partners, _ in entries]
    empty: list[Any] = [np.empty(0)]
    return Decile(
        np.array([molecule for molecule, _, _ in entries], dtype=np.int64),
        np.cumsum([0, *lengths]),
        np.concatenate([p for _, p, _ in entries] or empty).astype(np.int32),
        np.concatenate([s for _, _, s in entries] or empty).astype(np.float32),
    )


class PairDataset(Dataset):
    """Pairs of spectra with the similarity of their molecules; every decile that has pairs is as frequent as any other.

    A pair depends on (seed, epoch, index) alone: index modulo the number of deciles says which, then a molecule, a partner
    and a spectrum of each are drawn.

    Args:
        spectra: the spectra, augmented or not.
        molecules: int64 (spectra,), the molecule of each.
        deciles: of `tanimoto_deciles` for these molecules.
        length: pairs in an epoch.
        seed: of the pairs.

    Raises:
        ValueError: no two spectra make a pair.
    """

    def __init__(
        self, spectra: SpectrumDataset, molecules: Ints, deciles: Sequence[Decile], length: int, seed: int
    ) -> None:
        self.spectra, self.length, self.seed = spectra, length, seed
        self.deciles = [decile for decile in deciles if len(decile.molecules)]
        if not self.deciles:
            raise ValueError("there are no molecules to pair")
        order = np.argsort(molecules, kind="stable")
        bounds = np.searchsorted(molecules[order], np.arange(molecules.max() + 2))
        self.of_molecule = [order[a:b] for a, b in pairwise(bounds)]

    def __len__(self) -> int:
        return self.length

    def pair(self, epoch: int, index: int) -> tuple[int, int, float]:
        """Places of the two spectra and the similarity of their molecules."""
        rng = np.random.default_rng([self.seed, 6, epoch, index])
        first, second, similarity = self.deciles[index % len(self.deciles)].draw(rng)
        places = [int(rng.choice(self.of_molecule[molecule])) for molecule in (first, second)]
        return places[0], places[1], similarity

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        first, second, similarity = self.pair(epoch, index)
        sides = {"first": self.spectra[epoch, first], "second": self.spectra[epoch, second]}
        return {**sides, "similarity": similarity, "epoch": epoch, "index": index}
