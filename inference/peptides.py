"""What peptide sequencing is asked and what it answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

STATUSES = {
    "ok": "peptides were read",
    "no_peptide": "the search found no peptide within its limits",
    "unreadable": "the record is no spectrum",
    "not_msms": "a survey scan, not a fragment spectrum",
    "negative_mode": "peptides are read from positive ions only",
    "no_precursor": "the precursor m/z is missing",
    "no_charge": "the precursor charge is missing",
    "charge_too_high": "the charge is above the largest that is allowed",
    "other_adduct": "the precursor is no protonated molecule",
    "too_few_peaks": "too few peaks are left for the model",
    "failed": "the model gave no finite score",
}
_PEPTIDE = ("rank", "peptide", "score", "residue_scores", "calc_mz", "mass_error_ppm")


@dataclass(frozen=True, slots=True)
class SequenceOptions:
    """How to search. What is None is as the checkpoint says.

    Attributes:
        beams: width of the beam search; 1 is greedy.
        top: peptides per spectrum, at most `beams`.
        max_charge: spectra with a higher charge are reported and not searched; at most what the model knows.
        min_length: residues of a peptide at least.
        max_length: steps of the search at most; the stop is one of them.
        precursor_tolerance: ppm around the precursor; outside it a score is lowered by 1.
        isotopes: heavier isotopes that may have been selected, from and to.
    """

    beams: int = 1
    top: int = 1
    max_charge: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    precursor_tolerance: float | None = None
    isotopes: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.top <= self.beams:
            raise ValueError(
                f"top {self.top} must be between 1 and the beams ({self.beams}); a beam gives one peptide"
            )
        if self.max_charge is not None and self.max_charge < 1:
            raise ValueError(f"max_charge must be at least 1, got {self.max_charge}")

    def generation(self) -> dict[str, Any]:
        """The arguments of `generate`."""
        return {
            "num_beams": self.beams,
            "num_return_sequences": self.top,
            "min_length": self.min_length,
            "max_length": self.max_length,
            "precursor_tolerance": self.precursor_tolerance,
            "isotopes": self.isotopes,
        }


@dataclass(frozen=True, slots=True)
class PeptideMatch:
    """One peptide read from a spectrum.

    Attributes:
        rank: 1 for the best.
        peptide: in ProForma, N- to C-terminus; I is written L.
        score: as the model defines it (Casanovo 4: mean of the probabilities, less 1 outside the tolerance; 5: their product).
        residue_scores: N- to C-terminus. Casanovo 5: one per letter, an N-terminal modification multiplied into the first;
            Casanovo 4: one per token, an N-terminal modification is a token of its own.
        calc_mz: m/z of the peptide at the charge of the precursor.
        mass_error_ppm: measured minus calculated m/z, in ppm of the latter; isotopes are not corrected for.
    """

    rank: int
    peptide: str
    score: float
    residue_scores: tuple[float, ...]
    calc_mz: float
    mass_error_ppm: float


@dataclass(slots=True)
class Sequencing:
    """The answer for one record of the input.

    Attributes:
        index, native_id, path, line: which record; as in `Spectrum`.
        status, reason: a key of `STATUSES`, and what happened in words ("" if nothing needs saying).
        precursor_mz, charge, retention_time: of the spectrum; None if unknown.
        scan: number of the scan, where the file gives it.
        peptides: best first.
    """

    index: int
    native_id: str
    status: str
    reason: str = ""
    precursor_mz: float | None = None
    charge: int | None = None
    retention_time: float | None = None
    scan: int | None = None
    peptides: list[PeptideMatch] = field(default_factory=list)
    path: str | None = None
    line: int | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One plain mapping per peptide, or a single one with rank None."""
        answers: list[PeptideMatch | None] = [*self.peptides] or [None]
        about = {name: getattr(self, name) for name in ("index", "native_id", "precursor_mz", "charge")}
        end = {"status": self.status, "reason": self.reason}
        return [about | (asdict(one) if one else dict.fromkeys(_PEPTIDE)) | end for one in answers]
