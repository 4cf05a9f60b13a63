"""`msformers annotate`: spectra to ranked molecules."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from .checkpoints import DEFAULT_RETRIEVAL, resolve_checkpoint
from .command_generate import run_without_candidates
from .command_support import (
    counted,
    input_paths,
    log_counts,
    noting,
    output_of,
    set_threads,
    table_line,
    with_progress,
)
from .inference.annotate import STATUSES, Annotation, annotate
from .inference.loading import Loaded, load_retrieval
from .inference.options import SearchOptions
from .inference.retrieval.bank import MoleculeBank, open_bank
from .reports.html import RunInfo, write_report
from .reports.records import all_records
from .reports.tables import write_jsonl, write_table
from .resume import keep_complete, skip_done
from .spectra.adducts import load_adducts, parse_adduct
from .spectra.read import read
from .spectra.spectrum import Problem, Spectrum

SUFFIXES = (".html", ".jsonl", ".tsv", ".csv", ".parquet")
SHOWN, BATCH = 3, 64


def run(arguments: argparse.Namespace) -> None:
    """Annotate the files and write the answers where they are wanted; without candidates generate them."""
    if arguments.candidates is None:
        run_without_candidates(arguments)
        return
    arguments.model = arguments.model or DEFAULT_RETRIEVAL
    files = input_paths(arguments.file, "spectra")
    output = output_of(arguments, SUFFIXES)
    options = _options(arguments)
    candidates = input_paths([arguments.candidates], "molecules")[0]
    set_threads(arguments)
    loaded = load_retrieval(resolve_checkpoint(arguments.model), arguments.device, arguments.dtype)
    bank = _bank(candidates, loaded, arguments)
    spectra: Iterator[Spectrum | Problem] = with_progress(read(files), arguments, "spectra")
    counts: Counter[str] = Counter()
    problems: list[Problem] = []
    if arguments.resume and output is not None:
        skip_done(spectra, keep_complete(output))
    answers = annotate(
        noting(spectra, problems),
        loaded.model,
        loaded.processor,
        bank,
        options,
        evidence=loaded.evidence,
        calibration=loaded.calibration,
        batch_size=arguments.batch_size or BATCH,
    )
    answers = counted(answers, counts)
    if arguments.plot:
        answers = _plotted(answers, arguments)
    if output is None:
        _table(answers)
    elif output.suffix.lower() == ".html":
        write_report(answers, output, _run_info(arguments, files, candidates, bank), problems=problems)
    elif output.suffix.lower() == ".jsonl":
        with output.open("a" if arguments.resume else "w", encoding="utf-8", newline="\n") as stream:
            write_jsonl(all_records(answers), stream)
    else:
        write_table(all_records(answers), output)
    log_counts(counts, STATUSES, output)


def _plotted(answers: Iterator[Annotation], arguments: argparse.Namespace) -> Iterator[Annotation]:
    """The answers, whose pictures are saved as they pass through."""
    from .reports.spectrum_figure import save_plots

    return cast("Iterator[Annotation]", save_plots(answers, arguments.plot, arguments.plot_format))


def _options(arguments: argparse.Namespace) -> SearchOptions:
    if arguments.adduct not in ("assume", "common", "require"):
        parse_adduct(arguments.adduct)
    return SearchOptions(
        search=arguments.search,
        top_k=arguments.top_k,
        ppm=arguments.ppm,
        adducts=arguments.adduct,
        adduct_table=load_adducts(arguments.adduct_table) if arguments.adduct_table else None,
        min_peaks=arguments.min_peaks,
        evidence_depth=arguments.evidence_depth,
        decode=arguments.decode,
        min_confidence=arguments.min_confidence,
        coverage=arguments.coverage,
        set_level=arguments.set_level,
    )


def _bank(candidates: Path, loaded: Loaded, arguments: argparse.Namespace) -> MoleculeBank:
    options: dict[str, Any] = {}
    if not candidates.is_dir():
        options = {"desalt": arguments.desalt, "progress": not arguments.quiet}
    return open_bank(candidates, loaded.model, loaded.tokenizer, arguments.decode, **options)


def _run_info(
    arguments: argparse.Namespace, files: list[Path], candidates: Path, bank: MoleculeBank
) -> RunInfo:
    return RunInfo(
        inputs=tuple(str(file) for file in files),
        model=arguments.model,
        bank=str(candidates),
        bank_size=len(bank),
        command=shlex.join(["msformers", *sys.argv[1:]]),
        options={
            "search": f"{arguments.search}, {arguments.ppm:g} ppm"
            if arguments.search == "mass"
            else arguments.search,
            "adduct where none is stated": arguments.adduct,
            "candidates per spectrum": str(arguments.top_k),
            "candidate sets": f"hold the truth with a chance of {100 * arguments.set_level:g} %, where calibrated",
            "answers held back": _held_back(arguments),
        },
    )


def _held_back(arguments: argparse.Namespace) -> str:
    if arguments.coverage is not None:
        return f"the least sure {100 * (1 - arguments.coverage):g} % of spectra like those of the validation"
    least = arguments.min_confidence
    return "none" if least is None else f"those with a probability below {least:g}"


def _confidence(answer: Annotation, probability: float | None) -> str:
    """The probability of a candidate, and whether the answer is held back."""
    if probability is None:
        return answer.confidence_band or ""
    return f"{100 * probability:.0f} %" + (" abstained" if answer.status == "abstained" else "")


def _table(answers: Iterable[Annotation]) -> None:
    """A short table on standard output: up to three candidates per spectrum, or the reason why there is none."""
    widths = (5, 24, 9, 12, 4, 34, 7, 7, 14)
    titles = ("index", "spectrum", "m/z", "adduct", "rank", "molecule", "score", "ppm", "confidence")
    sys.stdout.write(table_line(titles, widths))
    for answer in answers:
        mz = "" if answer.precursor_mz is None else f"{answer.precursor_mz:.4f}"
        head = (str(answer.index), answer.native_id, mz)
        for hit in answer.candidates[:SHOWN]:
            error = "" if hit.mass_error_ppm is None else f"{round(hit.mass_error_ppm, 1) + 0.0:+.1f}"
            molecule = hit.name or hit.smiles
            cells = (*head, hit.adduct or "", str(hit.rank), molecule, f"{hit.score:.3f}", error)
            sure = _confidence(answer, hit.probability)
            sys.stdout.write(table_line((*cells, sure), widths))
        if not answer.candidates:
            sys.stdout.write(table_line(head, widths[:3]).rstrip() + f"  {answer.status}: {answer.reason}\n")
