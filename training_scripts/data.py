"""Training data: folds and licences, augmentation without state, candidate lists for validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from torch.utils.data import Dataset

OPEN_LICENCES = ("CC0", "CC BY", "CC BY-SA", "dl-de/by-2-0")
"""Licences whose records may train weights that are shipped."""

SPECTRA_FILE, MOLECULES_FILE = "massbank_msms.parquet", "molecules.parquet"
SPECTRUM_COLUMNS = (
    *("mz", "intensity", "precursor_mz", "adduct", "instrument_type", "fold", "license"),
    *("smiles_2d", "inchikey14", "formula", "exact_mass"),
)
CONTEXT = ("adduct", "instrument_type")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Augmentation:
    """What happens to a spectrum each time it is seen in training; all zero = nothing.

    Attributes:
        peak_dropout: chance of each peak but the base peak to vanish.
        peak_ppm: standard deviation of the shift of each peak's m/z.
        precursor_ppm: standard deviation of the shift of the precursor's m/z: recorded precursors are mostly computed
            from the formula, and their last digits would give it away.
        calibration_ppm: standard deviation of one shift common to all peaks and the precursor.
        intensity_sd: standard deviation of the logarithm of each intensity's factor.
        merge: chance to add the peaks of another spectrum of the same molecule and adduct (merged energies).
    """

    peak_dropout: float = 0.0
    peak_ppm: float = 0.0
    precursor_ppm: float = 0.0
    calibration_ppm: float = 0.0
    intensity_sd: float = 0.0
    merge: float = 0.0

    @classmethod
    def from_recipe(cls, section: Mapping[str, Any] | None) -> Augmentation:
        """Build from a recipe's section.

        Raises:
            ValueError: an unknown key.
        """
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(section or {}) - known)
        if unknown:
            raise ValueError(f"unknown augmentation {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        return cls(**(section or {}))

    def __call__(
        self, mz: Floats, intensity: Floats, precursor: float, rng: np.random.Generator
    ) -> tuple[Floats, Floats, float]:
        """A changed copy: m/z in Th sorted, intensities relative to the new base peak, precursor m/z in Th."""
        kept = (rng.random(len(mz)) >= self.peak_dropout) | (intensity >= intensity.max(initial=0.0))
        mz, intensity = mz[kept], intensity[kept]
        common = rng.normal() * self.calibration_ppm
        mz = mz * (1 + 1e-6 * (common + rng.normal(size=len(mz)) * self.peak_ppm))
        precursor = precursor * (1 + 1e-6 * (common + rng.normal() * self.precursor_ppm))
        intensity = intensity * np.exp(rng.normal(size=len(mz)) * self.intensity_sd)
        order = np.argsort(mz, kind="stable")
        return mz[order], intensity[order] / max(intensity.max(initial=0.0), 1e-12), float(precursor)


@dataclass
class SpectrumTable:
    """Spectra and their molecules in memory.

    Attributes:
        peaks: per spectrum (mz float64, intensity float64), base peak 1.
        precursor_mz: in Th, float64 (n,).
        rows: the other columns, each a list of n values.
    """

    peaks: list[tuple[Floats, Floats]]
    precursor_mz: Floats
    rows: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.peaks)

    def select(self, indices: Sequence[int]) -> SpectrumTable:
        """The spectra at `indices`, in that order."""
        rows = {name: [values[index] for index in indices] for name, values in self.rows.items()}
        return SpectrumTable([self.peaks[i] for i in indices], self.precursor_mz[list(indices)], rows)

    @property
    def n_peaks(self) -> list[int]:
        """Peaks per spectrum."""
        return [len(mz) for mz, _ in self.peaks]


def table_path(data: Path, name: str) -> Path:
    """The Parquet file `name` in folder `data`, or `data` itself if it is a file.

    Raises:
        FileNotFoundError: there is none.
    """
    path = data / name if data.is_dir() else data
    if not path.is_file():
        raise FileNotFoundError(f"no {name} at {data}; --data takes the folder that holds it")
    return path


def load_spectra_table(
    data: Path,
    folds: Sequence[str],
    licences: Sequence[str] | str = OPEN_LICENCES,
    min_peaks: int = 1,
    limit: int | None = None,
    seed: int = 0,
    fold_column: str = "fold",
    extra_columns: Sequence[str] = (),
    max_precursor_mz: float = np.inf,
) -> SpectrumTable:
    """Read the spectra of some folds and licences.

    Args:
        data: folder with ``massbank_msms.parquet`` or such a file.
        folds: such as ("train",).
        licences: which to use; "all" for every one.
        min_peaks: spectra with fewer peaks are left out.
        limit: a random sample of so many spectra, drawn with `seed`; None for all.
        fold_column: "fold" (molecule-disjoint) or "formula_fold".
        extra_columns: further columns to keep in `rows`.
        max_precursor_mz: in Th, for models that read no further.

    Raises:
        ValueError: nothing is left.
    """
    names = [name if name != "fold" else fold_column for name in SPECTRUM_COLUMNS] + list(extra_columns)
    table = pq.read_table(table_path(data, SPECTRA_FILE), columns=names)
    table = usable(table, {fold_column: folds, "license": licences}, min_peaks, max_precursor_mz)
    if not len(table):
        raise ValueError(f"{data}: no spectrum with {fold_column} in {folds} and licence in {licences}")
    if limit is not None and limit < len(table):
        chosen = np.sort(np.random.default_rng(seed).choice(len(table), limit, replace=False))
        table = table.take(pa.array(chosen))
    return to_spectra(table)


def usable(
    table: pa.Table,
    among: Mapping[str, Sequence[str] | str],
    min_peaks: int,
    max_precursor_mz: float = np.inf,
) -> pa.Table:
    """Rows with a precursor m/z, `min_peaks` peaks, and in each column one of its values; "all" stands for any."""
    enough = pc.greater_equal(pc.list_value_length(table["mz"]), min_peaks)
    keep = pc.and_(enough, pc.fill_null(pc.less_equal(table["precursor_mz"], max_precursor_mz), False))
    for column, values in among.items():
        if values != "all":
            keep = pc.and_(keep, pc.is_in(table[column], pa.array(list(values))))
    return table.filter(keep)


def at_most_per_molecule(table: SpectrumTable, count: int, seed: int) -> list[int]:
    """Places of at most `count` random spectra of each molecule: a few compounds have hundreds."""
    taken: dict[str, int] = {}
    kept = []
    for place in np.random.default_rng(seed).permutation(len(table)).tolist():
        key = table.rows["inchikey14"][place]
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= count:
            kept.append(place)
    return sorted(kept)


def to_spectra(table: pa.Table) -> SpectrumTable:
    """An Arrow table with `mz`, `intensity` and `precursor_mz` as spectra, its other columns as rows."""
    columns = [table[name].combine_chunks() for name in ("mz", "intensity")]
    offsets = np.asarray(columns[0].offsets)
    mz, intensity = (np.asarray(column.values, dtype=np.float64) for column in columns)
    spans = list(pairwise(offsets))
    rows = {name: table[name].to_pylist() for name in table.column_names if name not in ("mz", "intensity")}
    precursors = np.asarray(table["precursor_mz"], dtype=np.float64)
    return SpectrumTable([(mz[a:b], intensity[a:b]) for a, b in spans], precursors, rows)


class SpectrumDataset(Dataset):
    """Spectra as mappings with mz, intensity, precursor_mz, epoch and index; augmented by (seed, epoch, index) alone.

    Args:
        table: the spectra.
        augmentation: None for evaluation.
        seed: of the augmentation.
        first: index of the first spectrum, where the table is a block of a longer one.
    """

    def __init__(
        self, table: SpectrumTable, augmentation: Augmentation | None = None, seed: int = 0, first: int = 0
    ) -> None:
        self.table, self.augmentation, self.seed, self.first = table, augmentation, seed, first
        self.partners: dict[tuple[Any, Any], list[int]] = {}
        if augmentation is not None and augmentation.merge:
            for index, key in enumerate(zip(table.rows["inchikey14"], table.rows["adduct"], strict=True)):
                self.partners.setdefault(key, []).append(index)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        mz, intensity = self.table.peaks[index]
        precursor = float(self.table.precursor_mz[index])
        if self.augmentation is not None:
            rng = np.random.default_rng([self.seed, epoch, self.first + index])
            if self.augmentation.merge:
                mz, intensity = self._merged(index, self.augmentation.merge, rng)
            mz, intensity, precursor = self.augmentation(mz, intensity, precursor, rng)
        context = {name: self.table.rows[name][index] for name in CONTEXT if name in self.table.rows}
        peaks = {"mz": mz, "intensity": intensity, "precursor_mz": precursor}
        return peaks | context | {"epoch": epoch, "index": self.first + index}

    def _merged(self, index: int, chance: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
        mz, intensity = self.table.peaks[index]
        rows = self.table.rows
        partners = self.partners[rows["inchikey14"][index], rows["adduct"][index]]
        other = partners[int(rng.integers(len(partners)))]
        if rng.random() >= chance or other == index:
            return mz, intensity
        more = self.table.peaks[other]
        return np.concatenate([mz, more[0]]), np.concatenate([intensity, more[1]])


@dataclass
class MoleculePool:
    """Molecules to choose candidates from: SMILES, first InChIKey block, formula, exact mass in Da, sorted by mass."""

    smiles: list[str]
    inchikey14: list[str]
    formula: list[str]
    exact_mass: Floats

    def __post_init__(self) -> None:
        self.by_formula: dict[str, list[int]] = {}
        for index, formula in enumerate(self.formula):
            self.by_formula.setdefault(formula, []).append(index)

    @classmethod
    def load(cls, data: Path, limit: int | None = None, seed: int = 0) -> MoleculePool:
        """Read ``molecules.parquet`` of folder `data`; `limit` draws a sample."""
        names = ["smiles", "inchikey14", "formula", "exact_mass"]
        table = pq.read_table(table_path(data, MOLECULES_FILE), columns=names)
        if limit is not None and limit < len(table):
            chosen = np.sort(np.random.default_rng(seed).choice(len(table), limit, replace=False))
            table = table.take(pa.array(chosen))
        table = table.sort_by("exact_mass")
        columns = [table[name].to_pylist() for name in names[:3]]
        return cls(*columns, np.asarray(table["exact_mass"], dtype=np.float64))

    def isomers(self, formula: str, inchikey14: str) -> list[int]:
        """Other molecules of the same formula, in order of the pool."""
        return [index for index in self.by_formula.get(formula, []) if self.inchikey14[index] != inchikey14]

    def nearest(self, exact_mass: float, inchikey14: str, count: int) -> list[int]:
        """The `count` other molecules nearest in mass, nearest first."""
        centre = int(np.searchsorted(self.exact_mass, exact_mass))
        window = np.arange(max(0, centre - count - 1), min(len(self.smiles), centre + count + 1))
        order = window[np.argsort(np.abs(self.exact_mass[window] - exact_mass), kind="stable")]
        return [int(index) for index in order if self.inchikey14[index] != inchikey14][:count]


def wrong_candidates(
    pool: MoleculePool, formula: str, exact_mass: float, inchikey14: str, kind: str, count: int
) -> list[int]:
    """Wrong molecules for one true one: its isomers ("formula"), or isomers, then nearest masses ("mass").

    Molecules of held-back folds are not left out: a model trained against every candidate but the held-back ones would
    know those by never having been told no.

    Returns:
        At most `count` indices into `pool`; isomers beyond it are thinned evenly.

    Raises:
        ValueError: another `kind`.
    """
    if kind not in ("formula", "mass"):
        raise ValueError(f"candidate lists are by 'formula' or 'mass', not {kind!r}")
    found = pool.isomers(formula, inchikey14)
    if len(found) > count:
        found = [found[place] for place in np.linspace(0, len(found) - 1, count).astype(int)]
    if kind == "mass" and len(found) < count:
        taken = set(found)
        near = pool.nearest(exact_mass, inchikey14, count + len(taken))
        found += [index for index in near if index not in taken][: count - len(found)]
    return found
