"""Convert molecules to SELFIES: Parquet shards to train language models on, and a list of what could not be converted.

python training_scripts/convert_molecules.py molecules.smi.gz --data ../shared/data --drop-folds val test --output runs/selfies

The source is a file (.smi, .csv, .tsv, .parquet, .sdf, plain or gzipped), a folder of Parquet shards or a dataset of the
Hub, streamed. The output folder holds ``molecules-00000.parquet`` … (smiles, selfies, inchikey14 where known, n_tokens
without the two ends), ``failures.csv`` and ``summary.json`` (counts, lengths, alphabet). With ``--text smiles`` the
molecules are only written canonically, for models of SMILES. A run that was interrupted goes on after its last whole
shard when it is started again.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import dropwhile, groupby
from pathlib import Path
from typing import Any

from molecule_shards import COUNTS, Row, keep_settings, summarise, whole_shards, write_shard
from molecule_sources import BLOCK, Molecules, open_molecules, read_keys, source_size
from molecule_text import held_back
from recipe import start_logging
from tqdm import tqdm

from msformers.inference.retrieval.bank_sources import Entry
from msformers.spectra.spectrum import Problem
from msformers.tokenization.parallel import available_workers
from msformers.tokenization.selfies import convert_smiles
from msformers.tokenization.smiles import canonicalise_smiles, known_block

logger = logging.getLogger("msformers.training")


def convert(molecules: Molecules, drop: set[str], start: int, options: argparse.Namespace) -> Iterator[Row]:
    """Every record of the source from place `start` on, in order, converted, dropped or failed.

    What is held back by a key of the source is dropped before conversion, the rest after it.
    """
    pending: deque[Row] = deque()
    keyed = molecules.keyed and not options.parent  # the parent of a salt has a key of its own

    def feed() -> Iterator[str]:
        for entry in dropwhile(lambda entry: entry.index < start, molecules.entries):
            row = _row(entry, keyed, drop)
            pending.append(row)
            if row.waiting:
                yield row.smiles

    wanted = bool(drop) or options.inchikeys
    for conversion in _converted(feed(), wanted and not keyed, options):
        while not pending[0].waiting:
            yield pending.popleft()
        row = replace(
            pending.popleft(),
            waiting=False,
            smiles=conversion.smiles,
            selfies=getattr(conversion, "selfies", None),
            reason=conversion.reason,
        )
        key = row.key or conversion.inchikey14
        if key is None and wanted and not row.reason:  # the source says the keys, but not this one
            key = known_block(row.smiles)
        if drop and key is None and not row.reason:
            row = replace(row, reason="has no InChIKey, so whether it is held back is unknown")
        yield replace(row, key=key, dropped=key in drop)
    yield from pending


def _converted(texts: Iterator[str], inchikeys: bool, options: argparse.Namespace) -> Iterator[Any]:
    """A `Conversion` or `CanonicalSmiles` for each text."""
    further = {"parent": options.parent, "inchikeys": inchikeys, "progress": False}
    if options.text == "smiles":
        return canonicalise_smiles(texts, options.workers, **further)
    canonicalise, verify = not options.canonical, not options.no_verify
    return convert_smiles(texts, options.workers, canonicalise=canonicalise, verify=verify, **further)


def _row(entry: Entry, keyed: bool, drop: set[str]) -> Row:
    if isinstance(entry, Problem):
        return Row(entry.index, entry.value, entry.line, entry.path, reason=f"{entry.field} {entry.reason}")
    key = entry.name[:14] if keyed and BLOCK.match(entry.name) else None
    dropped = key in drop
    return Row(
        entry.index, entry.smiles, entry.line, entry.path, key=key, dropped=dropped, waiting=not dropped
    )


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Convert molecules to SELFIES.")
    parser.add_argument("source", help="molecule file, folder of Parquet shards, or Hub dataset (owner/name)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the shards and the report")
    parser.add_argument("--smiles-column", help="of a table; by default the first that is known")
    parser.add_argument(
        "--key-column", help="column of InChIKeys; by default inchikey14 or inchikey (not in CSV)"
    )
    parser.add_argument(
        "--drop", type=Path, action="append", default=[], metavar="KEYS", help="leave out these molecules"
    )
    parser.add_argument("--drop-column", help="column of InChIKeys in --drop files")
    parser.add_argument(
        "--drop-folds", nargs="+", default=[], metavar="FOLD", help="... and those of these folds of --data"
    )
    parser.add_argument("--data", type=Path, help="folder with the table of spectra, for --drop-folds")
    parser.add_argument("--text", choices=("selfies", "smiles"), default="selfies", help="what to write")
    parser.add_argument(
        "--parent", action="store_true", help="keep the largest organic fragment, neutralised"
    )
    parser.add_argument(
        "--canonical", action="store_true", help="the SMILES are canonical already, without stereo"
    )
    parser.add_argument("--no-verify", action="store_true", help="do not decode and compare each molecule")
    parser.add_argument("--inchikeys", action="store_true", help="compute InChIKeys the source does not have")
    parser.add_argument("--shard-size", type=int, default=250_000, help="records of the source per shard")
    parser.add_argument("--workers", type=int, default=available_workers())
    args = parser.parse_args(argv)
    if args.drop_folds and args.data is None:
        parser.error("--drop-folds needs --data, the folder with the table of spectra")
    if args.parent and args.canonical:
        parser.error("--parent changes molecules, so their SMILES are written anew; leave out --canonical")
    if args.text == "smiles" and (args.canonical or args.no_verify):
        parser.error(
            "--canonical and --no-verify are about SELFIES; with --text smiles every SMILES is written anew"
        )
    return args


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns the summary."""
    start_logging()
    args = arguments(argv)
    drop = set(held_back(args.data, args.drop_folds)) if args.drop_folds else set()
    drop = drop.union(*(read_keys(path, args.drop_column) for path in args.drop))
    kept = ("source", "text", "smiles_column", "key_column", "parent", "canonical", "no_verify", "inchikeys")
    settings = {name: getattr(args, name) for name in (*kept, "shard_size")}
    settings |= {"source_bytes": source_size(args.source), "drop_keys": len(drop)}
    settings["drop_digest"] = hashlib.sha256(" ".join(sorted(drop)).encode()).hexdigest()
    molecules = open_molecules(args.source, args.smiles_column, args.key_column)
    keep_settings(args.output, settings)
    start = whole_shards(args.output) * args.shard_size
    initial = min(start, molecules.total or start)
    bar = tqdm(convert(molecules, drop, start, args), args.text, molecules.total, unit="mol", initial=initial)
    for number, rows in groupby(bar, key=lambda row: row.index // args.shard_size):
        write_shard(args.output, number, rows, args.text)
    summary = summarise(args.output, settings)
    logger.info(
        "%d read, %d converted, %d dropped, %d failed; %.0f molecules/s",
        *(summary[name] for name in (*COUNTS[:4], "molecules_per_second")),
    )
    return summary


if __name__ == "__main__":
    main()
