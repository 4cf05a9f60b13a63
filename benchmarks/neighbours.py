"""The nearest training spectrum by matchms' modified cosine for every spectrum of the test folds; it depends on no model.

    taskset -c 1 python benchmarks/neighbours.py --data ../shared/data --output runs/neighbours

Every query is scored against every training spectrum by matchms' `FlashSimilarity` (hybrid, cosine), which is its modified
cosine but for ties and the last bit of the tolerance; the best of each search are scored again, pair by pair, by
`ModifiedCosineGreedy`, and its score decides (`--verify N` compares N queries with the pairwise search over everything).
Searches: all licences or open ones, which the shipped weights are trained on; in all precursors, within 0.1 Da, within
10 ppm. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matchms
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from matchms.similarity import FlashSimilarity, ModifiedCosineGreedy
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "training_scripts"), str(ROOT / "benchmarks")]

from contenders import FOLDS, LICENCES, licensed, query_table, training_table  # noqa: E402
from data import SPECTRA_FILE, SpectrumTable, table_path  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402

logger = logging.getLogger("msformers.benchmark")
WINDOWS = ("open", "0.1 Da", "10 ppm")
TOLERANCE = 0.005
SHORTLIST = 32

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Hit:
    """One search's best reference: its place in the table of references (-1 for none), score and matched peaks."""

    place: int
    score: float
    matches: int


def matchms_spectrum(table: SpectrumTable, place: int) -> Any:
    """One row as matchms has it."""
    mz, intensity = table.peaks[place]
    metadata = {"precursor_mz": float(table.precursor_mz[place])}
    return matchms.Spectrum(mz=mz, intensities=intensity, metadata=metadata, metadata_harmonization=False)


def within(precursors: Floats, precursor_mz: float, window: str) -> npt.NDArray[np.bool_]:
    """Which precursors (Th, shape (n,)) lie in a window of `WINDOWS` around one."""
    width = {"open": np.inf, "0.1 Da": 0.1, "10 ppm": 1e-5 * precursor_mz}[window]
    return np.abs(precursors - precursor_mz) <= width


class ModifiedCosineSearch:
    """Best reference by modified cosine; of equal scores that of the nearest precursor, then the first.

    Args:
        references: what is searched.
        tolerance: of a peak's m/z, in Da.
        shortlist: references per search that are scored pair by pair.
    """

    def __init__(
        self, references: SpectrumTable, tolerance: float = TOLERANCE, shortlist: int = SHORTLIST
    ) -> None:
        self.precursors, self.shortlist = references.precursor_mz, shortlist
        self.spectra = [matchms_spectrum(references, place) for place in range(len(references))]
        self.exact = ModifiedCosineGreedy(tolerance=tolerance)
        # a hair wider, so that a difference of exactly the tolerance is never missed for a rounded bit
        self.fast = FlashSimilarity(
            "cosine", "hybrid", tolerance=tolerance + 1e-7, noise_cutoff=0.0, normalize_to_half=False
        )

    def all_scores(self, queries: Sequence[Any]) -> Floats:
        """Fast scores of matchms spectra against all references, (n_queries, n_references)."""
        return np.asarray(self.fast.matrix(list(queries), self.spectra, n_jobs=1))

    def best(
        self,
        query: Any,
        scores: Floats,
        candidates: npt.NDArray[np.int64],
        known: dict[int, Hit] | None = None,
    ) -> Hit:
        """The best of some references for one query, scored by `ModifiedCosineGreedy`.

        Args:
            scores: the query's row of `all_scores`.
            candidates: places of the references to choose from.
            known: pairs already scored, added to.
        """
        known = {} if known is None else known
        distance = np.abs(self.precursors[candidates] - query.get("precursor_mz"))
        order = np.lexsort((candidates, distance, -np.round(scores[candidates], 6)))[: self.shortlist]
        ranked: list[tuple[float, float, int, Hit]] = []
        for place, away in zip(candidates[order].tolist(), distance[order].tolist(), strict=True):
            if place not in known:
                score, matches = self.exact.pair(self.spectra[place], query).item()
                known[place] = Hit(place, float(score), int(matches))
            ranked.append((-round(known[place].score, 6), away, place, known[place]))
        return min(ranked)[3] if ranked else Hit(-1, float("nan"), 0)

    def brute_force(self, query: Any) -> float:
        """The highest score of all pairs, none left out."""
        return max(float(self.exact.pair(spectrum, query)["score"]) for spectrum in self.spectra)


def hits_of(search: ModifiedCosineSearch, queries: Sequence[Any], pools: dict[str, Any]) -> Iterator[Any]:
    """Rows (query, licences, window, reference, score, matches) of some queries, counted from 0."""
    for number, scores in enumerate(search.all_scores(queries)):
        query = queries[number]
        known: dict[int, Hit] = {}
        for licences, pool in pools.items():
            for window in WINDOWS:
                inside = within(search.precursors[pool], query.get("precursor_mz"), window)
                hit = search.best(query, scores, pool[inside], known)
                yield number, licences, window, hit.place, hit.score, hit.matches


COLUMNS = ("query", "licences", "window", "reference", "score", "matches")


def search_fold(
    search: ModifiedCosineSearch, table: SpectrumTable, pools: dict[str, Any], folder: Path, chunk: int = 200
) -> None:
    """Write one Parquet file for every `chunk` queries of a fold; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in tqdm(range(0, len(table), chunk), desc=folder.name, unit=f"{chunk} spectra"):
        path = folder / f"{start:06d}.parquet"
        if path.is_file():
            continue
        places = range(start, min(start + chunk, len(table)))
        rows = list(hits_of(search, [matchms_spectrum(table, place) for place in places], pools))
        columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
        columns["query"] = [start + number for number in columns["query"]]
        part = path.with_suffix(".part")
        pq.write_table(pa.table(columns), part)
        part.rename(path)


def made_from(data: Path, limit: int | None) -> dict[str, Any]:
    """What decides the neighbours; kept beside them."""
    file = table_path(data, SPECTRA_FILE)
    made = {"file": file.name, "bytes": file.stat().st_size, "tolerance": TOLERANCE, "limit": limit}
    return made | {"shortlist": SHORTLIST, "matchms": matchms.__version__}


def claim(folder: Path, made: dict[str, Any], write: bool = False) -> None:
    """Compare what the folder was made from with what is asked for; `write` marks a new folder.

    Raises:
        FileNotFoundError: the folder was never made. ValueError: it was made from something else.
    """
    path = folder / "made_from.json"
    if write and not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made), encoding="utf-8")
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: no neighbours; run benchmarks/neighbours.py --output {folder} first"
        )
    found = json.loads(path.read_text(encoding="utf-8"))
    if found != made:
        raise ValueError(f"{folder} was made from {found}, not from {made}; give another folder")


def load_hits(folder: Path, fold: str, licences: str, window: str, n_queries: int) -> pa.Table:
    """The kept neighbours of a fold, one row a query in the order of `query_table`.

    Raises:
        FileNotFoundError: some of the fold's queries were not searched yet.
    """
    filters = [("licences", "=", licences), ("window", "=", window)]
    hits = pq.read_table(folder / FOLDS[fold], filters=filters).sort_by("query")
    if hits["query"].to_pylist() != list(range(n_queries)):
        raise FileNotFoundError(
            f"{folder / FOLDS[fold]}: neighbours of {len(hits)} spectra, {n_queries} are asked for; "
            f"run benchmarks/neighbours.py --output {folder} to its end"
        )
    return hits


def verify(
    search: ModifiedCosineSearch, data: Path, folder: Path, count: int, limit: int | None
) -> dict[str, Any]:
    """Compare the kept best scores (all licences, open search) of random queries of each fold with all pairs."""
    gaps = []
    for fold in FOLDS:
        table = query_table(data, fold, limit)
        hits = load_hits(folder, fold, "all", "open", len(table))
        chosen = np.random.default_rng(0).permutation(len(table))[:count].tolist()
        for place in tqdm(chosen, desc=f"all pairs, {fold}", unit="spectrum"):
            exact = search.brute_force(matchms_spectrum(table, place))
            gaps.append(exact - hits["score"][place].as_py())
    found = np.array(gaps)
    return {
        "queries": len(gaps),
        "references": len(search.spectra),
        "equal_best_score": int((np.abs(found) < 1e-9).sum()),
        "largest_gap": float(np.abs(found).max()),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--output", type=Path, default=ROOT / "runs" / "neighbours")
    add("--limit", type=int, help="a sample of the queries and references, to see that it runs")
    add("--verify", type=int, default=0, metavar="N", help="N queries of each fold against all pairs")
    add("--results", type=Path, default=ROOT / "benchmarks" / "results" / "neighbours")
    args = parser.parse_args(argv)
    claim(args.output, made_from(args.data, args.limit), write=True)
    references = training_table(args.data, args.limit)
    search = ModifiedCosineSearch(references)
    pools = {name: licensed(references, name) for name in LICENCES}
    for fold in FOLDS:
        search_fold(search, query_table(args.data, fold, args.limit), pools, args.output / FOLDS[fold])
    if args.verify:
        row = verify(search, args.data, args.output, args.verify, args.limit)
        write_figures(args.results, [row])
        logger.info("%s", row)


if __name__ == "__main__":
    main()
