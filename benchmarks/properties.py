r"""209 molecular properties from a spectrum: LSM1 and MS2Prop beside the nearest training spectrum and the training mean.

    python benchmarks/neighbours.py --data ../shared/data --output runs/neighbours      # once, needs no model
    python benchmarks/properties.py --data ../shared/data --neighbours runs/neighbours \
        --models lsm1=runs/lsm1-properties lsm1-supervised=runs/scratch lsm1-probe=runs/probe ms2prop=runs/ms2prop

Every contender is measured on the same spectra (all licences, precursors up to 1,000 Th; Known: molecules that open-licence
training spectra show), per spectrum as in the paper: R² of properties with more than two values in the set, balanced
accuracy of the others, cut at the midpoint. Ipc, which spans 200 powers of ten, is compared as log(1 + Ipc). "modified
cosine" gives the values of the nearest training spectrum's molecule; where those are unknown, and in "mean of train", the
mean over the open-licence training spectra stands in.
Tests (lsm1.md §8): Friedman with Dunn over the properties of each set, two-way analysis of variance with Tukey across.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "training_scripts"), str(ROOT / "benchmarks")]

from contenders import (  # noqa: E402
    FOLDS,
    LICENCES,
    licensed,
    load,
    outputs,
    parse_contenders,
    query_table,
    seen_places,
    training_table,
)
from data import SpectrumTable  # noqa: E402
from neighbours import claim, load_hits, made_from  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402
from targets import Molecules, descriptor_matrix  # noqa: E402

from msformers import AutoModelForMolecularPropertyPrediction  # noqa: E402
from msformers.metrics.properties import PropertyScores, property_scores  # noqa: E402
from msformers.metrics.significance import friedman_dunn, two_way_anova  # noqa: E402
from msformers.reports.figures import save_figure  # noqa: E402
from msformers.reports.property_plot import plot_property_scores  # noqa: E402
from msformers.spectra.descriptors import DESCRIPTOR_NAMES, LOG_DESCRIPTORS  # noqa: E402

logger = logging.getLogger("msformers.benchmark")
MEAN = "mean of train"
Floats = npt.NDArray[np.float64]
Scores = dict[str, dict[str, PropertyScores]]


def as_compared(values: Floats) -> Floats:
    """Property values (n, 209) in RDKit's units as they are compared: `LOG_DESCRIPTORS` as log(1 + x)."""
    compared = values.copy()
    columns = [DESCRIPTOR_NAMES.index(name) for name in LOG_DESCRIPTORS]
    compared[:, columns] = np.log1p(compared[:, columns])
    return compared


@dataclass
class Sets:
    """Spectra with the properties of their molecules, as they are compared.

    Attributes:
        tables: spectra by set ("Known", "Unknown"). truth: (n, 209) by set.
        places: of the spectra in their fold, by set. fold_sizes: spectra of the whole fold, by set.
        references: properties (n, 209) of the training spectra of all licences, in the order of `training_table`.
        mean: (209,) over the open-licence training spectra, each property over those where it is known.
    """

    tables: dict[str, SpectrumTable]
    truth: dict[str, Floats]
    places: dict[str, npt.NDArray[np.int64]]
    fold_sizes: dict[str, int]
    references: Floats
    mean: Floats


def load_sets(data: Path, cache: Path, limit: int | None = None) -> Sets:
    """Both test sets and the training properties; descriptors are computed once and kept in `cache`."""
    train = training_table(data, limit)
    folds = {fold: query_table(data, fold, limit) for fold in FOLDS}
    places = {fold: np.arange(len(table)) for fold, table in folds.items()}
    places["Known"] = seen_places(data, folds["Known"])
    parts = [train, *folds.values()]
    molecules = Molecules([smiles for table in parts for smiles in table.rows["smiles_2d"]])
    values = as_compared(descriptor_matrix(molecules.smiles, cache))[molecules.rows]
    references, *truths = np.split(values, np.cumsum([len(table) for table in parts])[:-1])
    return Sets(
        {fold: table.select(places[fold].tolist()) for fold, table in folds.items()},
        {fold: truth[places[fold]] for fold, truth in zip(folds, truths, strict=True)},
        places,
        {fold: len(table) for fold, table in folds.items()},
        references,
        np.nanmean(references[licensed(train, "open")], axis=0),
    )


def predict(folder: str, table: SpectrumTable) -> Floats:
    """A checkpoint's predictions (n, 209), as they are compared.

    Raises:
        SystemExit: it predicts something else.
    """
    model, extractor = load(AutoModelForMolecularPropertyPrediction, folder)
    if tuple(model.config.property_names) != DESCRIPTOR_NAMES:
        raise SystemExit(f"{folder} predicts other properties than the {len(DESCRIPTOR_NAMES)} descriptors")
    return as_compared(outputs(model, extractor, table, "properties"))


def impute(sets: Sets, fold: str, neighbours: Path, licences: str) -> Floats:
    """The properties of each spectrum's nearest training spectrum by modified cosine."""
    hits = load_hits(neighbours, fold, licences, "open", sets.fold_sizes[fold])
    values = sets.references[np.asarray(hits["reference"])[sets.places[fold]]]
    return np.where(np.isnan(values), sets.mean, values)


def evaluate(sets: Sets, models: dict[str, str], neighbours: Path | None) -> Scores:
    """Figures by set and contender."""
    scores: Scores = {}
    for fold, truth in sets.truth.items():
        answers = {name: predict(folder, sets.tables[fold]) for name, folder in models.items()}
        if neighbours is not None:
            for licences in reversed(LICENCES):
                answers[f"modified cosine, {licences} licences"] = impute(sets, fold, neighbours, licences)
        answers[MEAN] = np.broadcast_to(sets.mean, truth.shape)
        scores[fold] = {name: property_scores(truth, predicted) for name, predicted in answers.items()}
    return scores


def summary(fold: str, name: str, table: SpectrumTable, found: PropertyScores) -> dict[str, Any]:
    """One row of the table."""
    continuous, binary = (~np.isnan(values) for values in (found.r2, found.balanced_accuracy))
    row: dict[str, Any] = {"contender": name, "set": fold, "spectra": len(table)}
    row |= {"molecules": len(set(table.rows["inchikey14"]))}
    row |= {"continuous": int(continuous.sum()), "binary": int(binary.sum())}
    row |= {"mean_r2": found.mean_r2, "median_r2": found.median_r2}
    row |= {"positive_r2": int((found.r2[continuous] > 0).sum())}
    row |= {"mean_balanced_accuracy": found.mean_balanced_accuracy}
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}


def by_descriptor(scores: Scores) -> list[dict[str, Any]]:
    """One row per set and property that varies in it, a column per contender."""
    rows = []
    for fold, contenders in scores.items():
        for place, descriptor in enumerate(DESCRIPTOR_NAMES):
            first = next(iter(contenders.values()))
            field = "balanced_accuracy" if first.binary[place] else "r2"
            figures = {name: float(getattr(found, field)[place]) for name, found in contenders.items()}
            if not np.isnan(list(figures.values())).any():
                row = {"set": fold, "descriptor": descriptor, "figure": field}
                rows.append(row | {name: round(value, 4) for name, value in figures.items()})
    return rows


def tests(scores: Scores) -> list[dict[str, Any]]:
    """The paper's tests on both figures, one row per pair; properties are the repeats."""
    rows = []
    for field in ("r2", "balanced_accuracy"):
        cells = {}
        for fold, contenders in scores.items():
            values = {name: known(getattr(found, field)) for name, found in contenders.items()}
            cells |= {(name, fold): figures for name, figures in values.items() if figures.size > 1}
            if len(values) > 2 and min(figures.size for figures in values.values()) > 1:
                result = friedman_dunn(values)
                head = {"figure": field, "set": fold, "test": result.name, "p_value": result.p_value}
                rows += [head | pair_row(pair) for pair in result.pairs]
        if len({name for name, _ in cells}) > 1 and len(cells) == len(scores) * len({n for n, _ in cells}):
            anova = two_way_anova(cells)
            for source in ("system", "set", "interaction"):
                head = {"figure": field, "set": "both", "test": f"two-way ANOVA, {source}"}
                rows.append(head | {"p_value": getattr(anova, source).p_value})
            head = {"figure": field, "set": "both", "test": "Tukey"}
            rows += [head | pair_row(pair) for pair in anova.pairs]
    return rows


def pair_row(pair: Any) -> dict[str, Any]:
    """Columns of one `PairTest`."""
    return {"first": pair.first, "second": pair.second, "pair_p_value": pair.p_value, "stars": pair.stars}


def known(values: Floats) -> Floats:
    """Those that are not NaN."""
    return values[~np.isnan(values)]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--models", nargs="*", default=[], metavar="NAME=FOLDER", help="training runs or checkpoints")
    add("--neighbours", type=Path, help="what benchmarks/neighbours.py kept; without it no modified cosine")
    add("--cache", type=Path, default=ROOT / "runs" / "cache", help="of the molecules' descriptors")
    add("--limit", type=int, help="a sample of the spectra, to see that it runs; of the neighbours too")
    add("--plots", type=Path, default=ROOT / "benchmarks" / "results" / "plots")
    add("--output", type=Path, default=ROOT / "benchmarks" / "results" / "properties")
    args = parser.parse_args(argv)
    models = parse_contenders(args.models)
    if args.neighbours is not None:
        claim(args.neighbours, made_from(args.data, args.limit))
    sets = load_sets(args.data, args.cache, args.limit)
    scores = evaluate(sets, models, args.neighbours)
    rows = [
        summary(fold, n, sets.tables[fold], s) for fold, found in scores.items() for n, s in found.items()
    ]
    write_figures(args.output, rows)
    write_figures(args.output.with_name(f"{args.output.name}_by_descriptor"), by_descriptor(scores))
    write_figures(args.output.with_name(f"{args.output.name}_tests"), tests(scores))
    args.plots.mkdir(parents=True, exist_ok=True)
    drawn = {fold: {name: found.r2 for name, found in figures.items()} for fold, figures in scores.items()}
    save_figure(plot_property_scores(drawn), args.plots / "properties.png")
    for row in rows:
        logger.info("%s", row)


if __name__ == "__main__":
    main()
