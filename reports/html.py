"""One self-contained HTML file per run: it opens offline, loads nothing, and prints well."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from ..spectra.spectrum import Problem
from .records import AnnotationLike, AnnotationRecord, records_from
from .views import Tally, anchor, problem_view, spectrum_view, versions
from .wording import formula_html, number, text

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent


class ReportError(ValueError):
    """A report that cannot be written; names the path and the remedy."""


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
    path = Path(path)
    if not path.parent.is_dir():
        raise ReportError(f"{path}: folder {str(path.parent)!r} does not exist; create it first")
    limits = limits or Limits()
    tally, sections, overview, unanswered = _collect(annotations, limits)
    known_problems = {problem.index: problem for problem in problems}
    page = (
        _environment()
        .get_template("report.html")
        .render(
            run=run,
            title=text(", ".join(PurePath(name).name or name for name in run.inputs), 300),
            started=(run.started or datetime.now().astimezone()).strftime("%Y-%m-%d %H:%M %Z").strip(),
            versions=versions(),
            tally=tally,
            sections=sections,
            overview=overview,
            problems=[problem_view(annotation, known_problems) for annotation in unanswered],
            n_problems=tally.read - tally.annotated,
            limits=limits,
            style=_source("report.css"),
            script=_source("report.js"),
            script_hash=_hash(_source("report.js")),
        )
    )
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(page, encoding="utf-8", errors="replace", newline="\n")
    os.replace(partial, path)
    return tally


def _collect(
    annotations: Iterable[AnnotationLike], limits: Limits
) -> tuple[Tally, list[str], list[tuple[AnnotationRecord, bool]], list[AnnotationLike]]:
    """Counts, finished sections, rows of the overview (and whether they have a section), and answers without any."""
    template = _environment().get_template("spectrum.html")
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


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, formula=formula_html, clean=text, anchor=anchor, markup=Markup)
    return environment


@cache
def _source(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """The hash by which the page's security policy allows this one script and no other."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
