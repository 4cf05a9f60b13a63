"""What the HTML report says of each spectrum: numbers as text, and which parts are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Protocol

from markupsafe import Markup

from ..spectra.spectrum import Problem
from .molecule_plot import DrawingError, molecule_svg
from .records import AnnotationLike, AnnotationRecord, known_block, known_rank, records_from
from .spectrum_plot import spectrum_svg
from .wording import number, text

PACKAGES = ("msformers", "torch", "transformers", "rdkit", "numpy")


class AnswerLike(Protocol):
    """What is read of any answer, ranked or generated, to say where it belongs and how it went."""

    @property
    def index(self) -> int: ...  # noqa: D102
    @property
    def native_id(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> str | None: ...  # noqa: D102
    @property
    def line(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Card:
    """One drawn candidate: its row, its drawing, and whether it is the structure the file states."""

    row: AnnotationRecord
    drawing: Markup
    known: bool


@dataclass(frozen=True, slots=True)
class SpectrumView:
    """One spectrum of the report: plot, drawn candidates, and the rows of the others."""

    anchor: str
    row: AnnotationRecord
    facts: list[tuple[str, str]]
    plot: Markup
    cards: list[Card]
    more: list[AnnotationRecord]
    known: str
    known_class: str
    notes: list[str]


@dataclass(frozen=True, slots=True)
class ProblemView:
    """One record without an answer, in its file's own terms; field, value and remedy are empty if unknown."""

    index: int
    native_id: str
    place: str
    status: str
    field: str
    value: str
    reason: str
    remedy: str


@dataclass(slots=True)
class Tally:
    """Counts of a run.

    Attributes:
        read: records of the input.
        annotated: records with at least one candidate.
        by_status: records by status.
        known, first, listed: records whose file states the structure; of these, found at rank 1, and found at all.
    """

    read: int = 0
    annotated: int = 0
    by_status: dict[str, int] = field(default_factory=dict)
    known: int = 0
    first: int = 0
    listed: int = 0

    def add(self, annotation: AnnotationLike) -> None:
        """Count one answer."""
        self.read += 1
        self.annotated += bool(annotation.candidates)
        self.by_status[annotation.status] = self.by_status.get(annotation.status, 0) + 1
        if known_block(annotation.spectrum) is not None:
            rank = known_rank(annotation)
            self.known += 1
            self.first += rank == 1
            self.listed += rank is not None


def anchor(index: int) -> str:
    """The id of a spectrum's section in the page."""
    return f"s{index}"


def versions() -> list[tuple[str, str]]:
    """Version of Python and of the packages that decide a result, without importing them."""
    found = [("Python", python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            found.append((package, "not installed"))
    return found


def spectrum_view(annotation: AnnotationLike, top: int) -> SpectrumView:
    """Everything the report shows of one readable spectrum.

    Args:
        annotation: with its spectrum.
        top: candidates to draw.
    """
    rows = [row for row in records_from(annotation) if row.rank is not None]
    mark = anchor(annotation.index)
    known, known_class = _known(annotation)
    spectrum = annotation.spectrum
    return SpectrumView(
        anchor=mark,
        row=records_from(annotation)[0],
        facts=_facts(annotation),
        plot=Markup(spectrum_svg(spectrum, f"{mark}-p")) if spectrum is not None else Markup(""),
        cards=[_card(row, f"{mark}-m{row.rank}") for row in rows[:top]],
        more=rows[top:],
        known=known,
        known_class=known_class,
        notes=_notes(annotation),
    )


def _notes(annotation: AnnotationLike) -> list[str]:
    """What a reader of the answer must know: what went wrong, what was repaired, and whether the score had a say."""
    spectrum = annotation.spectrum
    notes = [text(annotation.reason, 400)] if annotation.reason else []
    notes += [f"Reader: {text(note)}" for note in (spectrum.notes if spectrum is not None else ())]
    if annotation.confidence_note and annotation.n_candidates != 1:
        notes.append(f"Confidence {annotation.confidence_band}: {text(annotation.confidence_note, 400)}.")
    if annotation.n_candidates == 1:
        notes.append("Only one molecule of the bank was allowed: the search window chose it, not the score.")
    return notes


def confidence(annotation: AnnotationLike) -> str:
    """Band and probability of the first candidate, such as "high (93 %)"."""
    band = annotation.confidence_band or "–"
    sure = annotation.candidates[0].probability if annotation.candidates else None
    return band if sure is None else f"{band} ({100.0 * sure:.0f} %)"


def _card(row: AnnotationRecord, uid: str) -> Card:
    label = f"Structure of candidate {row.rank}, {text(row.name or row.formula or '')}"
    try:
        drawing = Markup(molecule_svg(row.smiles or "", uid, label))
    except DrawingError:
        drawing = Markup("<p class='nodrawing'>{}</p>").format(text(row.smiles or "no structure"))
    return Card(row, drawing, row.known_match is True)


def _known(annotation: AnnotationLike) -> tuple[str, str]:
    """What to say of the structure the file states, and its colour class."""
    if known_block(annotation.spectrum) is None:
        return "", ""
    rank = known_rank(annotation)
    if rank is None:
        return "structure in the file: not among the candidates", "missed"
    return f"structure in the file: rank {rank}", "hit" if rank == 1 else "lower"


def _facts(annotation: AnnotationLike) -> list[tuple[str, str]]:
    spectrum = annotation.spectrum
    energy = spectrum.collision_energy if spectrum else None
    facts = [
        ("precursor m/z", number(annotation.precursor_mz, 4)),
        ("adduct", text(annotation.adduct or "not known")),
        ("polarity", text(annotation.ion_mode or "not known")),
        ("collision energy", f"{round(energy, 1):g} eV" if energy is not None else "not given"),
        ("instrument", text((spectrum.instrument_type if spectrum else None) or "not given", 60)),
        ("peaks", str(len(spectrum)) if spectrum else "0"),
        ("candidates", f"{annotation.n_candidates:,}"),
    ]
    if annotation.confidence_band is not None:
        facts.append(("confidence", text(confidence(annotation))))
        facts.append(("as good as the first", text(annotation.ambiguity or "not known")))
    if annotation.set_size is not None:
        facts.append(("in the candidate set", f"{annotation.set_size:,}"))
    if spectrum is not None and spectrum.retention_time is not None:
        facts.insert(5, ("retention time", f"{spectrum.retention_time / 60.0:.2f} min"))
    return facts


def place_of(answer: AnswerLike) -> str:
    """File and line of a record."""
    name = Path(answer.path).name if answer.path else "memory"
    return text(f"{name}:{answer.line}" if answer.line is not None else name)


def problem_view(annotation: AnswerLike, problems: Mapping[int, Problem]) -> ProblemView:
    """What to say of a record without molecules; the reader's own `Problem` gives field, value and remedy."""
    problem = problems.get(annotation.index)
    return ProblemView(
        index=annotation.index,
        native_id=text(annotation.native_id),
        place=place_of(annotation),
        status=annotation.status.replace("_", " "),
        field=text(problem.field) if problem else "",
        value=text(problem.value, 60) if problem else "",
        reason=text(problem.reason if problem else annotation.reason, 400),
        remedy=text(problem.remedy) if problem else "",
    )
