"""What generation has to beat: molecules proposed without any model, for `denovo.py`.

Training molecules are those of ``molecules.parquet`` without every molecule of the folds val and test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from contenders import licensed
from data import MOLECULES_FILE, SPECTRA_FILE, SpectrumTable, load_spectra_table, table_path
from neighbours import ModifiedCosineSearch, matchms_spectrum
from rdkit import Chem, rdBase
from rdkit.Chem.Descriptors import ExactMolWt
from tqdm import tqdm

from msformers.inference.retrieval.precursor import read_precursor
from msformers.spectra.spectrum import Spectrum
from msformers.tokenization.selfies import decode_selfies, encode_selfies, split_selfies

HELD_BACK = ("val", "test")
PPM = 10.0
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Proposals:
    """What one method proposes for one spectrum: distinct SMILES, best first, and what became of its sequences.

    Attributes:
        scores: of the search, one per molecule; empty where there is none.
    """

    smiles: list[str]
    n_sequences: int
    n_invalid: int = 0
    n_duplicates: int = 0
    scores: list[float] = field(default_factory=list)

    @classmethod
    def known(cls, smiles: Sequence[str]) -> Proposals:
        """Molecules taken from a list: all valid, all distinct."""
        return cls(list(smiles), len(smiles))


@dataclass(frozen=True)
class MassSorted:
    """Molecules sorted by exact mass (n,) in Da."""

    smiles: list[str]
    mass: Floats

    def within(self, spectrum: Spectrum, ppm: float = PPM) -> npt.NDArray[np.int64]:
        """Places of the molecules that a reading of the precursor allows, ascending."""
        ions = read_precursor(spectrum, ppm).ions
        spans = [np.searchsorted(self.mass, [ion.low, ion.high]) for ion in ions]
        return np.unique(np.concatenate([np.empty(0, np.int64), *(np.arange(*span) for span in spans)]))

    def nearest(self, spectrum: Spectrum, count: int) -> npt.NDArray[np.int64]:
        """Places of the `count` molecules whose mass is nearest to that of the first reading, nearest first."""
        ions = read_precursor(spectrum).ions
        if not ions:
            return np.empty(0, np.int64)
        away = np.abs(self.mass - (ions[0].low + ions[0].high) / 2)
        return np.argsort(away, kind="stable")[:count]


def held_back(data: Path) -> pa.Array:
    """First InChIKey blocks of the folds val and test."""
    table = pq.read_table(table_path(data, SPECTRA_FILE), columns=["inchikey14", "fold"])
    return table.filter(pc.is_in(table["fold"], pa.array(HELD_BACK)))["inchikey14"].unique()


def training_molecules(data: Path) -> MassSorted:
    """The molecules a decoder may be trained on."""
    table = pq.read_table(table_path(data, MOLECULES_FILE), columns=["smiles", "inchikey14", "exact_mass"])
    table = table.filter(pc.invert(pc.is_in(table["inchikey14"], held_back(data)))).sort_by("exact_mass")
    return MassSorted(table["smiles"].to_pylist(), np.asarray(table["exact_mass"], dtype=np.float64))


def same_mass(
    pool: MassSorted, spectra: Sequence[Spectrum], count: int, seed: int, first: int = 0
) -> Iterator[Proposals]:
    """Random training molecules within `PPM` of the neutral mass, up to `count`, without replacement.

    Args:
        first: place of the first spectrum among all, so that a resumed run draws the same.
    """
    for place, spectrum in enumerate(spectra, first):
        found = pool.within(spectrum)
        chosen = np.random.default_rng([seed, place]).permutation(found)[:count]
        yield Proposals.known([pool.smiles[i] for i in chosen])


def frequent_molecules(data: Path, count: int) -> Proposals:
    """The molecules with the most spectra in the training fold, the same for every spectrum."""
    table = pq.read_table(table_path(data, SPECTRA_FILE), columns=["smiles_2d", "inchikey14", "fold"])
    rows = table.filter(pc.equal(table["fold"], "train")).to_pylist()
    smiles = {row["inchikey14"]: row["smiles_2d"] for row in rows}
    spectra = Counter(row["inchikey14"] for row in rows)
    best = sorted(spectra, key=lambda key: (-spectra[key], key))[:count]
    return Proposals.known([smiles[key] for key in best])


@dataclass(frozen=True)
class RandomSelfies:
    """Strings of random SELFIES tokens, drawn by their frequency in training molecules, with lengths of those.

    Attributes:
        molecules: the distinct molecules, by mass.
        drawn: their places in the order they were drawn. n_sequences, n_invalid: of the whole draw.
    """

    molecules: MassSorted
    drawn: npt.NDArray[np.int64]
    n_sequences: int
    n_invalid: int

    @classmethod
    def draw(cls, smiles: Sequence[str], count: int, seed: int, sample: int = 5_000) -> RandomSelfies:
        """Draw `count` strings after the tokens of `sample` random training molecules."""
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(smiles), min(sample, len(smiles)), replace=False)
        texts = [split_selfies(text) for place in chosen if (text := _selfies(smiles[place]))]
        frequency = Counter(token for text in texts for token in text)
        tokens, chance = list(frequency), np.array(list(frequency.values()), dtype=np.float64)
        lengths = rng.choice([len(text) for text in texts], count)
        found: dict[str, float] = {}
        invalid = 0
        with rdBase.BlockLogs():
            for length in tqdm(lengths, desc="random SELFIES", unit="string", leave=False):
                places = rng.choice(len(tokens), length, p=chance / chance.sum())
                molecule = _molecule("".join(tokens[place] for place in places))
                invalid += molecule is None
                if molecule is not None:
                    found.setdefault(Chem.MolToSmiles(molecule), ExactMolWt(molecule))
        mass = np.array(list(found.values()))
        order = np.argsort(mass, kind="stable")
        names = list(found)
        return cls(MassSorted([names[i] for i in order], mass[order]), np.argsort(order), count, invalid)

    def any_mass(self, spectra: Sequence[Spectrum], count: int, first: int = 0) -> Iterator[Proposals]:
        """`count` strings for each spectrum, in the order drawn, others for every spectrum."""
        for place, _ in enumerate(spectra, first):
            start = place * count % max(len(self.drawn) - count, 1)
            chosen = self.drawn[start : start + count]
            yield self._proposals([self.molecules.smiles[i] for i in chosen])

    def of_the_mass(
        self, spectra: Sequence[Spectrum], count: int, seed: int, first: int = 0
    ) -> Iterator[Proposals]:
        """Those within `PPM` of the neutral mass in random order, then the nearest in mass: `count` in all."""
        for place, spectrum in enumerate(spectra, first):
            inside = np.random.default_rng([seed, place]).permutation(self.molecules.within(spectrum))
            order = dict.fromkeys([*inside.tolist(), *self.molecules.nearest(spectrum, count).tolist()])
            yield self._proposals([self.molecules.smiles[i] for i in list(order)[:count]])

    def _proposals(self, smiles: list[str]) -> Proposals:
        """With the validity of the whole draw, as so many strings of it would have."""
        valid = 1 - self.n_invalid / self.n_sequences
        drawn = round(len(smiles) / valid)
        return Proposals(smiles, drawn, drawn - len(smiles))


class NearestSpectra:
    """Molecules of the training spectra most like a query by modified cosine, in all precursors.

    Molecules are distinct, ranked by their best spectrum; equal scores by the nearest precursor. Scores are those of
    `ModifiedCosineSearch.all_scores` (matchms), all licences.
    """

    def __init__(self, data: Path) -> None:
        self.references = load_spectra_table(data, ["train"], "all")
        self.search = ModifiedCosineSearch(self.references)

    def __call__(self, queries: SpectrumTable, count: int, open_only: bool) -> Iterator[Proposals]:
        """The `count` best molecules of each query; `open_only`: of the licences that shipped weights are trained on."""
        scores = self.search.all_scores([matchms_spectrum(queries, place) for place in range(len(queries))])
        pool = licensed(self.references, "open" if open_only else "all")
        keys, smiles = (np.array(self.references.rows[name])[pool] for name in ("inchikey14", "smiles_2d"))
        for row, precursor in zip(scores[:, pool], queries.precursor_mz, strict=True):
            order = np.lexsort((np.abs(self.search.precursors[pool] - precursor), -np.round(row, 6)))
            first = np.sort(np.unique(keys[order], return_index=True)[1])[:count]
            yield Proposals.known(smiles[order[first]].tolist())


def _selfies(smiles: str) -> str | None:
    try:
        return encode_selfies(smiles)
    except ValueError:
        return None


def _molecule(selfies: str) -> Chem.Mol | None:
    try:
        return Chem.MolFromSmiles(decode_selfies(selfies))
    except ValueError:
        return None
