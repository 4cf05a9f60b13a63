"""What a ranking's scores are worth: probabilities, sets that promise to hold the truth, bands, and when to abstain.

A checkpoint brings ``calibration.json``, fitted on validation molecules by ``training_scripts/calibrate.py`` for some kinds
of search. In a list it applies to, a candidate's probability is the softmax of the scores times an inverse temperature,
which depends on the spectrum and its list. A candidate is in the set of, say, 90 % if it is at most so many times less
probable than the best one; how many is the conformal quantile of validation lists of similar length. Both promises
hold for new molecules if the truth is among the candidates and the lists are of the kind calibrated on.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers.utils import cached_file

from ..options import SearchOptions

FILE = "calibration.json"
FORMAT, FORMAT_VERSION = "msformers-calibration", 1
FEATURES = ("log_candidates", "log_peaks", "log_length", "cosine", "explained")
SIZES = (10, 50)
EPSILON = 0.03
MOST_FEW = 5
ASSUMES = (
    "The truth is among the candidates; spectra, molecules and candidate lists are of the kind calibrated on. Molecules, "
    "not spectra, are the exchangeable units: coverage is promised for a new molecule, on average over molecules."
)
UNCALIBRATED = "uncalibrated"
Floats = npt.NDArray[np.float64]


class CalibrationError(ValueError):
    """A calibration that cannot be read, or that does not cover what is asked; says what to do."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A ranked list, and what its temperature depends on.

    Attributes:
        scores: of all candidates, descending, float (n,).
        cosine: of the best candidate, before any evidence.
        explained: share of the intensity that its fragments explain; None without evidence.
        length: of the spectrum's embedding before normalisation.
        n_peaks: of the spectrum.
        n_candidates: that were ranked; more than the scores if only the best were ranked again.
    """

    scores: npt.NDArray[Any]
    cosine: float
    explained: float | None
    length: float
    n_peaks: int
    n_candidates: int

    def features(self) -> tuple[float, ...]:
        """The five values of `FEATURES`; NaN where unknown."""
        counts = math.log(self.n_candidates), math.log1p(self.n_peaks)
        explained = math.nan if self.explained is None else self.explained
        return *counts, math.log(max(self.length, 1e-9)), self.cosine, explained


@dataclass(frozen=True)
class SearchCalibration:
    """The calibration of one kind of search.

    Attributes:
        search, ppm, evidence_depth, decode: the kind, as in `SearchOptions`; ppm is None where it does not matter.
        most_candidates: length of the longest list calibrated on.
        n_spectra, n_molecules: of the validation.
        bias, weights: logarithm of the inverse temperature: bias + weights · standardised features.
        centre, scale, low, high: (5,) of the features on the validation; values outside low … high are drawn to them.
        thresholds: by level ("0.9"), for lists shorter than each of `SIZES` and for longer ones, the largest logarithm of
            the ratio of the best probability to a candidate's in the set; None = the whole list.
        medium, high_band: probabilities of the best candidate from which the band is medium, high: thirds of the validation.
        quantiles: (101,) of the probability of the best candidate on the validation, ascending.
        validation: cross-fitted figures, for reading.
    """

    search: str
    ppm: float | None
    evidence_depth: int
    decode: str
    most_candidates: int
    n_spectra: int
    n_molecules: int
    bias: float
    weights: Sequence[float]
    centre: Sequence[float]
    scale: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    thresholds: Mapping[str, Sequence[float | None]]
    medium: float
    high_band: float
    quantiles: Sequence[float]
    validation: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """In words, such as "mass at 10 ppm, evidence depth 200, fingerprint"."""
        where = self.search if self.ppm is None else f"{self.search} at {self.ppm:g} ppm"
        return f"{where}, evidence depth {self.evidence_depth}, {self.decode}"

    def inverse_temperature(self, features: Sequence[float]) -> float:
        """From the five features; one that is unknown has no say."""
        total = self.bias
        shape = zip(features, self.weights, self.centre, self.scale, self.low, self.high, strict=True)
        for value, weight, centre, scale, low, high in shape:
            if not math.isnan(value):
                total += weight * (min(max(value, low), high) - centre) / scale
        return math.exp(total)

    def log_ratios(self, listing: Listing) -> Floats:
        """(n,) logarithms of the best candidate's probability over each one's: 0 for the best, ascending."""
        scores = np.asarray(listing.scores, dtype=np.float64)
        return (scores[0] - scores) * self.inverse_temperature(listing.features())

    def band(self, probability: float) -> str:
        """Of a best candidate of this probability: "high", "medium" or "low"."""
        return "high" if probability >= self.high_band else "medium" if probability >= self.medium else "low"

    def threshold(self, level: float, n_candidates: int) -> float:
        """Largest log ratio inside a set of this level.

        Raises:
            CalibrationError: the level was not calibrated.
        """
        if f"{level:g}" not in self.thresholds:
            known = ", ".join(self.thresholds)
            raise CalibrationError(f"sets of level {level:g} are not calibrated; choose one of {known}")
        found = self.thresholds[f"{level:g}"][bisect_right(SIZES, n_candidates)]
        return math.inf if found is None else float(found)

    def probability_for(self, options: SearchOptions) -> float | None:
        """The least probability of an answer that is given; None if all are."""
        if options.coverage is None:
            return options.min_confidence
        return float(np.interp(1.0 - options.coverage, np.linspace(0.0, 1.0, 101), self.quantiles))

    def why_not(self, listing: Listing, n_ions: int) -> str:
        """Why a list is none that this applies to; "" if it is."""
        if listing.n_candidates < 2:
            return "a single candidate: the search window chose it"
        if listing.n_candidates > self.most_candidates:
            return f"{listing.n_candidates} candidates, calibrated on at most {self.most_candidates}"
        return "several adducts were tried" if n_ions > 1 else ""


@dataclass(frozen=True)
class Calibration:
    """All that a checkpoint is calibrated for."""

    searches: tuple[SearchCalibration, ...]

    def find(self, options: SearchOptions, has_evidence: bool) -> SearchCalibration | None:
        """The one for a kind of search."""
        depth = options.evidence_depth if has_evidence else 0
        for found in self.searches:
            same = (found.search, found.decode, found.evidence_depth) == (
                options.search,
                options.decode,
                depth,
            )
            if same and found.ppm in (None, options.ppm):
                return found
        return None

    def save(self, folder: Path) -> None:
        """Write `FILE` into a checkpoint folder."""
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "assumes": ASSUMES}
        text = json.dumps(head | {"searches": [asdict(found) for found in self.searches]}, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, checkpoint: str) -> Calibration | None:
        """The calibration of a checkpoint (folder or Hub id); None if it has none.

        Raises:
            CalibrationError: the file is damaged, or of another format.
        """
        quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors")}
        path = cached_file(checkpoint, FILE, **quiet) if checkpoint else None
        return None if path is None else cls.read(Path(path))

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read a file written by `save`; errors as in `load`."""
        remedy = "write it again with training_scripts/calibrate.py, or remove it"
        known = {item.name for item in fields(SearchCalibration)}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if (content["format"], content["format_version"]) != (FORMAT, FORMAT_VERSION):
                raise CalibrationError(
                    f"{path}: format_version {content['format_version']!r} is unknown; {remedy}"
                )
            return cls(
                tuple(SearchCalibration(**{n: item[n] for n in known}) for item in content["searches"])
            )
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, CalibrationError):
                raise
            raise CalibrationError(f"{path}: cannot be read ({error!r}); {remedy}") from error


@dataclass(frozen=True, slots=True)
class Confidence:
    """What is known of one ranking.

    Attributes:
        band: "high", "medium", "low", or "uncalibrated" with the `reason` why.
        probabilities: (n,) of the listed candidates, given that the truth is among them; None if uncalibrated.
        set_size: candidates in the set, the first of the list; None if uncalibrated.
        ambiguity: "unique", "few" (at most 5) or "many" candidates within 0.03 of the best score.
    """

    band: str
    reason: str
    probabilities: Floats | None
    set_size: int | None
    ambiguity: str


def ambiguity(scores: npt.NDArray[Any]) -> str:
    """Band by the number of `scores` (descending) within `EPSILON` of the best."""
    close = int((np.asarray(scores) >= scores[0] - EPSILON).sum())
    return "unique" if close == 1 else "few" if close <= MOST_FEW else "many"


def assess(
    listing: Listing, calibration: SearchCalibration | None, level: float, n_ions: int = 1
) -> Confidence:
    """Probabilities, set and bands of a ranked list.

    Args:
        listing: at least one candidate.
        calibration: None where there is none for this kind of search.
        level: of the set.
        n_ions: readings of the precursor that were searched.
    """
    near = ambiguity(listing.scores)
    no_file = "no calibration for this kind of search"
    reason = no_file if calibration is None else calibration.why_not(listing, n_ions)
    if calibration is None or reason:
        return Confidence(UNCALIBRATED, reason, None, None, near)
    ratios = calibration.log_ratios(listing)
    odds = np.exp(-ratios)
    probabilities = odds / odds.sum()
    inside = int((ratios <= calibration.threshold(level, listing.n_candidates)).sum())
    return Confidence(calibration.band(float(probabilities[0])), "", probabilities, inside, near)
