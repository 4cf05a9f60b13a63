r"""What the consensus of de novo molecules is worth: substructures as probabilities, and molecules ordered by agreement.

    python benchmarks/denovo_consensus.py --data ../shared/data --method nearest --n-spectra 405
    python benchmarks/denovo_consensus.py --data ../shared/data --method model --model denovo-small --save hub_cards/denovo-small

The proposals are those of `denovo.py`, made with the same options and kept in the same --work folder. Tables of calibration
are fitted on val and judged on test, molecules counting once each: expected calibration error and Brier score per
substructure with at least five occurrences, as they are and calibrated, with a plot. With --save the tables are written as
consensus_calibration.json into a checkpoint folder. The second table compares the largest Tanimoto similarity at 1, 10 and
100 in the order of the search with the orders by agreement of substructures and of atoms, on test.
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

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "training_scripts"), str(ROOT / "benchmarks")]

from denovo import Race  # noqa: E402
from denovo import parser as denovo_parser  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402
from tqdm import tqdm  # noqa: E402

from msformers.inference.generation.consensus import Consensus, atom_agreement, consensus  # noqa: E402
from msformers.inference.generation.consensus_calibration import (  # noqa: E402
    ConsensusCalibration,
    fit_calibration,
)
from msformers.inference.generation.substructures import load_substructures, match_substructures  # noqa: E402
from msformers.metrics.consensus import SubstructureReliability, substructure_reliability  # noqa: E402
from msformers.metrics.generation import generation_scores  # noqa: E402
from msformers.metrics.selective import group_weights  # noqa: E402
from msformers.reports.consensus_plot import plot_substructure_calibration  # noqa: E402
from msformers.reports.figures import save_figure  # noqa: E402

logger = logging.getLogger("msformers.benchmark")
SUBSTRUCTURES = load_substructures()
Floats = npt.NDArray[np.float64]


class Fold:
    """The proposals of one method for the spectra of a fold, and what they agree on."""

    def __init__(self, args: argparse.Namespace, fold: str) -> None:
        count = args.val_spectra if fold == "val" and args.val_spectra else args.n_spectra
        race = Race(argparse.Namespace(**{**vars(args), "fold": fold, "n_spectra": count}))
        self.smiles = [found.smiles for found in race.run(args.method)]
        self.true: list[str] = race.table.rows["smiles_2d"]
        self.molecules: list[str] = race.table.rows["inchikey14"]
        self.consensus: list[Consensus] = [
            consensus(row, SUBSTRUCTURES) for row in tqdm(self.smiles, desc=f"consensus, {fold}")
        ]

    @property
    def scores(self) -> Floats:
        """(spectra, substructures); NaN where nothing was proposed."""
        return np.array([found.scores for found in self.consensus])

    @property
    def truth(self) -> npt.NDArray[np.bool_]:
        """(spectra, substructures) whether the true molecule has them."""
        return match_substructures(self.true, SUBSTRUCTURES)[0]

    def reliability(self, scores: Floats) -> dict[str, SubstructureReliability]:
        """Of these scores, by substructure; each molecule counts once."""
        names, weights = [found.name for found in SUBSTRUCTURES], group_weights(self.molecules)
        return substructure_reliability(scores, self.truth, names, weights=weights)


def calibration_rows(
    raw: dict[str, SubstructureReliability], calibrated: dict[str, SubstructureReliability]
) -> list[dict[str, Any]]:
    """Figures of every substructure, and their means over those that have a table, as the last row."""
    rows: list[dict[str, Any]] = []
    for name, found in raw.items():
        row: dict[str, Any] = {"substructure": name, "occurrences": found.occurrences, "spectra": found.n}
        for label, side in (("", found), ("_calibrated", calibrated.get(name))):
            row[f"ece{label}"] = None if side is None else round(side.curve.error, 4)
            row[f"brier{label}"] = None if side is None else round(side.brier, 4)
        rows.append(row)
    both = [row for row in rows if row["ece_calibrated"] is not None]
    figures = ("ece", "brier", "ece_calibrated", "brier_calibrated")
    means = {name: round(float(np.mean([row[name] for row in both])), 4) for name in figures if both}
    return [*rows, {"substructure": f"mean of {len(both)}", **means}]


def order_rows(fold: Fold, method: str) -> list[dict[str, Any]]:
    """Similarity to the truth at k, by the order of the search and by agreement."""
    atoms = [[found.mean() for found in atom_agreement(row)] for row in fold.smiles]
    orders = {
        "search": [-np.arange(len(row)) for row in fold.smiles],
        "agreement of substructures": [found.agreement() for found in fold.consensus],
        "agreement of atoms": [np.array(row) for row in atoms],
    }
    rows = []
    for name, keys in orders.items():
        ordered = [
            # the only one of its list agrees with nobody, and stays first
            [row[place] for place in np.argsort(-np.nan_to_num(key), kind="stable")]
            for row, key in zip(fold.smiles, keys, strict=True)
        ]
        scores = generation_scores(fold.true, ordered)
        rows.append(
            {"method": method, "order": name, "spectra": len(ordered)}
            | {f"max_tanimoto_at_{k}": round(value, 4) for k, value in scores.max_tanimoto.items()}
            | {f"exact_match_at_{k}": round(value, 4) for k, value in scores.exact_match.items()}
        )
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = denovo_parser()
    parser.description = __doc__
    parser.add_argument("--method", default="model", help="one of the methods of denovo.py")
    parser.add_argument("--save", type=Path, help="checkpoint folder for consensus_calibration.json")
    parser.add_argument("--val-spectra", type=int, help="spectra of val, if not as many as of test")
    parser.set_defaults(output=ROOT / "benchmarks" / "results" / "denovo_consensus")
    args = parser.parse_args(argv)
    if args.save is not None and not args.save.is_dir():
        raise SystemExit(f"--save {args.save} is no folder; give the checkpoint the proposals were made with")
    val, test = Fold(args, "val"), Fold(args, "test")
    kind = f"{args.method}, at most {args.count} molecules"
    fitted: ConsensusCalibration = fit_calibration(val.scores, val.truth, SUBSTRUCTURES, val.molecules, kind)
    if args.save is not None:
        logger.info("tables of %d substructures in %s", len(fitted.substructures), fitted.save(args.save))
    raw = test.reliability(test.scores)
    calibrated = test.reliability(fitted.transform(test.scores, SUBSTRUCTURES))
    rows = calibration_rows(raw, calibrated)
    logger.info("%s", rows[-1])
    write_figures(args.output, rows)
    args.plots.mkdir(parents=True, exist_ok=True)
    if raw:
        save_figure(plot_substructure_calibration(raw, calibrated), args.plots / "denovo_consensus.png")
    orders = order_rows(test, args.method)
    for row in orders:
        logger.info("%s", row)
    write_figures(args.output.with_name(f"{args.output.name}_orders"), orders)


if __name__ == "__main__":
    main()
