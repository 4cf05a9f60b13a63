"""The `msformers` command: one subcommand per job; torch is loaded only when a job runs."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from . import __version__
from .cli_arguments import (
    add_annotate,
    add_bank_build,
    add_common,
    add_convert,
    add_embed,
    add_generate,
    add_sequence,
)
from .command_push import DESCRIPTION as PUSH
from .command_push import SUMMARY as PUSH_SUMMARY
from .command_push import add_push

EXIT_OK, EXIT_UNEXPECTED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = "Mass spectra in; ranked molecules, peptides and embeddings out."
EPILOG = """examples:
  msformers annotate demo --candidates demo -o report.html
  msformers annotate run.mzML --candidates my_molecules.smi -o hits.tsv
  msformers generate run.mgf -n 100 -o molecules.jsonl
  msformers bank build pubchem.smi.gz -o bank && msformers annotate run.mgf --candidates bank

exit status: 0 done (records that could not be read are rows with a reason, not errors), 2 wrong usage or unusable input,
1 an unexpected error, 130 interrupted"""

ANNOTATE = """Rank candidate molecules for every spectrum of a file; every record of the input gets a row with a status.

Without --candidates, structures are generated from the spectra alone; msformers generate has all options for that.

examples:
  msformers annotate demo --candidates demo
  msformers annotate run.mgf --candidates my_molecules.smi -o report.html
  msformers annotate run.mzML.gz --candidates bank -o hits.jsonl --resume
  msformers annotate neg.msp --candidates drugs.sdf --adduct common --ppm 5 --top-k 20 -o hits.parquet
  msformers annotate run.mgf -o report.html"""
GENERATE = """Propose structures for every spectrum of a file, from the spectrum alone; every record of the input gets a row.

A molecule is written symbol by symbol, within the mass that precursor and adduct allow. Repeated and invalid ones are
dropped; the others are ranked, and compared for the substructures they agree on. What is generated is a proposal: the
right structure need not be among the molecules. A spectrum without precursor m/z is answered without regard to mass, and
its status says so.

examples:
  msformers generate demo -n 10
  msformers generate run.mgf -n 100 -o molecules.jsonl --resume
  msformers generate run.mzML --adduct common --ppm 5 -o report.html
  msformers generate run.mgf --formula C8H10N4O2 --strategy sample --temperature 1.2 -o molecules.tsv"""
EMBED = """Write the embedding of every spectrum to a Parquet table: index, native_id, status, reason, embedding.

examples:
  msformers embed run.mzML -o embeddings.parquet
  msformers embed run.mgf -o embeddings.parquet --model dreams-embedding"""
SEQUENCE = """Read peptides off every spectrum of a file; every record of the input is accounted for, with a status.

In an mzTab file a spectrum without a peptide is a comment line that says why; in a table it is a row.

examples:
  msformers sequence run.mzML -o peptides.mztab --model casanovo-folder
  msformers sequence run.mgf -o peptides.tsv --model casanovo-folder --beams 5 --top 5
  msformers sequence run.mgf -o peptides.jsonl --model casanovo-folder --resume"""
BANK = """Build a bank of molecules: canonical SMILES, formulas, masses and embeddings, computed once.

example:
  msformers bank build pubchem.smi.gz -o bank"""
BANK_BUILD = """Build a bank from .smi, .csv, .tsv, .parquet or .sdf files (.gz too). If it is interrupted, the same command goes on.

examples:
  msformers bank build my_molecules.smi -o bank
  msformers bank build a.csv b.sdf.gz -o bank --smiles-column structure --desalt --workers 8"""
CONVERT = """Convert a published PyTorch checkpoint to a folder for from_pretrained; nothing in it is executed.

examples:
  msformers convert dreams embedding_model.ckpt dreams-embedding
  msformers convert specbridge ckpt_002000.pt specbridge --molecule DeepChem/ChemBERTa-77M-MLM
  msformers convert casanovo casanovo_massivekb.ckpt casanovo-massivekb"""
INFO = """Versions, devices, threads, and the checkpoints that are shipped.

example:
  msformers info"""


class UsageError(ValueError):
    """Something the user can correct: exit status 2."""


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults that say something, and keeps the line breaks of the examples."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="msformers", description=DESCRIPTION, epilog=EPILOG, formatter_class=_Help
    )
    parser.add_argument("--version", action="version", version=f"msformers {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_annotate(_command(commands, "annotate", "spectra to ranked molecules", ANNOTATE))
    add_generate(_command(commands, "generate", "spectra to new molecules, no candidates needed", GENERATE))
    add_embed(_command(commands, "embed", "spectra to embeddings", EMBED))
    add_sequence(_command(commands, "sequence", "spectra to peptides", SEQUENCE))
    bank = _command(commands, "bank", "molecules to a searchable bank", BANK)
    actions = bank.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_bank_build(_command(actions, "build", "build a bank, or finish one", BANK_BUILD))
    add_convert(_command(commands, "convert", "published weights to a from_pretrained folder", CONVERT))
    add_push(_command(commands, "push", PUSH_SUMMARY, PUSH))
    add_common(_command(commands, "info", "versions, devices, shipped checkpoints", INFO))
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, text: str
) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=summary, description=text, formatter_class=_Help)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; `argv` defaults to `sys.argv[1:]`. Returns the exit status."""
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    _log_to_stderr(arguments.quiet)
    try:
        command = importlib.import_module(f".command_{arguments.command}", __package__)
        command.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("msformers: interrupted\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader of our output has gone, as in `msformers … | head`; keep Python from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:
        if not _is_users(error):
            logging.getLogger(__name__).exception("unexpected error; please report it with the lines below")
            return EXIT_UNEXPECTED
        sys.stderr.write(f"msformers: error: {error}\n")
        return EXIT_USAGE
    return EXIT_OK


def _is_users(error: Exception) -> bool:
    """Whether the user can correct it: our own errors about input, files that cannot be opened, missing extras."""
    ours = type(error).__module__.startswith("msformers.") and isinstance(error, ValueError)
    opening = isinstance(error, OSError) and error.filename is not None
    return ours or opening or isinstance(error, FileNotFoundError) or "pip install" in str(error)


def _log_to_stderr(quiet: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("msformers")
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
