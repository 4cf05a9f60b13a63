"""Consensus scores as probabilities: a table per substructure, fitted on validation spectra, kept with the checkpoint.

The predictions of one spectrum resemble each other more than they resemble the truth, so a share of 90 % of them need not mean
that 90 % of such molecules have the substructure. An isotonic regression (Ayer et al. 1955, pool adjacent violators) says how
often they had it on validation molecules; ``consensus_calibration.json`` keeps its steps. It holds for new molecules of the
kind calibrated on, and for predictions made in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers.utils import cached_file

from .consensus import Consensus, Floats
from .substructures import Substructure

FILE = "consensus_calibration.json"
FORMAT, FORMAT_VERSION = "msformers-consensus-calibration", 1
MIN_OCCURRENCES = 5
REMEDY = "fit and save it again, or remove it"


class ConsensusCalibrationError(ValueError):
    """A consensus calibration that cannot be fitted or read; says what to do."""


@dataclass(frozen=True, slots=True)
class SubstructureCalibration:
    """How often molecules have one substructure, given its consensus score.

    Attributes:
        name, smarts: the substructure; the table holds for this SMARTS only.
        scores: ascending, 0 to 1. probabilities: not descending, at these scores; linear in between, constant beyond.
        occurrences: validation molecules with the substructure. n_molecules: all of them.
    """

    name: str
    smarts: str
    scores: Sequence[float]
    probabilities: Sequence[float]
    occurrences: float
    n_molecules: int

    def probability(self, score: npt.ArrayLike) -> Floats:
        """The probability at a consensus score, same shape; NaN where the score is."""
        given = np.asarray(score, dtype=np.float64)
        found = np.interp(given, self.scores, self.probabilities)
        # with a single step NumPy would answer NaN with it
        return np.where(np.isnan(given), np.nan, found)


@dataclass(frozen=True)
class ConsensusCalibration:
    """The tables of a checkpoint.

    Attributes:
        substructures: one table each.
        kind: how the predictions were made, in words, such as "100 beams, re-ranked by mass".
    """

    substructures: tuple[SubstructureCalibration, ...]
    kind: str = ""

    def probabilities(self, consensus: Consensus) -> Floats:
        """(k,) calibrated probability of each substructure of a consensus; NaN where there is no table for its SMARTS."""
        return self.transform(consensus.scores[None, :], consensus.substructures)[0]

    def transform(self, scores: npt.ArrayLike, substructures: Sequence[Substructure]) -> Floats:
        """The same for many spectra: scores (n, k) of `substructures` (k,) to probabilities (n, k)."""
        tables = {table.smarts: table for table in self.substructures}
        values = np.asarray(scores, dtype=np.float64)
        found = np.full(values.shape, np.nan)
        for column, substructure in enumerate(substructures):
            if substructure.smarts in tables:
                found[:, column] = tables[substructure.smarts].probability(values[:, column])
        return found

    def save(self, folder: str | Path) -> Path:
        """Write `FILE` into a checkpoint folder."""
        path = Path(folder) / FILE
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, "kind": self.kind}
        tables = [asdict(table) for table in self.substructures]
        path.write_text(json.dumps(content | {"substructures": tables}, indent=1) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, checkpoint: str) -> ConsensusCalibration | None:
        """The calibration of a checkpoint (folder or Hub id); None if it has none.

        Raises:
            ConsensusCalibrationError: the file is damaged, or of another format.
        """
        quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors")}
        path = cached_file(checkpoint, FILE, **quiet) if checkpoint else None
        return None if path is None else cls.read(Path(path))

    @classmethod
    def read(cls, path: Path) -> ConsensusCalibration:
        """Read a file written by `save`; errors as in `load`."""
        known = {item.name for item in fields(SubstructureCalibration)}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if (content["format"], content["format_version"]) != (FORMAT, FORMAT_VERSION):
                raise ConsensusCalibrationError(
                    f"{path}: format {content['format']!r}, version {content['format_version']!r} is unknown; {REMEDY}"
                )
            tables = [
                SubstructureCalibration(**{name: item[name] for name in known})
                for item in content["substructures"]
            ]
            for table in tables:
                _check(table, path)
            return cls(tuple(tables), str(content["kind"]))
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, ConsensusCalibrationError):
                raise
            raise ConsensusCalibrationError(f"{path}: cannot be read ({error!r}); {REMEDY}") from error


def _check(table: SubstructureCalibration, path: Path) -> None:
    """A damaged table must not turn into probabilities."""
    scores, found = (np.asarray(side, dtype=np.float64) for side in (table.scores, table.probabilities))
    rising = scores.ndim == 1 and scores.size > 0 and (np.diff(scores) > 0).all()
    bounded = scores.shape == found.shape and ((found >= 0) & (found <= 1)).all()
    if not rising or not bounded or (np.diff(found) < 0).any():
        raise ConsensusCalibrationError(
            f"{path}: substructure {table.name!r}: scores {scores.tolist()} with probabilities {found.tolist()} are no "
            f"rising table within 0 … 1; {REMEDY}"
        )


def fit_calibration(
    scores: npt.ArrayLike,
    truth: npt.ArrayLike,
    substructures: Sequence[Substructure],
    molecules: Sequence[object],
    kind: str = "",
    min_occurrences: int = MIN_OCCURRENCES,
) -> ConsensusCalibration:
    """Fit the tables on validation spectra.

    Each molecule counts once, whatever its number of spectra. No table promises more than the validation can show: the
    probabilities stay within 1/(m + 2) … (m + 1)/(m + 2) for m molecules.

    Args:
        scores: (n, k) consensus scores; NaN (no valid prediction) is left out.
        truth: (n, k) whether the true molecule has the substructure.
        substructures: (k,) the columns.
        molecules: (n,) what identifies the true molecule, such as its first InChIKey block.
        kind: how the predictions were made, in words.
        min_occurrences: substructures that fewer molecules have get no table.

    Raises:
        ConsensusCalibrationError: shapes differ.
    """
    # equal shares of different lists may differ in the last bit, and are one score
    claimed = np.round(np.asarray(scores, dtype=np.float64), 9)
    right = np.asarray(truth, dtype=np.float64)
    if claimed.shape != right.shape or claimed.shape != (len(molecules), len(substructures)):
        raise ConsensusCalibrationError(
            f"scores of shape {claimed.shape}, truth of shape {right.shape} for {len(molecules)} spectra and "
            f"{len(substructures)} substructures; give spectra × substructures"
        )
    tables = []
    for column, substructure in enumerate(substructures):
        known = np.isfinite(claimed[:, column])
        names = [str(name) for name, kept in zip(molecules, known, strict=True) if kept]
        _, inverse, counts = np.unique(names, return_inverse=True, return_counts=True)
        weights, hits = 1.0 / counts[inverse], right[known, column]
        occurrences = float(weights @ hits)
        if counts.size and occurrences >= min_occurrences:
            x, y = _isotonic(claimed[known, column], hits, weights)
            y = np.clip(y, 1 / (counts.size + 2), (counts.size + 1) / (counts.size + 2))
            who = substructure.name, substructure.smarts
            tables.append(
                SubstructureCalibration(*who, x.tolist(), y.tolist(), round(occurrences, 3), int(counts.size))
            )
    return ConsensusCalibration(tuple(tables), kind)


def _isotonic(scores: Floats, hits: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Mean score and share of hits of the blocks of an isotonic regression, both ascending."""
    levels, level = np.unique(scores, return_inverse=True)
    masses, sums = np.bincount(level, weights), np.bincount(level, weights * hits)
    blocks: list[list[float]] = []
    for score, mass, total in zip(levels, masses, sums, strict=True):
        blocks.append([mass, total, mass * score])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][0] >= blocks[-1][1] * blocks[-2][0]:
            last = blocks.pop()
            blocks[-1] = [one + other for one, other in zip(blocks[-1], last, strict=True)]
    found = np.array(blocks)
    return found[:, 2] / found[:, 0], found[:, 1] / found[:, 0]
