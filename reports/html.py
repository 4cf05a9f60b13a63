"""One self-contained HTML file per run: it opens offline, loads nothing, and prints well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePath

from ..spectra.spectrum import Problem
from .page import ReportError as ReportError
from .page import checked_path, environment, script_hash, source, write_page
from .records import AnnotationLike, AnnotationRecord, records_from
from .views import Tally, problem_view, spectrum_view, versions
from .wording import text


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What was run, for the head of the report.

    Attributes:
        inputs: the spectrum files.
        model: checkpoint.
        bank: where the candidates come from.
        bank_size: molecules in it, if known.
        command: the command line, if there was one.
        options: further settings by name, such as ``{"search": "mass, 10 ppm"}``.
        started: when; now, if not given.
    """

    inputs: tuple[str, ...]
    model: str
    bank: str
    bank_size: int | None = None
    command: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    started: datetime | None = None

    @property
    def title(self) -> str:
        """The names of the inputs without their folders."""
        return text(", ".join(PurePath(name).name or name for name in self.inputs), 300)

    @property
    def when(self) -> str:
        """Date and time, to the minute."""
        return (self.started or datetime.now().astimezone()).strftime("%Y-%m-%d %H:%M %Z").strip()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the report shows, so that it stays a file a browser opens at once.

    Attributes:
        candidates: drawn per spectrum; the others are listed below them.
        spectra: drawn with their candidates; the others are in the overview.
        rows: of the overview, and of the table of problems.
    """

    candidates: int = 6
    spectra: int = 500
    rows: int = 5000


def write_report(
    annotations: Iterable[AnnotationLike],
    path: str | Path,
    run: RunInfo,
    *,
    problems: Iterable[Problem] = (),
    limits: Limits | None = None,
) -> Tally:
    """Write the report of a run; answers are taken one by one and not kept.

    Args:
        annotations: one per record of the input, in its order.
        path: of the HTML file; it appears under this name only when complete.
        run: what was run.
        problems: the reader's problems; with them the table of problems names field, value and remedy. May be a list
            that fills while `annotations` is consumed.
        limits: how much to show.

    Returns:
        The counts of the run.

    Raises:
        ReportError: the folder does not exist.
    """
    path = checked_path(path)
    limits = limits or Limits()
    tally, sections, overview, unanswered = _collect(annotations, limits)
    known_problems = {problem.index: problem for problem in problems}
    page = (
        environment()
        .get_template("report.html")
        .render(
            run=run,
            title=run.title,
            started=run.when,
            versions=versions(),
            tally=tally,
            sections=sections,
            overview=overview,
            problems=[problem_view(annotation, known_problems) for annotation in unanswered],
            n_problems=tally.read - tally.annotated,
            limits=limits,
            style=source("report.css"),
            script=source("report.js"),
            script_hash=script_hash(source("report.js")),
        )
    )
    write_page(page, path)
    return tally


def _collect(
    annotations: Iterable[AnnotationLike], limits: Limits
) -> tuple[Tally, list[str], list[tuple[AnnotationRecord, bool]], list[AnnotationLike]]:
    """Counts, finished sections, rows of the overview (and whether they have a section), and answers without any."""
    template = environment().get_template("spectrum.html")
    tally, sections = Tally(), list[str]()
    overview, unanswered = list[tuple[AnnotationRecord, bool]](), list[AnnotationLike]()
    for annotation in annotations:
        tally.add(annotation)
        drawn = annotation.spectrum is not None and len(sections) < limits.spectra
        if drawn:
            sections.append(template.render(view=spectrum_view(annotation, limits.candidates)))
        if len(overview) < limits.rows:
            overview.append((records_from(annotation)[0], drawn))
        if not annotation.candidates and len(unanswered) < limits.rows:
            unanswered.append(annotation)
    return tally, sections, overview, unanswered
