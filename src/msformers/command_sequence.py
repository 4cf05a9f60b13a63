"""`msformers sequence`: spectra to peptides."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

from . import __version__
from .checkpoints import resolve_checkpoint
from .cli import UsageError
from .command_support import (
    counted,
    input_paths,
    log_counts,
    output_of,
    set_threads,
    table_line,
    with_progress,
)
from .inference.loading import Loaded, load_sequencer
from .inference.peptides import STATUSES, SequenceOptions, Sequencing
from .inference.sequence import check_options, sequence
from .reports.mztab import MzTabHead, write_mztab
from .reports.peptide_records import PeptideRecord, peptide_records
from .reports.tables import write_jsonl, write_table
from .resume import keep_complete, skip_done
from .spectra.peptides import known_modifications
from .spectra.read import read
from .spectra.spectrum import Problem, Spectrum

SUFFIXES = (".mztab", ".jsonl", ".tsv", ".csv", ".parquet")
SEARCH_ENGINES = {"msf_casanovo": "[MS, MS:1003281, Casanovo, ]"}
"""CV parameter by `model_type`."""
CUSTOM = "[MS, MS:1001456, analysis software, msformers]"


def run(arguments: argparse.Namespace) -> None:
    """Sequence the files and write the peptides where they are wanted."""
    files = input_paths(arguments.file, "spectra")
    output = output_of(arguments, SUFFIXES)
    set_threads(arguments)
    loaded = load_sequencer(resolve_checkpoint(arguments.model), arguments.device, arguments.dtype)
    options = _options(arguments, loaded)
    spectra: Iterator[Spectrum | Problem] = with_progress(read(files), arguments, "spectra")
    if arguments.resume and output is not None:
        skip_done(spectra, keep_complete(output))
    counts: Counter[str] = Counter()
    parts = (loaded.model, loaded.processor, loaded.tokenizer)
    answers = counted(sequence(spectra, *parts, options, batch_size=arguments.batch_size), counts)
    if output is None:
        _table(answers)
    elif output.suffix.lower() == ".mztab":
        write_mztab(answers, output, mztab_head(arguments, loaded))
    elif output.suffix.lower() == ".jsonl":
        with output.open("a" if arguments.resume else "w", encoding="utf-8", newline="\n") as stream:
            write_jsonl(peptide_records(answers), stream)
    else:
        write_table(peptide_records(answers), output, PeptideRecord)
    log_counts(counts, STATUSES, output)


def mztab_head(arguments: argparse.Namespace, loaded: Loaded) -> MzTabHead:
    """What an mzTab file says of this run: program, method, settings, modifications the model knows."""
    fixed, variable = known_modifications(map(loaded.tokenizer.proforma, loaded.tokenizer.get_vocab()))
    settings = {
        name: str(getattr(arguments, name))
        for name in (
            "model",
            "beams",
            "top",
            "max_charge",
            "min_length",
            "max_length",
            "precursor_tolerance",
            "dtype",
        )
    }
    return MzTabHead(
        software=("msformers", __version__),
        search_engine=SEARCH_ENGINES.get(loaded.model.config.model_type, CUSTOM),
        settings={"command": shlex.join(["msformers", *sys.argv[1:]]), **settings},
        fixed=fixed,
        variable=variable,
    )


def _options(arguments: argparse.Namespace, loaded: Loaded) -> SequenceOptions:
    try:
        options = SequenceOptions(
            beams=arguments.beams,
            top=arguments.top,
            max_charge=arguments.max_charge,
            min_length=arguments.min_length,
            max_length=arguments.max_length,
            precursor_tolerance=arguments.precursor_tolerance,
        )
        return check_options(options, loaded.model)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _table(answers: Iterable[Sequencing]) -> None:
    """A short table on standard output: the peptides of each spectrum, or the reason why there is none."""
    widths = (5, 24, 9, 2, 4, 40, 7, 7)
    sys.stdout.write(table_line(("index", "spectrum", "m/z", "z", "rank", "peptide", "score", "ppm"), widths))
    for answer in answers:
        mz = "" if answer.precursor_mz is None else f"{answer.precursor_mz:.4f}"
        head = (str(answer.index), answer.native_id, mz, str(answer.charge or ""))
        for hit in answer.peptides:
            error = f"{round(hit.mass_error_ppm, 1) + 0.0:+.1f}"
            cells = (*head, str(hit.rank), hit.peptide, f"{hit.score:.3f}", error)
            sys.stdout.write(table_line(cells, widths))
        if not answer.peptides:
            start = table_line(head, widths[:4]).rstrip()
            sys.stdout.write(f"{start}  {answer.status}: {answer.reason}\n")
