"""The `msformers` command: one subcommand per job; torch is loaded only when a job runs."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from . import __version__

EXIT_OK, EXIT_UNEXPECTED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = "Mass spectra in; ranked molecules, peptides and embeddings out."
EPILOG = """examples:
  msformers annotate demo --candidates demo -o report.html
  msformers annotate run.mzML --candidates my_molecules.smi -o hits.tsv
  msformers bank build pubchem.smi.gz -o bank && msformers annotate run.mgf --candidates bank

exit status: 0 done (records that could not be read are rows with a reason, not errors), 2 wrong usage or unusable input,
1 an unexpected error, 130 interrupted"""

ANNOTATE = """Rank candidate molecules for every spectrum of a file; every record of the input gets a row with a status.

examples:
  msformers annotate demo --candidates demo
  msformers annotate run.mgf --candidates my_molecules.smi -o report.html
  msformers annotate run.mzML.gz --candidates bank -o hits.jsonl --resume
  msformers annotate neg.msp --candidates drugs.sdf --adduct common --ppm 5 --top-k 20 -o hits.parquet"""
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
    """Shows defaults and keeps the line breaks of the examples."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="msformers", description=DESCRIPTION, epilog=EPILOG, formatter_class=_Help
    )
    parser.add_argument("--version", action="version", version=f"msformers {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _annotate(_command(commands, "annotate", "spectra to ranked molecules", ANNOTATE))
    _embed(_command(commands, "embed", "spectra to embeddings", EMBED))
    _sequence(_command(commands, "sequence", "spectra to peptides", SEQUENCE))
    bank = _command(commands, "bank", "molecules to a searchable bank", BANK)
    actions = bank.add_subparsers(dest="action", metavar="ACTION", required=True)
    _bank_build(_command(actions, "build", "build a bank, or finish one", BANK_BUILD))
    _convert(_command(commands, "convert", "published weights to a from_pretrained folder", CONVERT))
    _common(_command(commands, "info", "versions, devices, shipped checkpoints", INFO))
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, text: str
) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=summary, description=text, formatter_class=_Help)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="only warnings and errors on standard error"
    )


def _compute(parser: argparse.ArgumentParser, batch: int, model: str | None = "specbridge-small") -> None:
    named = {"default": model} if model else {"required": True}
    parser.add_argument("--model", help="shipped name, folder or Hub id", **named)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument(
        "--threads", type=_positive, default=None, help="CPU threads (default: torch decides)"
    )
    parser.add_argument("--batch-size", type=_positive, default=batch)
    _common(parser)


def _annotate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "file",
        nargs="+",
        metavar="FILE",
        help="MGF, MSP, MassBank, JSON, mzML, mzXML, Parquet, a folder, or demo",
    )
    add("-c", "--candidates", required=True, metavar="BANK", help="bank folder, molecule file, or demo")
    add(
        "-o",
        "--output",
        metavar="OUT",
        help=".jsonl, .tsv, .csv, .parquet or .html; without it a short table",
    )
    add("--top-k", type=_positive, default=10, help="molecules per spectrum")
    add("--ppm", type=_positive_number, default=10.0, help="half width of the precursor window, ppm of m/z")
    add("--search", choices=("mass", "formula", "open"), default="mass", help="what restricts the candidates")
    add(
        "--adduct",
        default="assume",
        help="for spectra that state none: assume ([M+H]+ or [M-H]-), common (try several), require, or an adduct",
    )
    add("--adduct-table", metavar="CSV", help="further adducts: name,multiplicity,charge,change")
    depth = "best candidates that are ranked again by what their fragments explain; 0: none"
    add("--evidence-depth", type=_not_negative, default=200, metavar="N", help=depth)
    add("--min-peaks", type=_positive, default=1, help="report spectra with fewer peaks, do not search them")
    _decode(parser)
    _confidence(parser)
    add(
        "--plot",
        metavar="DIR",
        help="also a picture of each spectrum and its best molecule",
    )
    add("--plot-format", choices=("png", "svg", "pdf"), default="png")
    add("--resume", action="store_true", help="go on after the last complete record of a .jsonl output")
    add("--desalt", action="store_true", help="of a molecule file: keep the largest fragment, neutralised")
    _compute(parser, 64)


def _decode(parser: argparse.ArgumentParser) -> None:
    how = "for a model with two paths: compare fingerprints, or learned projections of spectrum and molecule"
    parser.add_argument("--decode", choices=("fingerprint", "projection"), default="fingerprint", help=how)


def _confidence(parser: argparse.ArgumentParser) -> None:
    """Options about what an answer is worth; they need a checkpoint that is calibrated."""
    least = "abstain where the best molecule is less probable than this, 0 to 1"
    share = "instead: abstain so that about this share of spectra is answered, 0 to 1"
    level = "chance that the candidate set holds the truth, a level the checkpoint is calibrated for"
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--min-confidence", type=_share, metavar="P", help=least)
    which.add_argument("--coverage", type=_share, metavar="SHARE", help=share)
    parser.add_argument("--set-level", type=_share, default=0.9, metavar="P", help=level)


def _embed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="+", metavar="FILE", help="spectra in any format, a folder, or demo")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="Parquet file to write")
    _compute(parser, 64)


def _sequence(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", nargs="+", metavar="FILE", help="spectra in any format, or a folder of them")
    add(
        "-o",
        "--output",
        metavar="OUT",
        help=".mztab, .jsonl, .tsv, .csv or .parquet; without it a short table",
    )
    add("--beams", type=_positive, default=1, help="width of the beam search; 1 is greedy")
    add("--top", type=_positive, default=1, help="peptides per spectrum, at most the beams")
    add("--max-charge", type=_positive, help="report spectra of higher charge; None: all the model knows")
    add("--min-length", type=_positive, help="residues of the shortest peptide; None: the model's")
    add("--max-length", type=_positive, help="steps of the search, the last one to stop; None: the model's")
    ppm = (
        "lower the score by 1 if the peptide is further than PPM from the precursor; None: as the model does"
    )
    add("--precursor-tolerance", type=_positive_number, metavar="PPM", help=ppm)
    add("--resume", action="store_true", help="go on after the last complete record of a .jsonl output")
    _compute(parser, 32, model=None)


def _bank_build(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", nargs="+", metavar="FILE", help="molecules: .smi .csv .tsv .parquet .sdf, also .gz, or demo")
    add("-o", "--output", required=True, metavar="DIR", help="folder of the bank")
    add("--smiles-column", metavar="NAME", help="column with the SMILES")
    add("--name-column", metavar="NAME", help="column with the names")
    add("--desalt", action="store_true", help="keep the largest fragment, neutralised")
    add("--workers", type=_positive, default=1, help="processes that canonicalise")
    add("--shard-rows", type=_positive, default=32768, help="molecules per file of embeddings")
    add("--overwrite", action="store_true", help="replace the bank in DIR, finished or not")
    _decode(parser)
    _compute(parser, 256)


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("system", choices=("dreams", "specbridge", "casanovo"), help="whose checkpoint it is")
    parser.add_argument("checkpoint", metavar="CKPT", help="the .ckpt or .pt file")
    parser.add_argument("output", metavar="OUT", help="folder to write")
    parser.add_argument("--heads", type=_positive, help="attention heads, where the file does not say")
    parser.add_argument(
        "--molecule", metavar="NAME", help="specbridge: molecule encoder of the run, folder or Hub id"
    )
    parser.add_argument("--peaks", type=_positive, help="dreams: peaks per spectrum (default: as published)")
    _common(parser)


def _not_negative(text: str) -> int:
    return 0 if text.strip() == "0" else _positive(text)


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


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
