"""The options of each command, and the kinds of number they take; torch is not loaded here."""

from __future__ import annotations

import argparse


def add_common(parser: argparse.ArgumentParser) -> None:
    """The option that every command has."""
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="only warnings and errors on standard error"
    )


def _compute(parser: argparse.ArgumentParser, batch: int, model: str | None = "specbridge-small") -> None:
    parser.add_argument("--model", help="shipped name, folder or Hub id", default=model, required=not model)
    parser.add_argument("--batch-size", type=_positive, default=batch, metavar="N", help="spectra at once")
    _machine(parser)


def _machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    kinds = ("float32", "bfloat16", "float16")
    parser.add_argument("--dtype", default="float32", choices=kinds, help="of the weights")
    parser.add_argument("--threads", type=_positive, metavar="N", help="CPU threads (default: torch decides)")
    add_common(parser)


SPECTRA = "MGF, MSP, MassBank, JSON, mzML, mzXML, Parquet, a folder, or demo"
WINDOW = "half width of the precursor window, ppm of m/z"
ADDUCT = "for spectra that state none: assume ([M+H]+ or [M-H]-), common (try several), require, or an adduct"
ADDUCT_TABLE = "further adducts: name,multiplicity,charge,change"
RESUME = "go on after the last complete record of a .jsonl output"


def add_annotate(parser: argparse.ArgumentParser) -> None:
    """Options of `annotate`."""
    add = parser.add_argument
    add("file", nargs="+", metavar="FILE", help=SPECTRA)
    bank = (
        "bank folder, molecule file, or demo; without it structures are generated, as by msformers generate"
    )
    add("-c", "--candidates", metavar="BANK", help=bank)
    _output(parser)
    add("--top-k", type=_positive, default=10, metavar="K", help="molecules per spectrum")
    add("--ppm", type=_positive_number, default=10.0, help=WINDOW)
    searches = "what restricts the candidates: precursor mass, the formula in the file, or nothing"
    add("--search", choices=("mass", "formula", "open"), default="mass", help=searches)
    add("--adduct", default="assume", help=ADDUCT)
    add("--adduct-table", metavar="CSV", help=ADDUCT_TABLE)
    depth = "best candidates that are ranked again by what their fragments explain; 0: none"
    add("--evidence-depth", type=_not_negative, default=200, metavar="N", help=depth)
    _min_peaks(parser)
    _decode(parser)
    _confidence(parser)
    add("--plot", metavar="DIR", help="also a picture of each spectrum and its best molecule")
    add("--plot-format", choices=("png", "svg", "pdf"), default="png", help="of these pictures")
    add("--resume", action="store_true", help=RESUME)
    add("--desalt", action="store_true", help="of a molecule file: keep the largest fragment, neutralised")
    model = "shipped name, folder or Hub id (default: specbridge-small; denovo-small without candidates)"
    add("--model", help=model)
    batch = "spectra at once (default: 64; 8 without candidates)"
    add("--batch-size", type=_positive, metavar="N", help=batch)
    _machine(parser)


def add_generate(parser: argparse.ArgumentParser) -> None:
    """Options of `generate`."""
    add = parser.add_argument
    add("file", nargs="+", metavar="FILE", help=SPECTRA)
    add("-n", "--n", type=_positive, default=100, metavar="N", help="molecules per spectrum at most")
    _output(parser)
    _strategy(parser)
    _restrictions(parser)
    orders = (
        "what orders the molecules: learned (a re-ranking model), mass (nearest to the precursor), none (the search's own "
        "score), auto (learned where there is such a model, else mass)"
    )
    add("--rerank", choices=("auto", "mass", "learned", "none"), default="auto", help=orders)
    add("--reranker", metavar="MODEL", help="the model that re-ranks (default: specbridge-small)")
    near = (
        "spectrum library whose nearest match the model is told (default: that of the model, if it has one)"
    )
    add("--library", metavar="DIR", help=near)
    table = "further substructures for the consensus: name,smarts"
    add("--substructures", metavar="CSV", help=table)
    _min_peaks(parser)
    add("--resume", action="store_true", help=RESUME)
    _compute(parser, 8, "denovo-small")


def _output(parser: argparse.ArgumentParser) -> None:
    formats = ".jsonl, .tsv, .csv, .parquet or .html; without it a short table"
    parser.add_argument("-o", "--output", metavar="OUT", help=formats)


def _min_peaks(parser: argparse.ArgumentParser) -> None:
    least = "report spectra with fewer peaks, do not search them"
    parser.add_argument("--min-peaks", type=_positive, default=1, metavar="N", help=least)


def _strategy(parser: argparse.ArgumentParser) -> None:
    """How sequences are searched."""
    add = parser.add_argument_group("search").add_argument
    how = (
        "beam (the most probable), sample (drawn at random), diverse (groups of beams that avoid each other)"
    )
    add("--strategy", choices=("beam", "sample", "diverse"), default="beam", help=how)
    width = "width of the beam search, or molecules drawn by sample (default: 100, or -n if that is more)"
    add("--beams", type=_positive, metavar="N", help=width)
    add("--temperature", type=_positive_number, metavar="T", help="sample: above 1 more varied (default: 1)")
    add(
        "--top-p", type=_share, metavar="P", help="sample: from the symbols that hold P together (default: 1)"
    )
    add(
        "--seed",
        type=_not_negative,
        metavar="N",
        help="sample: the same seed, the same molecules (default: 0)",
    )
    groups = "diverse: groups of beams (default: 10, or what divides the beams)"
    add("--groups", type=_positive, metavar="N", help=groups)
    add(
        "--diversity",
        type=_positive_number,
        metavar="D",
        help="diverse: how hard they avoid each other (default: 0.5)",
    )
    longest = "symbols of a molecule at most (default: all the model can write)"
    add("--max-length", type=_positive, metavar="N", help=longest)


def _restrictions(parser: argparse.ArgumentParser) -> None:
    """What a molecule must weigh, or be made of."""
    add = parser.add_argument_group("mass").add_argument
    add("--ppm", type=_positive_number, default=10.0, help=WINDOW)
    add("--adduct", default="assume", help=ADDUCT)
    add("--adduct-table", metavar="CSV", help=ADDUCT_TABLE)
    exact = (
        "molecules of this formula only, such as C8H10N4O2; record: of the formula that each record states. "
        "Needed for B, Si and Se, which are not looked for by mass"
    )
    add("--formula", metavar="FORMULA", help=exact)
    free = "do not restrict the mass of what is generated; mass errors are still listed"
    add("--no-mass-filter", action="store_true", help=free)


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


def add_embed(parser: argparse.ArgumentParser) -> None:
    """Options of `embed`."""
    parser.add_argument("file", nargs="+", metavar="FILE", help="spectra in any format, a folder, or demo")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="Parquet file to write")
    _compute(parser, 64)


def add_sequence(parser: argparse.ArgumentParser) -> None:
    """Options of `sequence`."""
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
    add("--max-charge", type=_positive, help="report spectra of higher charge (default: all the model knows)")
    add("--min-length", type=_positive, help="residues of the shortest peptide (default: the model's)")
    add(
        "--max-length",
        type=_positive,
        help="steps of the search, the last one to stop (default: the model's)",
    )
    ppm = "lower the score by 1 if the peptide is further than PPM from the precursor (default: as the model does)"
    add("--precursor-tolerance", type=_positive_number, metavar="PPM", help=ppm)
    add("--resume", action="store_true", help=RESUME)
    _compute(parser, 32, model=None)


def add_bank_build(parser: argparse.ArgumentParser) -> None:
    """Options of `bank build`."""
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


def add_convert(parser: argparse.ArgumentParser) -> None:
    """Options of `convert`."""
    parser.add_argument("system", choices=("dreams", "specbridge", "casanovo"), help="whose checkpoint it is")
    parser.add_argument("checkpoint", metavar="CKPT", help="the .ckpt or .pt file")
    parser.add_argument("output", metavar="OUT", help="folder to write")
    parser.add_argument("--heads", type=_positive, help="attention heads, where the file does not say")
    parser.add_argument(
        "--molecule", metavar="NAME", help="specbridge: molecule encoder of the run, folder or Hub id"
    )
    parser.add_argument("--peaks", type=_positive, help="dreams: peaks per spectrum (default: as published)")
    add_common(parser)


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
