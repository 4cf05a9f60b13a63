"""How well LSM1 reconstructs peaks it sees and peaks it does not (figure 2 of the paper): errors of m/z and of intensity.

    python benchmarks/reconstruction.py --data ../shared/data --model runs/lsm1

A quarter of the peaks of every spectrum of the Known fold (as far as open-licence training spectra show its molecules) and of
the Unknown fold is masked, and 5,000 masked and 5,000 unmasked
peaks of each are sampled. "masked, constant" is what guessing the training peaks' median m/z and intensity would get on
the masked ones. Tests: Kruskal-Wallis over the groups, then Dunn's for each pair; the stars in the plot are those between
masked and unmasked peaks.
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
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "training_scripts"), str(ROOT / "benchmarks")]

from contenders import FOLDS, checkpoint, licensed, load, query_table, seen_places, training_table  # noqa: E402
from data import SpectrumDataset, SpectrumTable  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402

from msformers import AutoModelForSpectrumPreTraining  # noqa: E402
from msformers.metrics.significance import kruskal_dunn  # noqa: E402
from msformers.reports.figures import save_figure  # noqa: E402
from msformers.reports.property_plot import plot_reconstruction  # noqa: E402
from msformers.tokenization.lsm1 import Lsm1MaskingCollator  # noqa: E402

logger = logging.getLogger("msformers.benchmark")
CONSTANT = "masked, constant"
QUANTITIES = ("mz", "intensity")
Floats = npt.NDArray[np.float64]


@torch.inference_mode()
def reconstruct(model: Any, collator: Any, table: SpectrumTable, constant: Floats) -> dict[str, Floats]:
    """Absolute errors (peaks, 2) of m/z in Th and relative intensity, by kind of peak.

    Args:
        collator: masks the peaks.
        constant: m/z and intensity of the guess that sees nothing.
    """
    dataset, order = SpectrumDataset(table), np.argsort(table.n_peaks, kind="stable")
    parts: dict[str, list[Floats]] = {"masked": [], "unmasked": [], CONSTANT: []}
    for start in tqdm(range(0, len(order), 128), desc="reconstruct", unit="batch", leave=False):
        batch = dict(collator([dataset[int(place)] for place in order[start : start + 128]]))
        batch = {key: value.to(model.device) for key, value in batch.items()}
        found = model.reconstruction_errors(model(**batch), batch)
        errors = torch.stack([found.mz, found.intensity], dim=1).cpu().numpy()
        masked = found.masked.cpu().numpy()
        parts["masked"].append(errors[masked])
        parts["unmasked"].append(errors[~masked])
        parts[CONSTANT].append(np.abs(batch["peaks"][batch["peak_mask"]].double().cpu().numpy() - constant))
    return {kind: np.concatenate(rows) for kind, rows in parts.items()}


def sampled(errors: dict[str, Floats], count: int, seed: int) -> dict[str, Floats]:
    """At most `count` random peaks of each kind; the constant's are those of the masked ones."""
    rng = np.random.default_rng(seed)
    chosen = {kind: rng.permutation(len(errors[kind]))[:count] for kind in ("masked", "unmasked")}
    return {kind: rows[chosen["masked" if kind == CONSTANT else kind]] for kind, rows in errors.items()}


def figures(fold: str, errors: dict[str, Floats]) -> list[dict[str, Any]]:
    """One row per kind of peak."""
    rows = []
    for kind, values in errors.items():
        row: dict[str, Any] = {"set": fold, "peaks": kind, "sampled": len(values)}
        for column, quantity in enumerate(QUANTITIES):
            low, median, high = np.percentile(values[:, column], (25, 50, 75))
            row |= {f"{quantity}_mean": values[:, column].mean(), f"{quantity}_median": median}
            row |= {f"{quantity}_p25": low, f"{quantity}_p75": high}
        row |= {f"mz_within_{width:g}": (values[:, 0] < width + 5e-4).mean() for width in (0.001, 0.01, 0.5)}
        rows.append({key: round(v, 5) if isinstance(v, float) else v for key, v in row.items()})
    return rows


def tests(errors: dict[str, dict[str, Floats]]) -> list[dict[str, Any]]:
    """Kruskal-Wallis over set and kind for each quantity, a row per pair of Dunn's test."""
    rows = []
    for column, quantity in enumerate(QUANTITIES):
        groups = {
            f"{fold}, {kind}": e[:, column] for fold, kinds in errors.items() for kind, e in kinds.items()
        }
        result = kruskal_dunn(groups)
        for pair in result.pairs:
            row = {"quantity": quantity, "test": result.name, "statistic": round(result.statistic, 3)}
            row |= {"p_value": result.p_value, "first": pair.first, "second": pair.second}
            rows.append(row | {"pair_p_value": pair.p_value, "stars": pair.stars})
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--model", required=True, help="a pre-training run or checkpoint of LSM1")
    add("--sampled", type=int, default=5000, help="peaks of each kind and set")
    add("--limit", type=int, help="a sample of the spectra, to see that it runs")
    add("--seed", type=int, default=0, help="of masks and sample")
    add("--plots", type=Path, default=ROOT / "benchmarks" / "results" / "plots")
    add("--output", type=Path, default=ROOT / "benchmarks" / "results" / "reconstruction")
    args = parser.parse_args(argv)
    model, extractor = load(AutoModelForSpectrumPreTraining, checkpoint(args.model))
    train = training_table(args.data, args.limit)
    peaks = [np.stack(train.peaks[place], axis=1) for place in licensed(train, "open")]
    constant = np.median(np.concatenate(peaks), axis=0)
    errors, rows = {}, []
    for fold in FOLDS:
        table = query_table(args.data, fold, args.limit)
        if fold == "Known":
            table = table.select(seen_places(args.data, table).tolist())
        found = reconstruct(model, Lsm1MaskingCollator(extractor, seed=args.seed), table, constant)
        errors[fold] = sampled(found, args.sampled, args.seed)
        rows += figures(fold, errors[fold])
    write_figures(args.output, rows)
    tested = tests(errors)
    write_figures(args.output.with_name(f"{args.output.name}_tests"), tested)
    stars = {(row["quantity"], row["first"], row["second"]): row["stars"] for row in tested}
    between = {f: tuple(stars[q, f"{f}, masked", f"{f}, unmasked"] for q in QUANTITIES) for f in FOLDS}
    pairs = {fold: {kind: (e[:, 0], e[:, 1]) for kind, e in kinds.items()} for fold, kinds in errors.items()}
    args.plots.mkdir(parents=True, exist_ok=True)
    save_figure(plot_reconstruction(pairs, between), args.plots / "reconstruction.png")
    for row in rows:
        logger.info("%s", row)


if __name__ == "__main__":
    main()
