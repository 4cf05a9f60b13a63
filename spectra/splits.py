"""Splitting spectra into folds, and finding what leaks between them.

A fold hangs on a SHA-1 hash of the key alone (InChIKey block, formula), so it is the same in any order, on any machine,
and for any further data. Three splits of the same spectra:

* `unknown_split`: no molecule on two sides. The question is: which molecule is it, never seen before?
* `formula_split`: no formula on two sides, which is stricter.
* `known_split`: the molecule is in training, this spectrum is not. The question is: is it recognised?
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .masses import FormulaError, hill, parse_formula

Folds = npt.NDArray[np.str_]
DEFAULT_FRACTIONS: Mapping[str, float] = {"train": 0.9, "val": 0.05, "test": 0.05}


@dataclass(frozen=True, slots=True)
class Leak:
    """One key that stands on two sides.

    Attributes:
        key: the InChIKey block, formula or spectrum fingerprint.
        folds: the folds it is in, by name.
        rows: the rows of each of these folds that hold it.
    """

    key: str
    folds: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        places = ", ".join(
            f"{fold} rows {list(rows[:5])}" for fold, rows in zip(self.folds, self.rows, strict=True)
        )
        return f"{self.key} is in {places}"


def hash_fraction(key: str, salt: str = "") -> float:
    """A number in [0, 1) that depends only on `key` and `salt`: the first 52 bits of their SHA-1."""
    digest = hashlib.sha1(f"{salt}{key}".encode(), usedforsecurity=False).digest()
    return (int.from_bytes(digest[:7], "big") >> 4) / 2**52


def fold_of(key: str, fractions: Mapping[str, float] = DEFAULT_FRACTIONS, salt: str = "") -> str:
    """The fold of one key.

    Args:
        key: what must not be on two sides.
        fractions: share of the keys by fold; the shares sum to 1.
        salt: another salt gives another, independent split.

    Raises:
        ValueError: the key is empty, or the fractions are negative or do not sum to 1.
    """
    if not key:
        raise ValueError(
            "a row has no key to split by; leave rows without structure out, or give them a fold yourself"
        )
    if min(fractions.values(), default=-1.0) < 0 or abs(sum(fractions.values()) - 1.0) > 1e-9:
        raise ValueError(f"fractions {dict(fractions)} are not shares that sum to 1")
    place = hash_fraction(key, salt)
    bound = 0.0
    for fold, share in fractions.items():
        bound += share
        if place < bound:
            return fold
    return list(fractions)[-1]


def _split(keys: Iterable[str], fractions: Mapping[str, float], salt: str) -> Folds:
    known: dict[str, str] = {}
    folds = []
    for key in keys:
        if key not in known:
            known[key] = fold_of(key, fractions, salt)
        folds.append(known[key])
    return np.array(folds, dtype=np.str_)


def unknown_split(
    inchikeys: Iterable[str], fractions: Mapping[str, float] = DEFAULT_FRACTIONS, salt: str = ""
) -> Folds:
    """Fold of every spectrum such that no molecule is on two sides.

    Args:
        inchikeys: InChIKey, or its first block, of every spectrum; stereoisomers share the block and the fold.
        fractions: share of the molecules by fold.
        salt: another salt gives another split.

    Returns:
        fold names, shape (n_spectra,).

    Raises:
        ValueError: a key is empty, or the fractions do not sum to 1.
    """
    return _split((key[:14] for key in inchikeys), fractions, salt)


def formula_split(
    formulas: Iterable[str], fractions: Mapping[str, float] = DEFAULT_FRACTIONS, salt: str = ""
) -> Folds:
    """Fold of every spectrum such that no sum formula is on two sides; arguments as in `unknown_split`."""
    return _split((_plain_formula(formula) for formula in formulas), fractions, salt)


def known_split(
    inchikeys: Sequence[str],
    n_test: int,
    *,
    fingerprints: Sequence[Hashable] | None = None,
    min_spectra: int = 3,
    salt: str = "",
) -> Folds:
    """Fold of every spectrum such that each test molecule is also in train, by other spectra.

    Args:
        inchikeys: InChIKey, or its first block, of every spectrum.
        n_test: number of test spectra, one for each of as many molecules.
        fingerprints: `spectrum_fingerprint` of every spectrum; given these, no test spectrum is a copy of another one.
        min_spectra: spectra a molecule needs to give one.
        salt: another salt gives another split.

    Returns:
        "train" or "known_test", shape (n_spectra,).

    Raises:
        ValueError: fewer than `n_test` molecules qualify.
    """
    prints: Sequence[Hashable] = range(len(inchikeys)) if fingerprints is None else fingerprints
    copies: dict[Hashable, int] = defaultdict(int)
    for fingerprint in prints:
        copies[fingerprint] += 1
    rows = _rows_by(key[:14] for key in inchikeys)
    chosen = []
    for block, mine in rows.items():
        single = [row for row in mine if copies[prints[row]] == 1]
        if block and len(mine) >= min_spectra and single:
            pick = min(single, key=lambda row: (hash_fraction(str(prints[row]), salt + block), row))
            chosen.append((hash_fraction(block, salt), pick))
    if len(chosen) < n_test:
        raise ValueError(
            f"only {len(chosen)} molecules have {min_spectra} spectra; ask for at most so many, not {n_test}"
        )
    folds = np.full(len(inchikeys), "train", dtype="<U10")
    folds[[row for _, row in sorted(chosen)[:n_test]]] = "known_test"
    return folds


def spectrum_fingerprint(
    mz: npt.NDArray[np.float64], intensity: npt.NDArray[np.float32], precursor_mz: float | None = None
) -> str:
    """SHA-1 of a spectrum, the same for copies: m/z to 1e-4, intensity to 1e-3 of the base peak, precursor to 1e-2."""
    places = np.round(np.asarray(mz, dtype=np.float64) * 1e4).astype("<i8")
    heights = np.asarray(intensity, dtype=np.float64)
    levels = np.round(heights / (heights.max() if heights.size else 1.0) * 1e3).astype("<i8")
    head = "none" if precursor_mz is None else f"{precursor_mz:.2f}"
    data = head.encode() + places.tobytes() + levels.tobytes()
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def molecule_leaks(inchikeys: Iterable[str], folds: Sequence[str]) -> list[Leak]:
    """Molecules (InChIKey first blocks) that are in more than one fold; empty for an Unknown split."""
    return _leaks((key[:14] for key in inchikeys), folds)


def formula_leaks(formulas: Iterable[str], folds: Sequence[str]) -> list[Leak]:
    """Sum formulas that are in more than one fold; empty for a formula split."""
    return _leaks((_plain_formula(formula) for formula in formulas), folds)


def spectrum_leaks(fingerprints: Iterable[str], folds: Sequence[str]) -> list[Leak]:
    """Spectra (by `spectrum_fingerprint`) with copies in more than one fold; empty for every honest split."""
    return _leaks(fingerprints, folds)


def strangers(
    inchikeys: Sequence[str], folds: Sequence[str], test: str = "known_test", train: str = "train"
) -> list[int]:
    """Rows of a Known split's test fold whose molecule is not in train; empty if the split is what it says."""
    seen = {key[:14] for key, fold in zip(inchikeys, folds, strict=True) if fold == train}
    return [
        row
        for row, (key, fold) in enumerate(zip(inchikeys, folds, strict=True))
        if fold == test and key[:14] not in seen
    ]


def _plain_formula(formula: str) -> str:
    """Hill formula without charge; a text that is no formula stays as it is."""
    try:
        return hill(parse_formula(formula)) if formula else ""
    except FormulaError:
        return formula


def _rows_by(keys: Iterable[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    return rows


def _leaks(keys: Iterable[str], folds: Sequence[str]) -> list[Leak]:
    names = [str(fold) for fold in folds]
    by_key: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (key, fold) in enumerate(zip(keys, names, strict=True)):
        if key:
            by_key[key][fold].append(row)
    return [
        Leak(key, tuple(sorted(found)), tuple(tuple(found[fold]) for fold in sorted(found)))
        for key, found in by_key.items()
        if len(found) > 1
    ]
