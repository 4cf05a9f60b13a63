"""What the confidence of a calibrated checkpoint is worth on the test fold, read once.

    python benchmarks/confidence.py --data ../shared/data --models specbridge-small

Coverage and size of the candidate sets, error as the less sure answers are held back, and claimed against observed
probability, by polarity, instrument and length of the list; over spectra, and with each molecule counting once.
Protocols as in `benchmarks/retrieval.py`: "mass" (within 10 ppm), "isomers" (lists of at least 10). Lists of a single
candidate are left out: there the search window answers. "score" and "gap" are what one would use without calibration.
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
sys.path[:0] = [str(ROOT / "training_scripts")]

from candidate_scores import PPM, Case, cases, scored  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402

from msformers import resolve_checkpoint  # noqa: E402
from msformers.inference.loading import load_retrieval  # noqa: E402
from msformers.inference.options import DECODES, SearchOptions  # noqa: E402
from msformers.inference.retrieval.confidence import Calibration, SearchCalibration, assess  # noqa: E402
from msformers.metrics.retrieval import bootstrap_interval  # noqa: E402
from msformers.metrics.selective import (  # noqa: E402
    RiskCoverage,
    brier,
    excess_area,
    group_weights,
    reliability,
    risk_coverage,
)
from msformers.reports.selective_plot import plot_reliability, plot_risk_coverage  # noqa: E402

logger = logging.getLogger("msformers.benchmark")
PROTOCOLS = {"mass": ("mass", 2), "isomers": ("formula", 10)}
Mask = npt.NDArray[np.bool_]


class Judged:
    """The calibrated lists of one protocol as arrays, one entry per spectrum.

    Args:
        found: lists of the test fold; those the calibration does not cover are left out and counted in `left_out`.
        calibration: of the kind of search. level: of the sets.
    """

    def __init__(self, found: Sequence[Case], calibration: SearchCalibration, level: float) -> None:
        answers = [assess(case.listing, calibration, level) for case in found]
        kept = [(case, answer) for case, answer in zip(found, answers, strict=True) if not answer.reason]
        self.cases = [case for case, _ in kept]
        self.left_out = len(found) - len(kept)
        self.hits = np.array([case.hit for case in self.cases])
        self.molecules = [case.molecule for case in self.cases]
        sizes = [answer.set_size or 0 for _, answer in kept]
        self.set_size = np.array(sizes, dtype=np.float64)
        places = [np.inf if case.truth is None else case.truth for case in self.cases]
        self.inside = np.array(places) < self.set_size
        sure = [0.0 if answer.probabilities is None else answer.probabilities[0] for _, answer in kept]
        scores = [case.listing.scores for case in self.cases]
        self.confidence = {
            "probability": np.array(sure),
            "gap": np.array([values[0] - values[1] for values in scores]),
            "score": np.array([values[0] for values in scores]),
        }

    def groups(self) -> dict[str, Mask]:
        """Which spectra belong to each group."""
        names = [case.instrument_type for case in self.cases]
        accurate = np.array(["FT" in name or "TOF" in name for name in names])
        positive = np.array([case.ion_mode == "positive" for case in self.cases])
        length = np.array([case.listing.n_candidates for case in self.cases])
        found = {"all": accurate | True, "positive": positive, "negative": ~positive}
        found |= {"accurate mass": accurate, "unit resolution": ~accurate}
        found |= {"2-9 candidates": length < 10, "10-49 candidates": (length >= 10) & (length < 50)}
        return found | {"50 or more candidates": length >= 50}


def figures(judged: Judged, mask: Mask) -> dict[str, Any]:
    """Figures of one group, over spectra and over molecules."""
    chosen = np.flatnonzero(mask)
    hits, sure = judged.hits[chosen], judged.confidence["probability"][chosen]
    molecules = [judged.molecules[place] for place in chosen]
    weights, inside = group_weights(molecules), judged.inside[chosen].astype(float)
    row: dict[str, Any] = {"spectra": len(chosen), "molecules": len(set(molecules))}
    for unit, weight in (("", np.ones(len(chosen))), ("_by_molecule", weights)):
        curve = risk_coverage(sure, 1 - hits, weight)
        row[f"set_coverage{unit}"] = float(np.average(inside, weights=weight))
        row[f"error{unit}"], row[f"error_at_50{unit}"] = curve.at(1.0), curve.at(0.5)
        row[f"aurc{unit}"] = curve.area
        row[f"excess_aurc{unit}"] = excess_area(sure, 1 - hits, weight)
        row[f"calibration_error{unit}"] = reliability(sure, hits, weights=weight).error
        row[f"brier{unit}"] = brier(sure, hits, weight)
    interval = bootstrap_interval(inside, confidence=0.95, resamples=2000, groups=molecules)
    row |= {"set_coverage_low": interval.low, "set_coverage_high": interval.high}
    row |= _ratio(sure, 1 - hits, molecules)
    row["mean_set_size"] = float(judged.set_size[chosen].mean())
    row["median_set_size"] = float(np.median(judged.set_size[chosen]))
    row["median_candidates"] = float(np.median([judged.cases[p].listing.n_candidates for p in chosen]))
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def _ratio(sure: Any, errors: Any, molecules: Sequence[str], resamples: int = 500) -> dict[str, float]:
    """Error at half the coverage over the error without abstention, and its 95 % bootstrap interval over molecules."""
    codes = np.unique(molecules, return_inverse=True)[1]
    places = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    rng, ratios = np.random.default_rng(0), []
    for draw in range(resamples + 1):
        drawn = rng.integers(0, len(places), len(places)) if draw else np.arange(len(places))
        chosen = np.concatenate([places[code] for code in drawn])
        curve = risk_coverage(sure[chosen], errors[chosen])
        ratios.append(curve.at(0.5) / max(curve.at(1.0), 1e-9))
    low, high = np.quantile(ratios[1:], [0.025, 0.975])
    return {"ratio_at_50": ratios[0], "ratio_at_50_low": float(low), "ratio_at_50_high": float(high)}


def evaluate(
    args: argparse.Namespace, name: str, curves: dict[str, RiskCoverage], reliable: dict[str, Any]
) -> list[dict[str, Any]]:
    """All rows of one checkpoint; its curves are added to those to draw."""
    folder = resolve_checkpoint(name)
    loaded, calibration = load_retrieval(folder, "cpu"), Calibration.load(folder)
    if calibration is None:
        raise ValueError(f"{name}: has no calibration.json; make one with training_scripts/calibrate.py")
    has_evidence = loaded.evidence is not None and args.decode == "fingerprint"
    depth = SearchOptions().evidence_depth if has_evidence else 0
    rows: list[dict[str, Any]] = []
    scores = scored(loaded, args.data, "test", args.decode, depth, args.cache)
    for protocol, (search, minimum) in PROTOCOLS.items():
        options = SearchOptions(search, ppm=PPM, decode=args.decode)  # type: ignore[arg-type]
        found = calibration.find(options, has_evidence)
        if found is None:
            raise ValueError(f"{name}: is not calibrated for a search by {search}, path {args.decode}")
        judged = Judged(cases(scores, search, depth, minimum), found, args.level)
        if not judged.cases:
            logger.warning("%s: no list of %s that the calibration covers", name, protocol)
            continue
        about = {"checkpoint": Path(name).name, "protocol": protocol, "level": args.level}
        for group, mask in judged.groups().items():
            if mask.any():
                rows.append(about | {"group": group, "uncalibrated": judged.left_out} | figures(judged, mask))
        for rival in ("gap", "score"):
            curve = risk_coverage(judged.confidence[rival], 1 - judged.hits)
            rows.append(about | {"group": f"all, by {rival}"} | _rival(curve, len(judged.hits)))
        label = f"{Path(name).name}, {protocol}"
        sure = judged.confidence["probability"]
        curves[label] = risk_coverage(sure, 1 - judged.hits)
        reliable[label] = reliability(sure, judged.hits)
    return rows


def _rival(curve: RiskCoverage, spectra: int) -> dict[str, Any]:
    found = {"error": curve.at(1.0), "error_at_50": curve.at(0.5), "aurc": curve.area}
    return {"spectra": spectra} | {name: round(value, 4) for name, value in found.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--models", nargs="+", default=["specbridge-small"], help="calibrated checkpoints")
    add("--decode", choices=DECODES, default="fingerprint")
    add("--level", type=float, default=0.9, help="of the candidate sets")
    add("--cache", type=Path, default=Path("runs/confidence"), help="folder for the scores")
    add("--plots", type=Path, default=ROOT / "benchmarks" / "results" / "plots")
    add("--output", type=Path, default=ROOT / "benchmarks" / "results" / "confidence")
    args = parser.parse_args(argv)
    curves: dict[str, RiskCoverage] = {}
    reliable: dict[str, Any] = {}
    rows = [row for name in args.models for row in evaluate(args, name, curves, reliable)]
    write_figures(args.output, rows)
    args.plots.mkdir(parents=True, exist_ok=True)
    for plot, file in (
        (plot_risk_coverage(curves), "risk_coverage"),
        (plot_reliability(reliable), "reliability"),
    ):
        plot.savefig(args.plots / f"{file}.png", dpi=120, bbox_inches="tight")
    for row in rows:
        if row["group"].startswith("all"):
            logger.info("%s", row)


if __name__ == "__main__":
    main()
