"""Fragment evidence: how well a candidate's own fragments explain the peaks of a spectrum.

The embedding says which substructures a spectrum speaks of; it does not see the candidate. Here every candidate is cut up
(`spectra.fragmentation`), each of its fragments has a chance of being seen (learned bond costs and compositions), and
peaks whose formula is a likely fragment count for it, by a small network over the match of each peak. All numbers are fitted
on training spectra by ``training_scripts/fit_evidence.py`` and live in ``fragment_evidence.safetensors`` of a checkpoint.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from transformers.utils import cached_file

from ...spectra.fragmentation import ELEMENTS, N_BOND_CLASSES, Fragments, fragment
from ...spectra.masses import parse_formula
from ...tokenization.formulas import FormulaFeatureExtractor, electron_mass
from ...tokenization.spectrum import PeakList, as_peak_list, relative, trim

FILE = "fragment_evidence.safetensors"
N_MATCH, N_PEAK, N_WHOLE = 10, 3, 14
CHANCES = (0.02, 0.05, 0.1, 0.2, 0.4)
MOST_PEAKS = 30
MOST_SHIFT, MOST_CUTS = 5, 4
BITS = np.array([7, 5, 6, 4, 4, 5, 4, 3, 3, 3, 3, 2])
SHIFT = np.append(0, np.cumsum(BITS)[:-1])
CACHED = 20_000

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EvidenceTables:
    """What is learned; first axis of the tables by polarity: 0 negative, 1 positive.

    Attributes:
        bond_cost: (`N_BOND_CLASSES`,) cost of cutting a bond. cut_bias: (2, 5) log-odds by number of cuts.
        composition: (2, V) log-odds of each composition of the vocabulary, against fragments of equal cost.
        hydrogen_shift: (2, 5, 11) log-probability of −5 … +5 hydrogens more than the fragment has, by number of cuts.
        mix: (1,) weight of the evidence beside the embedding.
        peak_1 … whole_2: the network, weights (out, in) and biases (out,): three layers on each peak's match, two on
            the whole candidate.
    """

    bond_cost: Floats
    cut_bias: Floats
    composition: Floats
    hydrogen_shift: Floats
    mix: Floats
    peak_1: Floats
    peak_1_bias: Floats
    peak_2: Floats
    peak_2_bias: Floats
    peak_3: Floats
    peak_3_bias: Floats
    whole_1: Floats
    whole_1_bias: Floats
    whole_2: Floats

    @classmethod
    def start(cls, vocabulary: int) -> EvidenceTables:
        """Every bond costs 1, nothing else is known; for fitting."""
        flat = (np.zeros((2, MOST_CUTS + 1)), np.zeros((2, vocabulary)))
        shift = np.zeros((2, MOST_CUTS + 1, 2 * MOST_SHIFT + 1))
        return cls(np.ones(N_BOND_CLASSES), *flat, shift, np.ones(1), *(np.zeros(0) for _ in range(9)))

    def save(self, folder: Path) -> None:
        """Write `FILE` into a checkpoint folder."""
        save_file(
            {item.name: getattr(self, item.name).astype(np.float32) for item in fields(self)}, folder / FILE
        )

    @classmethod
    def load(cls, folder: Path) -> EvidenceTables:
        """Read `FILE` of a checkpoint folder."""
        return cls(**{name: array.astype(np.float64) for name, array in load_file(folder / FILE).items()})


@dataclass(frozen=True)
class MoleculeFragments:
    """A molecule's fragments that are in the vocabulary, by vocabulary row ascending: (n,) each, `log_odds` (2, n)."""

    rows: Ints
    hydrogens: Ints
    cuts: Ints
    cost: Floats
    log_odds: Floats


@dataclass(frozen=True)
class PeakFormulas:
    """Fragment peaks of a spectrum and the formulas they can have.

    Attributes:
        context: (p, 3) root of the relative intensity, m/z relative to the precursor's, logarithm of the intensity / 5.
        polarity: 0 or 1.
        place, rows, hydrogens: (a,) which peak, vocabulary row, hydrogens. log_share: (a,) logarithm of the weight.
    """

    context: Floats
    polarity: int
    place: Ints
    rows: Ints
    hydrogens: Ints
    log_share: Floats


class FragmentEvidence:
    """Scores candidates by the peaks their fragments explain.

    Args:
        extractor: looks up the formulas of peaks; holds the vocabulary.
        tables: the learned numbers.
    """

    def __init__(self, extractor: FormulaFeatureExtractor, tables: EvidenceTables) -> None:
        self.extractor, self.tables = extractor, tables
        keys = np.array([_key(_counts(row[0])) for row in extractor.fragments], dtype=np.int64)
        self._order = np.argsort(keys)
        self._keys = keys[self._order]
        self._cache: OrderedDict[str, MoleculeFragments] = OrderedDict()

    @classmethod
    def load(cls, checkpoint: str, extractor: Any) -> FragmentEvidence | None:
        """The evidence of a checkpoint (folder or Hub id); None if it has none or its extractor knows no formulas."""
        if not checkpoint or not isinstance(extractor, FormulaFeatureExtractor):
            return None
        quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors")}
        path = cached_file(checkpoint, FILE, **quiet)
        return None if path is None else cls(extractor, EvidenceTables.load(Path(path).parent))

    @staticmethod
    def applies(spectrum: Any) -> bool:
        """Whether the evidence has a say: it is fitted on accurate mass, and at unit resolution it does harm (validation)."""
        return not as_peak_list(spectrum).unit_resolution

    def scores(self, spectrum: Any, smiles: Sequence[str]) -> tuple[Floats, Floats]:
        """Evidence for each candidate, and the share of the intensity its fragments explain, 0 to 1; (n,) both."""
        peaks = self.peak_formulas(as_peak_list(spectrum))
        matches, wholes = self.features(peaks, smiles)
        return float(self.tables.mix[0]) * self._network(matches, peaks.context, wholes), wholes[:, -2]

    def _network(self, matches: Floats, context: Floats, wholes: Floats) -> Floats:
        """(n,) from the arrays of `features`; the same as `Scorer` of the training script."""
        t = self.tables
        shared = np.broadcast_to(context, (len(matches), *context.shape))
        hidden = np.maximum(np.concatenate([matches, shared], axis=-1) @ t.peak_1.T + t.peak_1_bias, 0)
        hidden = np.maximum(hidden @ t.peak_2.T + t.peak_2_bias, 0)
        each = hidden @ t.peak_3.T + t.peak_3_bias
        by_peak = each[..., 0] @ context[:, 0] + each[..., 1].sum(1) / 4
        return by_peak + np.maximum(wholes @ t.whole_1.T + t.whole_1_bias, 0) @ t.whole_2

    def features(self, peaks: PeakFormulas, smiles: Sequence[str]) -> tuple[Floats, Floats]:
        """What the network sees: the best match of each peak (n, p, 10), and each candidate as a whole (n, 14)."""
        matches = np.zeros((len(smiles), len(peaks.context), N_MATCH))
        wholes = np.zeros((len(smiles), N_WHOLE))
        for match, whole, text in zip(matches, wholes, smiles, strict=True):
            self._compare(peaks, self.molecule(text), match, whole)
        return matches, wholes

    def peak_formulas(self, peaks: PeakList) -> PeakFormulas:
        """Look up the peaks of a spectrum; the precursor itself is no fragment."""
        mz, intensity = trim(peaks.mz, relative(peaks.intensity), None)
        if peaks.precursor_mz is not None:
            kept = np.abs(mz - peaks.precursor_mz) > 0.5
            mz, intensity = mz[kept], intensity[kept]
        mz, intensity = trim(mz, intensity, MOST_PEAKS)
        mass = mz + electron_mass(peaks.ion_mode)
        place, entry, share = self.extractor.formulas(mass, self.extractor.ppm, peaks.unit_resolution)
        known, table = np.unique(place), self.extractor.table
        strong = intensity[known]
        precursor = peaks.precursor_mz or float(mz.max(initial=1.0))
        context = np.stack([np.sqrt(strong), mz[known] / precursor, np.log(strong + 1e-4) / 5], axis=1)
        formulas = (table.composition[entry], table.hydrogens[entry], np.log(share + 1e-3))
        return PeakFormulas(
            context, int(peaks.ion_mode != "negative"), np.searchsorted(known, place), *formulas
        )

    def molecule(self, smiles: str) -> MoleculeFragments:
        """Fragments of a molecule, remembered for the next spectrum.

        Raises:
            ValueError: RDKit cannot read the SMILES.
        """
        if smiles in self._cache:
            self._cache.move_to_end(smiles)
            return self._cache[smiles]
        from rdkit import Chem

        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None:
            raise ValueError(f"cannot read SMILES {smiles!r}")
        self._cache[smiles] = self._fragments(molecule)
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return self._cache[smiles]

    def _fragments(self, molecule: Any) -> MoleculeFragments:
        tables = self.tables
        found = fragment(molecule, tables.bond_cost)
        known, rows = self.in_vocabulary(found)
        order = np.argsort(rows, kind="stable")
        known, rows = known[order], rows[order]
        cuts = found.cuts[known]
        odds = tables.cut_bias[:, cuts] - found.cost[known] + tables.composition[:, rows]
        return MoleculeFragments(rows, found.hydrogens[known], cuts, found.cost[known], odds)

    def in_vocabulary(self, found: Fragments) -> tuple[Ints, Ints]:
        """Places of the fragments whose composition is in the vocabulary, and its rows."""
        keys = _key(found.composition)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        known = np.flatnonzero(self._keys[place] == keys)
        return known, self._order[place[known]]

    def _compare(self, peaks: PeakFormulas, own: MoleculeFragments, match: Floats, whole: Floats) -> None:
        """Fill in the best match of each peak (p, 10) and the summary of a candidate (14,)."""
        odds = own.log_odds[peaks.polarity]
        first, last = (np.searchsorted(own.rows, peaks.rows, side=side) for side in ("left", "right"))
        counts = last - first
        asked = np.repeat(np.arange(len(counts)), counts)
        place = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        shift = peaks.hydrogens[asked] - own.hydrogens[place]
        near = np.abs(shift) <= MOST_SHIFT
        asked, place, shift = asked[near], place[near], shift[near]
        chance = -np.logaddexp(0, -odds[place])
        moved = self.tables.hydrogen_shift[peaks.polarity, own.cuts[place], shift + MOST_SHIFT]
        value = chance + moved + peaks.log_share[asked]
        order = np.lexsort((-value, peaks.place[asked]))
        order = order[np.append(True, np.diff(peaks.place[asked][order]) != 0)[: len(order)]]
        a, f = asked[order], place[order]
        composition = self.tables.composition[peaks.polarity, own.rows[f]]
        ordinary = shift[order] == (1 if peaks.polarity else -1)
        chances = (value[order] / 5, chance[order] / 5, moved[order] / 3, peaks.log_share[a] / 3)
        way = (own.cost[f] / 4, own.cuts[f] / 2, composition / 2, np.abs(shift[order]) / 3, ordinary)
        match[peaks.place[a]] = np.stack([np.ones(len(a)), *chances, *way], axis=1)
        whole[:12] = _silence(own.rows, odds, np.isin(np.arange(len(own.rows)), place)) / 3
        if len(match):
            root, hit = peaks.context[:, 0], match[:, 0]
            whole[12:] = (root**2 @ hit) / max(float((root**2).sum()), 1e-6), hit.mean()


def _silence(rows: Ints, odds: Floats, seen: npt.NDArray[np.bool_]) -> Floats:
    """Logarithm of 1 + number of fragments not seen, then seen, by their chance; those of one composition count once."""
    if not len(rows):
        return np.zeros(12)
    starts = np.flatnonzero(np.append(True, np.diff(rows) != 0))
    chance = np.digitize(1 / (1 + np.exp(-np.maximum.reduceat(odds, starts))), CHANCES)
    found = np.logical_or.reduceat(seen, starts)
    return np.log1p([np.bincount(chance[found == there], minlength=6) for there in (False, True)]).ravel()


def _counts(composition: str) -> Ints:
    counts = parse_formula(composition)
    return np.array([counts.get(element, 0) for element in ELEMENTS])


def _key(counts: Ints) -> Any:
    """One number per composition (…, 12)."""
    return (np.minimum(counts, 2**BITS - 1) << SHIFT).sum(-1)
