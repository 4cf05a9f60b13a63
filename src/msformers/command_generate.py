"""`msformers generate`: spectra to new molecules; also what `msformers annotate` does without candidates."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from .checkpoints import DEFAULT_RETRIEVAL, resolve_checkpoint
from .cli import UsageError, build_parser
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
from .inference.generation.consensus_calibration import ConsensusCalibration
from .inference.generation.generate import generate
from .inference.generation.library_condition import LibraryCondition
from .inference.generation.options import RECORD, STATUSES, GenerateOptions, Generation
from .inference.generation.rerank import reranker
from .inference.generation.substructures import load_substructures
from .inference.loading import CheckpointError, Loaded, load_generator, load_retrieval
from .reports.generation_html import write_generation_report
from .reports.generation_records import GenerationRecord, generation_records
from .reports.html import RunInfo
from .reports.tables import write_jsonl, write_table
from .resume import keep_complete, skip_done
from .spectra.adducts import load_adducts, parse_adduct
from .spectra.read import read
from .spectra.spectrum import Problem, Spectrum

logger = logging.getLogger(__name__)
SUFFIXES = (".html", ".jsonl", ".tsv", ".csv", ".parquet")
SHOWN, LEAST_BEAMS = 3, 100
STRATEGY_OF = {
    "temperature": "sample",
    "top_p": "sample",
    "seed": "sample",
    "groups": "diverse",
    "diversity": "diverse",
}
"""Options that only one strategy knows."""
_NEEDS_CANDIDATES = {
    "decode": "it chooses how candidates are compared",
    "evidence_depth": "it is for candidates that are ranked again",
    "min_confidence": "only ranked candidates have a calibrated probability",
    "coverage": "only ranked candidates have a calibrated probability",
    "set_level": "only ranked candidates have a calibrated probability",
    "desalt": "it changes the molecules of a file",
    "plot": "it draws ranked candidates; for generated ones use -o with an .html file",
}


def run(arguments: argparse.Namespace) -> None:
    """Generate molecules for the files and write them where they are wanted."""
    files = input_paths(arguments.file, "spectra")
    output = output_of(arguments, SUFFIXES)
    options = _options(arguments)
    substructures = load_substructures(extra=arguments.substructures)
    set_threads(arguments)
    checkpoint = resolve_checkpoint(arguments.model)
    loaded = load_generator(checkpoint, arguments.device, arguments.dtype)
    calibration = ConsensusCalibration.load(checkpoint)
    order = reranker(options.rerank, _reranking(arguments), options.ppm)
    spectra: Iterator[Spectrum | Problem] = iter(read(files))
    if arguments.resume and output is not None:
        skip_done(spectra, keep_complete(output))
    counts: Counter[str] = Counter()
    problems: list[Problem] = []
    answers = generate(
        noting(spectra, problems),
        loaded.model,
        loaded.processor,
        loaded.tokenizer,
        options,
        reranker=order,
        library=_library(arguments, checkpoint, loaded),
        substructures=substructures,
        calibration=calibration,
        batch_size=arguments.batch_size,
    )
    answers = counted(with_progress(answers, arguments, "spectra"), counts)
    if output is not None and output.suffix.lower() == ".html":
        run_info = _run_info(arguments, files, options, order.name, calibration)
        write_generation_report(answers, output, run_info, problems=problems)
    else:
        _write(answers, output, arguments.resume)
    log_counts(counts, STATUSES, output)


def _write(answers: Iterable[Generation], output: Path | None, append: bool) -> None:
    if output is None:
        _table(answers)
    elif output.suffix.lower() == ".jsonl":
        # line by line, because a molecule is dear: what is written is not lost with a killed process
        with output.open("a" if append else "w", buffering=1, encoding="utf-8", newline="\n") as stream:
            write_jsonl(generation_records(answers), stream)
    else:
        write_table(generation_records(answers), output, GenerationRecord)


def run_without_candidates(given: argparse.Namespace) -> None:
    """`annotate` without candidates: the same files, output and limits, with structures that are generated.

    Raises:
        UsageError: an option makes sense for candidates only.
    """
    parser = build_parser()
    usual = parser.parse_args(["annotate", "demo"])
    for name, reason in _NEEDS_CANDIDATES.items():
        if getattr(given, name) != getattr(usual, name):
            raise UsageError(f"--{name.replace('_', '-')} needs --candidates: {reason}")
    arguments = parser.parse_args(["generate", "demo"])
    for name, value in vars(given).items():
        if hasattr(arguments, name) and value is not None:
            setattr(arguments, name, value)
    arguments.n = given.top_k
    arguments.formula = RECORD if given.search == "formula" else None
    arguments.no_mass_filter = given.search == "open"
    logger.warning("no --candidates: structures are generated by %s, not looked up", arguments.model)
    run(arguments)


def _options(arguments: argparse.Namespace) -> GenerateOptions:
    if arguments.adduct not in ("assume", "common", "require"):
        parse_adduct(arguments.adduct)
    how = {name: getattr(arguments, name) for name in STRATEGY_OF if getattr(arguments, name) is not None}
    for name in how:
        if arguments.strategy != STRATEGY_OF[name]:
            raise UsageError(
                f"--{name.replace('_', '-')} has no effect on --strategy {arguments.strategy}; "
                f"add --strategy {STRATEGY_OF[name]}, or leave it out"
            )
    return GenerateOptions(
        n=arguments.n,
        beams=arguments.beams or max(LEAST_BEAMS, arguments.n),
        strategy=arguments.strategy,
        **how,
        mass_filter=not arguments.no_mass_filter,
        ppm=arguments.ppm,
        adducts=arguments.adduct,
        adduct_table=load_adducts(arguments.adduct_table) if arguments.adduct_table else None,
        formula=arguments.formula,
        rerank=arguments.rerank,
        min_peaks=arguments.min_peaks,
        max_length=arguments.max_length,
    )


def _library(arguments: argparse.Namespace, checkpoint: str, loaded: Loaded) -> LibraryCondition | None:
    """The spectrum library whose matches the model is told: the one asked for, else that of the checkpoint, if any."""
    if arguments.library is None:
        return LibraryCondition.of_checkpoint(checkpoint, loaded)
    if not Path(arguments.library).is_dir():
        raise UsageError(
            f"--library {arguments.library}: no such folder; give one that SpectrumLibrary.save wrote"
        )
    return LibraryCondition.load(arguments.library, loaded)


def _reranking(arguments: argparse.Namespace) -> Loaded | None:
    """The model that re-ranks, if one is asked for or at hand."""
    if arguments.rerank not in ("auto", "learned"):
        return None
    name = arguments.reranker or DEFAULT_RETRIEVAL
    try:
        return load_retrieval(resolve_checkpoint(name), arguments.device, arguments.dtype)
    except CheckpointError:
        if arguments.rerank == "learned" or arguments.reranker:
            raise
        logger.warning("%s is not at hand to re-rank; molecules are ordered by their mass", name)
        return None


def _run_info(
    arguments: argparse.Namespace,
    files: list[Path],
    options: GenerateOptions,
    order: str,
    calibration: ConsensusCalibration | None,
) -> RunInfo:
    draws = f", temperature {options.temperature:g}, top-p {options.top_p:g}, seed {options.seed}"
    limit = f"within {options.ppm:g} ppm of the precursor" if options.mass_filter else "not restricted"
    return RunInfo(
        inputs=tuple(str(file) for file in files),
        model=arguments.model,
        bank="none: structures are generated from the spectra alone",
        command=shlex.join(["msformers", *sys.argv[1:]]),
        options={
            "search": f"{options.strategy}, {options.beams} wide{draws if options.strategy == 'sample' else ''}",
            "mass": limit if options.formula is None else f"formula: {options.formula}",
            "adduct where none is stated": options.adducts,
            "molecules per spectrum": f"at most {options.n}",
            "ordered by": order,
            **({"substructures calibrated for": calibration.kind} if calibration else {}),
        },
    )


def _table(answers: Iterable[Generation]) -> None:
    """A short table on standard output: up to three molecules per spectrum, or the reason why there is none."""
    widths = (5, 24, 9, 12, 4, 48, 12, 7, 7, 9)
    titles = (
        "index",
        "spectrum",
        "m/z",
        "adduct",
        "rank",
        "molecule",
        "formula",
        "score",
        "ppm",
        "consensus",
    )
    sys.stdout.write(table_line(titles, widths))
    for answer in answers:
        mz = "" if answer.precursor_mz is None else f"{answer.precursor_mz:.4f}"
        head = (str(answer.index), answer.native_id, mz)
        for hit in answer.molecules[:SHOWN]:
            error = "" if hit.mass_error_ppm is None else f"{round(hit.mass_error_ppm, 1) + 0.0:+.1f}"
            agreed = "" if hit.consensus is None else f"{hit.consensus:.2f}"
            cells = (
                hit.adduct or "",
                str(hit.rank),
                hit.smiles,
                hit.formula,
                f"{round(hit.score, 3) + 0.0:.3f}",
                error,
                agreed,
            )
            sys.stdout.write(table_line((*head, *cells), widths))
        if not answer.molecules:
            sys.stdout.write(table_line(head, widths[:3]).rstrip() + f"  {answer.status}: {answer.reason}\n")
