r"""Spectral look-up: the training spectrum most like a query, by LSM1's similarity vectors and by matchms' modified cosine.

    python benchmarks/neighbours.py --data ../shared/data --output runs/neighbours      # once, needs no model
    python benchmarks/lookup.py --data ../shared/data --neighbours runs/neighbours --models lsm1=runs/lsm1-similarity

Queries are the Known and the Unknown fold, references the training fold (all licences unless --licences open), in all
precursors, within 0.1 Da, within 10 ppm of the query's. Figures of the first hit: mean Tanimoto (Morgan, radius 2, 2048
bits) to the true molecule, and on Known how often it is the same molecule, beside how often that one is in the window.
"nearest precursor" looks at no peak. Tests: Wilcoxon on the queries and a paired bootstrap over molecules, since spectra of
one molecule are not independent; two-way analysis of variance with Tukey across sets. The time per query is of an open
search in all references on one processor, all contenders in the same run, what concerns references alone made before.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "training_scripts"), str(ROOT / "benchmarks")]

from contenders import FOLDS, licensed, load, outputs, parse_contenders, query_table, training_table  # noqa: E402
from data import SpectrumTable  # noqa: E402
from lookup_speed import race  # noqa: E402
from neighbours import WINDOWS, claim, load_hits, made_from, within  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402

from msformers import AutoModelForSpectrumSimilarity  # noqa: E402
from msformers.metrics.molecules import max_tanimoto  # noqa: E402
from msformers.metrics.significance import paired_comparison, two_way_anova, wilcoxon  # noqa: E402

logger = logging.getLogger("msformers.benchmark")
COSINE, PRECURSOR = "modified cosine", "nearest precursor"
Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


def first_hits(
    scores: Floats,
    queries: SpectrumTable,
    references: SpectrumTable,
    pool: Places,
    window: str,
    start: int = 0,
) -> Places:
    """Place of each query's best reference in a window, -1 for none; of equal scores that of the nearest precursor.

    Args:
        scores: (n, pool) of queries ``start`` to ``start + n`` against the references in `pool`.
    """
    best = []
    for number, row in enumerate(scores):
        precursor = float(queries.precursor_mz[start + number])
        inside = np.flatnonzero(within(references.precursor_mz[pool], precursor, window))
        distance = np.abs(references.precursor_mz[pool[inside]] - precursor)
        order = np.lexsort((distance, -np.round(row[inside], 6)))
        best.append(pool[inside[order[0]]] if inside.size else -1)
    return np.array(best, dtype=np.int64)


def search(
    queries: SpectrumTable, references: SpectrumTable, pool: Places, vectors: tuple[Floats, Floats] | None
) -> dict[str, Places]:
    """First hits by window: by the cosine of vectors (queries, pool), or by the precursor alone."""
    parts: dict[str, list[Places]] = {window: [] for window in WINDOWS}
    for start in range(0, len(queries), 64):
        size = min(64, len(queries) - start)
        scores = np.zeros((size, len(pool)))
        if vectors is not None:
            scores = vectors[0][start : start + size] @ vectors[1].T
        for window, found in parts.items():
            found.append(first_hits(scores, queries, references, pool, window, start))
    return {window: np.concatenate(found) for window, found in parts.items()}


def tanimoto_of(queries: SpectrumTable, references: SpectrumTable, hits: Places) -> Floats:
    """Tanimoto of each query's molecule and its hit's, (n,); NaN without a hit."""
    found = np.full(len(hits), np.nan)
    answered = np.flatnonzero(hits >= 0)
    truth = [queries.rows["smiles_2d"][place] for place in answered]
    proposed = [[references.rows["smiles_2d"][place]] for place in hits[answered]]
    found[answered] = max_tanimoto(truth, proposed)
    return found


def figures(
    fold: str,
    window: str,
    queries: SpectrumTable,
    references: SpectrumTable,
    pool: Places,
    hits: dict[str, Places],
) -> list[dict[str, Any]]:
    """One row per contender."""
    keys = np.array(queries.rows["inchikey14"])
    known = np.array([*references.rows["inchikey14"], ""])
    present = [
        key in known[pool[within(references.precursor_mz[pool], float(precursor), window)]]
        for key, precursor in zip(keys, queries.precursor_mz, strict=True)
    ]
    rows = []
    for name, found in hits.items():
        answered = found >= 0
        row: dict[str, Any] = {"set": fold, "window": window, "contender": name}
        row |= {"references": len(pool), "queries": len(keys), "answered": int(answered.sum())}
        tanimoto = tanimoto_of(queries, references, found)[answered]
        row["mean_tanimoto"] = round(float(tanimoto.mean()), 4) if tanimoto.size else float("nan")
        row["recall_at_1"] = round(float((known[found] == keys).mean()), 4)
        rows.append(row | {"molecule_in_window": round(float(np.mean(present)), 4)})
    return rows


def compare(
    queries: dict[str, SpectrumTable],
    references: SpectrumTable,
    hits: dict[str, dict[str, dict[str, Places]]],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Tanimoto of each model's first hits against modified cosine's: per set and window, and across sets.

    A window in which fewer than two queries of a set have a reference gives no row.
    """
    rows = []
    for window in WINDOWS:
        cells: dict[tuple[str, str], Floats] = {}
        for fold, table in queries.items():
            tanimoto = {n: tanimoto_of(table, references, hits[fold][window][n]) for n in (*names, COSINE)}
            answered = ~np.isnan(tanimoto[COSINE])
            if answered.sum() < 2:
                continue
            cells |= {(name, fold): values[answered] for name, values in tanimoto.items()}
            groups = np.array(table.rows["inchikey14"])[answered].tolist()
            for name in names:
                pair = tanimoto[name][answered], tanimoto[COSINE][answered]
                paired = paired_comparison(*pair, groups=groups)
                row = {"set": fold, "window": window, "first": name, "second": COSINE}
                row |= {"wilcoxon_p": wilcoxon(*pair), "mean_difference": round(paired.difference.mean, 4)}
                row |= {"low": round(paired.difference.low, 4), "high": round(paired.difference.high, 4)}
                rows.append(row | {"by_molecule_p": paired.p_value})
        if len({fold for _, fold in cells}) < len(queries):
            continue
        anova = two_way_anova(cells)
        for source in ("system", "set", "interaction"):
            effect = getattr(anova, source)
            rows.append({"set": "both", "window": window, "anova": source, "anova_p": effect.p_value})
        for pair_test in anova.pairs:
            row = {"set": "both", "window": window, "first": pair_test.first, "second": pair_test.second}
            rows.append(row | {"tukey_p": pair_test.p_value, "stars": pair_test.stars})
    return rows


def all_hits(
    models: dict[str, Any],
    library: dict[str, Floats],
    queries: dict[str, SpectrumTable],
    references: SpectrumTable,
    args: argparse.Namespace,
) -> dict[str, dict[str, dict[str, Places]]]:
    """First hits by set, window and contender: the precursor alone, each model, the kept ones of modified cosine."""
    pool = licensed(references, args.licences)
    hits: dict[str, dict[str, dict[str, Places]]] = {}
    for fold, table in queries.items():
        by_name = {PRECURSOR: search(table, references, pool, None)}
        for name, model in models.items():
            vectors = outputs(*model, table, "embeddings"), library[name]
            by_name[name] = search(table, references, pool, vectors)
        kept = {w: load_hits(args.neighbours, fold, args.licences, w, len(table)) for w in WINDOWS}
        by_name[COSINE] = {window: np.asarray(found["reference"]) for window, found in kept.items()}
        hits[fold] = {window: {name: found[window] for name, found in by_name.items()} for window in WINDOWS}
    return hits


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--models", nargs="+", required=True, metavar="NAME=FOLDER", help="similarity runs or checkpoints")
    add("--neighbours", type=Path, required=True, help="what benchmarks/neighbours.py kept")
    add("--licences", default="all", choices=("all", "open"), help="of the references")
    add("--limit", type=int, help="a sample of the spectra, to see that it runs; of the neighbours too")
    add("--timed", type=int, default=20, help="queries timed; pair by pair a quarter of them; 0 for no race")
    add("--output", type=Path, default=ROOT / "benchmarks" / "results" / "lookup")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    folders = parse_contenders(args.models)
    models = {name: load(AutoModelForSpectrumSimilarity, folder) for name, folder in folders.items()}
    claim(args.neighbours, made_from(args.data, args.limit))
    references = training_table(args.data, args.limit)
    pool = licensed(references, args.licences)
    searched = references.select(pool.tolist())
    library = {name: outputs(*model, searched, "embeddings") for name, model in models.items()}
    queries = {fold: query_table(args.data, fold, args.limit) for fold in FOLDS}
    hits = all_hits(models, library, queries, references, args)
    rows = [
        row
        for fold, windows in hits.items()
        for window, found in windows.items()
        for row in figures(fold, window, queries[fold], references, pool, found)
    ]
    for row in rows:
        logger.info("%s", row)
    write_figures(args.output, rows)
    tests = compare(queries, references, hits, list(models))
    write_figures(args.output.with_name(f"{args.output.name}_tests"), tests)
    if args.timed:
        speed = race(models, library, searched, queries["Unknown"], args.timed)
        write_figures(args.output.with_name(f"{args.output.name}_speed"), speed)


if __name__ == "__main__":
    main()
