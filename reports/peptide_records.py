"""One flat row per spectrum and peptide: what every table of peptides holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


class PeptideLike(Protocol):
    """What is read of one peptide (`inference.peptides.PeptideMatch` has it)."""

    @property
    def rank(self) -> int: ...  # noqa: D102
    @property
    def peptide(self) -> str: ...  # noqa: D102
    @property
    def score(self) -> float: ...  # noqa: D102
    @property
    def residue_scores(self) -> Sequence[float]: ...  # noqa: D102
    @property
    def calc_mz(self) -> float: ...  # noqa: D102
    @property
    def mass_error_ppm(self) -> float: ...  # noqa: D102


class SequencingLike(Protocol):
    """What is read of an answer (`inference.peptides.Sequencing` has it)."""

    @property
    def index(self) -> int: ...  # noqa: D102
    @property
    def native_id(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def precursor_mz(self) -> float | None: ...  # noqa: D102
    @property
    def charge(self) -> int | None: ...  # noqa: D102
    @property
    def retention_time(self) -> float | None: ...  # noqa: D102
    @property
    def scan(self) -> int | None: ...  # noqa: D102
    @property
    def peptides(self) -> Sequence[PeptideLike]: ...  # noqa: D102
    @property
    def path(self) -> str | None: ...  # noqa: D102
    @property
    def line(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class PeptideRecord:
    """One row of a table of peptides: one peptide of one spectrum, or the reason why a spectrum has none.

    Attributes:
        index: position of the record in the input, from 0.
        native_id: the spectrum's own id in its file.
        precursor_mz: in Th.
        charge: of the precursor.
        rank: 1 for the best; None if there is no peptide.
        peptide: in ProForma.
        score: of the peptide, as its model defines it.
        residue_scores: of the residues from the N-terminus on, five decimals, separated by commas.
        calc_mz: m/z of the peptide at this charge, in Th.
        mass_error_ppm: measured minus calculated m/z, in ppm of the latter.
        status, reason: how it went, and in words what was wrong.
        retention_time: in seconds.
        path, line: where the record starts.
    """

    index: int
    native_id: str
    precursor_mz: float | None
    charge: int | None
    rank: int | None
    peptide: str | None
    score: float | None
    residue_scores: str | None
    calc_mz: float | None
    mass_error_ppm: float | None
    status: str
    reason: str
    retention_time: float | None = None
    path: str | None = None
    line: int | None = None


def residue_scores_text(peptide: PeptideLike) -> str:
    """The residue scores of a peptide as text, such as "0.98123,0.40000"."""
    return ",".join(f"{score:.5f}" for score in peptide.residue_scores)


def peptide_records(answers: Iterable[SequencingLike]) -> Iterator[PeptideRecord]:
    """The rows of many answers: one per peptide in order of rank, or a single one that says why there is none."""
    for answer in answers:
        peptides: Sequence[PeptideLike | None] = answer.peptides or [None]
        for found in peptides:
            yield PeptideRecord(
                index=answer.index,
                native_id=answer.native_id,
                precursor_mz=answer.precursor_mz,
                charge=answer.charge,
                rank=found.rank if found else None,
                peptide=found.peptide if found else None,
                score=found.score if found else None,
                residue_scores=residue_scores_text(found) if found else None,
                calc_mz=found.calc_mz if found else None,
                mass_error_ppm=found.mass_error_ppm if found else None,
                status=answer.status,
                reason=answer.reason,
                retention_time=answer.retention_time,
                path=answer.path,
                line=answer.line,
            )
