"""One self-contained HTML file of generated molecules: it opens offline, loads nothing, and prints well."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from markupsafe import Markup

from ..spectra.spectrum import Problem
from .agreement_plot import agreement_legend
from .generation_records import GenerationLike, GenerationRecord, records_of
from .generation_views import GenerationTally, generation_view
from .html import Limits, RunInfo
from .page import checked_path, environment, script_hash, source, write_page
from .views import problem_view, versions

SHOWN = Limits(candidates=9)


def write_generation_report(
    answers: Iterable[GenerationLike],
    path: str | Path,
    run: RunInfo,
    *,
    problems: Iterable[Problem] = (),
    limits: Limits = SHOWN,
) -> GenerationTally:
    """Write the report of a run; answers are taken one by one and not kept.

    Args:
        answers: one per record of the input, in its order.
        path: of the HTML file; it appears under this name only when complete.
        run: what was run.
        problems: the reader's problems; with them the table of problems names field, value and remedy. May be a list
            that fills while `answers` is consumed.
        limits: how much to show.

    Returns:
        The counts of the run.

    Raises:
        ReportError: the folder does not exist.
    """
    path = checked_path(path)
    tally, sections, overview, unanswered = _collect(answers, limits)
    known_problems = {problem.index: problem for problem in problems}
    script = source("report.js")
    page = (
        environment()
        .get_template("generation.html")
        .render(
            run=run,
            title=run.title,
            started=run.when,
            versions=versions(),
            tally=tally,
            sections=sections,
            overview=overview,
            problems=[problem_view(answer, known_problems) for answer in unanswered],
            n_problems=tally.read - tally.answered,
            limits=limits,
            legend=Markup(agreement_legend("scale", 500)),
            style=source("report.css") + source("generation.css"),
            script=script,
            script_hash=script_hash(script),
        )
    )
    write_page(page, path)
    return tally


def _collect(
    answers: Iterable[GenerationLike], limits: Limits
) -> tuple[GenerationTally, list[str], list[tuple[GenerationRecord, bool]], list[GenerationLike]]:
    """Counts, finished sections, rows of the overview (and whether they have a section), and answers without any."""
    template = environment().get_template("generation_spectrum.html")
    tally, sections = GenerationTally(), list[str]()
    overview, unanswered = list[tuple[GenerationRecord, bool]](), list[GenerationLike]()
    for answer in answers:
        tally.add(answer)
        drawn = answer.spectrum is not None and len(sections) < limits.spectra
        if drawn:
            sections.append(template.render(view=generation_view(answer, limits.candidates)))
        if len(overview) < limits.rows:
            overview.append((records_of(answer)[0], drawn))
        if not answer.molecules and len(unanswered) < limits.rows:
            unanswered.append(answer)
    return tally, sections, overview, unanswered
