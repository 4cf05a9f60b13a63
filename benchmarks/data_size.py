r"""What pre-training saves: mean R² of LSM1's properties against the share of the training data (data-size study).

    for share in 0.01 0.05 0.1 0.25 0.5 1.0; do for variant in small scratch-small frozen-small; do
        python training_scripts/train_properties.py --recipe $variant --set data.fraction=$share \
            --data ../shared/data --output runs/size/$variant-$share
    done; done
    python benchmarks/data_size.py --data ../shared/data --runs runs/size/*

Variant and share are read from the ``recipe.json`` of each run: "frozen" trains the head alone, "from scratch" begins with
new weights, "fine-tuned" with pre-trained ones. Figures are those of benchmarks/properties.py.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "training_scripts"), str(ROOT / "benchmarks")]

from contenders import checkpoint  # noqa: E402
from properties import load_sets, predict, summary  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402

from msformers.metrics.properties import property_scores  # noqa: E402
from msformers.reports.figures import save_figure  # noqa: E402
from msformers.reports.property_plot import plot_data_size  # noqa: E402

logger = logging.getLogger("msformers.benchmark")
VARIANTS = ("fine-tuned", "frozen", "from scratch")


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run of train_properties.py: its folder, variant (`VARIANTS`), share of the data and what was drawn."""

    folder: Path
    variant: str
    share: float
    share_of: str


def read_run(folder: Path) -> Run:
    """What the recipe beside a run's model says.

    Raises:
        SystemExit: the run has not finished.
    """
    path = folder / "recipe.json"
    if not path.is_file():
        raise SystemExit(f"{folder}: no recipe.json; has train_properties.py finished there?")
    recipe = json.loads(path.read_text(encoding="utf-8"))
    model, data = recipe["model"], recipe["data"]
    pretrained = "frozen" if model.get("freeze_encoder") else "fine-tuned"
    variant = pretrained if model.get("checkpoint") else "from scratch"
    return Run(folder, variant, float(data.get("fraction", 1.0)), data.get("fraction_of", "molecules"))


def curves(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rows to the curves of `plot_data_size`."""
    found: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for row in rows:
        shares, values = found.setdefault(row["variant"], {}).setdefault(row["set"], ([], []))
        shares.append(row["share"])
        values.append(row["mean_r2"])
    return {variant: found[variant] for variant in VARIANTS if variant in found}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--runs", type=Path, nargs="+", required=True, help="folders of train_properties.py")
    add("--cache", type=Path, default=ROOT / "runs" / "cache", help="of the molecules' descriptors")
    add("--limit", type=int, help="a sample of the spectra, to see that it runs")
    add("--plots", type=Path, default=ROOT / "benchmarks" / "results" / "plots")
    add("--output", type=Path, default=ROOT / "benchmarks" / "results" / "data_size")
    args = parser.parse_args(argv)
    runs = sorted(map(read_run, args.runs), key=lambda run: (VARIANTS.index(run.variant), run.share))
    sets, rows = load_sets(args.data, args.cache, args.limit), []
    for run in runs:
        for fold, table in sets.tables.items():
            found = property_scores(sets.truth[fold], predict(checkpoint(str(run.folder)), table))
            row = {"variant": run.variant, "share": run.share, "share_of": run.share_of}
            rows.append(row | summary(fold, run.folder.name, table, found))
            logger.info("%s", rows[-1])
        write_figures(args.output, rows)  # after every run, so that an interrupted study keeps its rows
    args.plots.mkdir(parents=True, exist_ok=True)
    save_figure(plot_data_size(curves(rows)), args.plots / "data_size.png")


if __name__ == "__main__":
    main()
