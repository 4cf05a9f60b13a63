"""Casanovo's encoder and beam search: ours against the program on PyPI, with identical weights, in one run.

The published program runs in an environment of its own (it needs numpy < 2) as a second process that only works while ours
waits; both take turns, chunk by chunk, on the same prepared real spectra and the same number of threads:

    python -m venv peer && peer/bin/pip install torch casanovo "pyarrow<20"
    python benchmarks/casanovo.py --peer peer/bin/python --data ../shared/data

Encoder, 9 layers of 512, random weights (made by the program, converted by ours):

* casanovo: batches of 32 (`--peer-batch`) in the order of the file, as its data loader makes them; float32.
* casanovo sorted: the same on our batches, which hold spectra of similar length.
* casanovo bfloat16: its batches under autocast.
* ours, ours bfloat16: what a user calls, on our batches.

Beam search, greedy and 5 beams, the encoder included: batches of 32 in the order of the file for both. Random weights end no
peptide of ordinary length, so both sides are made to take the same number of steps. That they write the same peptides is
shown on a trained model, by the tests against the reference outputs.
Wall clock and processor time are both reported; on a shared machine the second is the steadier one.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "training_scripts"), str(ROOT / "benchmarks")]

from casanovo_sides import Inputs, Ours, Peer, prepared, write_spectra  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402

from msformers.modeling.convert.casanovo import convert_casanovo  # noqa: E402
from msformers.tokenization.collate import batch_by_length  # noqa: E402

logger = logging.getLogger("msformers.benchmark")
PUBLISHED = {"dim_model": 512, "n_head": 8, "dim_feedforward": 1024, "n_layers": 9, "max_charge": 4}
BATCH = 32
REFERENCE = "casanovo"


@dataclass
class Clock:
    """What a contender has used so far."""

    spectra: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def add(self, count: int, answer: dict[str, Any]) -> None:
        """Add one chunk."""
        self.spectra += count
        self.seconds += answer["seconds"]
        self.cpu_seconds += answer["cpu_seconds"]


def race(
    contenders: dict[str, Callable[[list[int]], dict[str, Any]]], n: int, chunk: int
) -> dict[str, Clock]:
    """Let contenders take turns on chunks of spectra, each time beginning with another one."""
    clocks = {name: Clock() for name in contenders}
    for contender in contenders.values():  # warm up, not timed
        contender(list(range(min(2, n))))
    for turn, start in enumerate(range(0, n, chunk)):
        rows = list(range(start, min(start + chunk, n)))
        names = list(contenders)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            clocks[name].add(len(rows), contenders[name](rows))
        rates = ", ".join(f"{name} {clock.spectra / clock.seconds:.1f}" for name, clock in clocks.items())
        logger.info("%d/%d spectra/s: %s", rows[-1] + 1, n, rates)
    return clocks


def in_order(rows: Sequence[int], size: int = BATCH) -> list[list[int]]:
    """Batches as the published data loader makes them."""
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


def by_length(rows: Sequence[int], spectra: Sequence[Inputs]) -> list[list[int]]:
    """Batches of similar length."""
    lengths = [spectra[row]["peaks"].shape[1] for row in rows]
    return [[rows[place] for place in batch] for batch in batch_by_length(lengths, 10**9, BATCH)]


def figures(part: str, clocks: dict[str, Clock], threads: int) -> list[dict[str, Any]]:
    """One row per contender, ratios to the published program."""
    base = clocks[REFERENCE]
    return [
        {
            "part": part,
            "contender": name,
            "spectra": clock.spectra,
            "threads": threads,
            "spectra_per_s": round(clock.spectra / clock.seconds, 3),
            "spectra_per_cpu_s": round(clock.spectra / clock.cpu_seconds, 3),
            "ratio_wall": round(base.seconds / clock.seconds, 2),
            "ratio_cpu": round(base.cpu_seconds / clock.cpu_seconds, 2),
        }
        for name, clock in clocks.items()
    ]


def race_encoders(peer: Peer, ours: Ours, args: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """Encoder speed; the rows of ours also say how near their vectors are to the published ones."""
    spectra, n = ours.spectra, args.n
    clocks = race(
        {
            REFERENCE: lambda rows: peer("encode", batches=in_order(rows, args.peer_batch), half=False),
            "casanovo sorted": lambda rows: peer("encode", batches=by_length(rows, spectra), half=False),
            "casanovo bfloat16": lambda rows: peer(
                "encode", batches=in_order(rows, args.peer_batch), half=True
            ),
            "ours": lambda rows: ours.encode(by_length(rows, spectra), half=False),
            "ours bfloat16": lambda rows: ours.encode(by_length(rows, spectra), half=True),
        },
        n,
        args.chunk,
    )
    rows = figures("encoder", clocks, args.threads)
    some = in_order(range(min(n, 4 * BATCH)))
    peer("encode", batches=some, half=False, output=str(scratch / "vectors.parquet"))
    truth = np.asarray(pq.read_table(scratch / "vectors.parquet")["vector"].to_pylist(), dtype=np.float32)
    for row, half in ((rows[-2], False), (rows[-1], True)):
        ours.vectors = []
        ours.encode(some, half)
        found = np.concatenate(ours.vectors)
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(truth, axis=1)
        row["max_difference"] = f"{np.abs(found - truth).max():.1e}"
        row["least_cosine"] = f"{((found * truth).sum(1) / norms).min():.6f}"
    return rows


def race_search(peer: Peer, ours: Ours, args: argparse.Namespace, beams: int) -> list[dict[str, Any]]:
    """Spectra per second through encoder and search."""
    clocks = race(
        {
            REFERENCE: lambda rows: peer("decode", batches=in_order(rows), beams=beams),
            "ours": lambda rows: ours.decode(in_order(rows), beams, args.steps),
        },
        args.n_search,
        args.chunk,
    )
    return figures(f"{beams} beams" if beams > 1 else "greedy", clocks, args.threads)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--peer", required=True, help="Python of an environment with casanovo 5.2.1")
    add("--data", type=Path, required=True, help="folder with peptides.parquet, or a file of peptide spectra")
    add("--n", type=int, default=1024, help="spectra for the encoder")
    add("--n-search", type=int, default=256, help="spectra for the beam search; 0: none")
    add("--chunk", type=int, default=128, help="spectra between two changes of contender")
    add(
        "--peer-batch",
        type=int,
        default=BATCH,
        help="of casanovo's encoder; its own default is 1024, 32 is faster",
    )
    add("--threads", type=int, default=1)
    add("--steps", type=int, default=15, help="tokens per peptide in the search")
    add("--layers", type=int, default=PUBLISHED["n_layers"], help="fewer for a quick look")
    add("--output", type=Path, default=Path(__file__).parent / "results" / "casanovo")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run, log and write the figures."""
    args = arguments(argv)
    start_logging()
    torch.set_num_threads(args.threads)
    spectra = prepared(args.data, args.n)
    args.n, args.n_search = len(spectra), min(args.n_search, len(spectra))
    peer, rows = Peer(args.peer), []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        write_spectra(spectra, scratch / "spectra.parquet")
        sizes = PUBLISHED | {"n_layers": args.layers}
        options = {"threads": args.threads, "seed": 0, "max_peptide_len": args.steps}
        peer("build", checkpoint=str(scratch / "peer.ckpt"), **options, **sizes)
        peer("load", spectra=str(scratch / "spectra.parquet"))
        ours = Ours(convert_casanovo(scratch / "peer.ckpt", scratch / "ours", sizes["n_head"]), spectra)
        for part in (
            lambda: race_encoders(peer, ours, args, scratch),
            *(lambda b=b: race_search(peer, ours, args, b) for b in (1, 5) if args.n_search),
        ):
            rows += part()
            write_figures(args.output, [row | peer("versions") for row in rows])
    peer.close()
    for row in rows:
        logger.info("%s", row)
    return rows


if __name__ == "__main__":
    main()
