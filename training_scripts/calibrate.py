"""Calibrate a retrieval checkpoint on the validation fold: probabilities, candidate sets, bands; writes calibration.json.

python training_scripts/calibrate.py --data ../shared/data --model hub_cards/specbridge-small

The temperature is fitted by maximum likelihood, each molecule counting once. Everything that is read off its output (conformal
thresholds, bands, the figures logged) is cross-fitted: no molecule is judged by a temperature that it helped to fit.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from candidate_scores import PPM, Case, cases, scored
from recipe import start_logging
from torch import Tensor

from msformers.inference.loading import load_retrieval
from msformers.inference.options import DECODES
from msformers.inference.retrieval.confidence import FEATURES, SIZES, Calibration, SearchCalibration
from msformers.metrics.selective import conformal_quantile, group_weights, reliability, risk_coverage

logger = logging.getLogger("msformers.training")
SEARCHES = ("mass", "formula")
LEVELS = (0.8, 0.9, 0.95)
PENALTY = 1e-3
Figures = dict[str, float]


def fit_temperature(found: Sequence[Case], kind: dict[str, Any]) -> SearchCalibration:
    """The temperature alone, by conditional log-likelihood of the truth; each molecule counts once.

    Args:
        found: validation lists; those whose truth is not listed have no say.
        kind: search, ppm, evidence_depth and decode.
    """
    features = np.array([case.listing.features() for case in found])
    known = np.isfinite(features).any(0)
    filled = np.where(known, features, 0.0)
    centre, scale = np.nanmean(filled, axis=0), np.maximum(np.nanstd(filled, axis=0), 1e-3)
    standard = np.nan_to_num((features - centre) / scale, nan=0.0) * known
    listed = [place for place, case in enumerate(found) if case.truth is not None]
    weights = group_weights([found[place].molecule for place in listed])
    theta = _maximise(
        _padded([found[place] for place in listed]),
        torch.tensor([found[place].truth for place in listed]),
        torch.tensor(standard[listed], dtype=torch.float32),
        torch.tensor(weights / weights.sum(), dtype=torch.float32),
    )
    return SearchCalibration(
        **kind,
        most_candidates=max(case.listing.n_candidates for case in found),
        n_spectra=len(found),
        n_molecules=len({case.molecule for case in found}),
        bias=float(theta[0]),
        weights=theta[1:].tolist(),
        centre=centre.tolist(),
        scale=scale.tolist(),
        low=np.nanmin(filled, axis=0).tolist(),
        high=np.nanmax(filled, axis=0).tolist(),
        thresholds={},
        medium=1 / 3,
        high_band=2 / 3,
        quantiles=(),
        validation={},
    )


def _padded(found: Sequence[Case]) -> Tensor:
    """Score differences to the best, (cases, longest list); far below where there is no candidate."""
    scores = torch.full((len(found), max(len(case.listing.scores) for case in found)), -1e9)
    for row, case in zip(scores, found, strict=True):
        own = np.asarray(case.listing.scores, dtype=np.float64)
        row[: len(own)] = torch.from_numpy(own - own[0])
    return scores


def _maximise(scores: Tensor, truth: Tensor, features: Tensor, weights: Tensor) -> Any:
    """Bias and weights (1 + features,) of the logarithm of the inverse temperature."""
    start = [3.0] + [0.0] * features.shape[1]
    theta = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.LBFGS([theta], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = scores * (theta[0] + features @ theta[1:]).exp()[:, None]
        log_likelihood = logits.log_softmax(1).gather(1, truth[:, None])[:, 0] @ weights
        value = PENALTY * (theta[1:] ** 2).sum() - log_likelihood
        value.backward()
        return value

    optimizer.step(loss)
    return theta.detach().numpy()


def cross_fit(found: Sequence[Case], kind: dict[str, Any], folds: int, seed: int = 0) -> Any:
    """Of each case, judged by the molecules of the other folds: probability of the first, and log ratio of the truth.

    Returns:
        (2, n) float64; the log ratio is infinite where the truth is not listed.
    """
    names = sorted({case.molecule for case in found})
    order = np.random.default_rng(seed).permutation(len(names)) % folds
    fold = np.array([order[names.index(case.molecule)] for case in found])
    judged = np.full((2, len(found)), np.inf)
    for held in range(folds):
        fitted = fit_temperature([found[place] for place in np.flatnonzero(fold != held)], kind)
        for place in np.flatnonzero(fold == held):
            case = found[place]
            ratios = fitted.log_ratios(case.listing)
            judged[0, place] = 1.0 / np.exp(-ratios).sum()
            if case.truth is not None:
                judged[1, place] = ratios[case.truth]
    return judged


def complete(fitted: SearchCalibration, found: Sequence[Case], judged: Any) -> SearchCalibration:
    """Add what is read off the cross-fitted judgements: thresholds, bands, quantiles and figures."""
    sizes = np.digitize([case.listing.n_candidates for case in found], SIZES)
    molecules = np.array([case.molecule for case in found])
    thresholds: dict[str, list[float | None]] = {}
    for level in LEVELS:
        groups = [np.flatnonzero(sizes == size) for size in range(len(SIZES) + 1)]
        values = [
            conformal_quantile(judged[1, g], level, list(molecules[g])) if len(g) else np.inf for g in groups
        ]
        thresholds[f"{level:g}"] = [float(value) if np.isfinite(value) else None for value in values]
    weights = group_weights(list(molecules))
    quantiles = _weighted_quantiles(judged[0], weights, np.linspace(0, 1, 101))
    medium, high = _weighted_quantiles(judged[0], weights, np.array([1 / 3, 2 / 3]))
    hits = np.array([case.hit for case in found])
    bands = np.digitize(judged[0], [medium, high])
    validation = _figures(judged[0], hits, None, "spectra") | _figures(judged[0], hits, weights, "molecules")
    for number, band in enumerate(("low", "medium", "high")):
        chosen = bands == number
        validation[f"right_in_band_{band}"] = round(
            float(np.average(hits[chosen], weights=weights[chosen])), 4
        )
    return replace(
        fitted,
        thresholds=thresholds,
        medium=float(medium),
        high_band=float(high),
        quantiles=[round(float(value), 6) for value in quantiles],
        validation=validation,
    )


def _weighted_quantiles(values: Any, weights: Any, at: Any) -> Any:
    order = np.argsort(values, kind="stable")
    middle = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    return np.interp(at, middle, values[order])


def _figures(confidence: Any, hits: Any, weights: Any, unit: str) -> Figures:
    curve = risk_coverage(confidence, 1 - hits, weights)
    found = {"error": curve.at(1.0), "error_at_50": curve.at(0.5), "aurc": curve.area}
    found["calibration_error"] = reliability(confidence, hits, weights=weights).error
    return {f"{unit}_{name}": round(value, 4) for name, value in found.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--model", type=Path, required=True, help="checkpoint folder; calibration.json is written into it")
    add("--searches", nargs="+", default=list(SEARCHES), choices=SEARCHES)
    add("--decode", nargs="+", default=["fingerprint"], choices=DECODES, help="paths of the model")
    add("--evidence-depth", type=int, default=200, help="as in msformers annotate; 0: no evidence")
    add("--folds", type=int, default=10, help="of the cross-fitting, over molecules")
    add("--cache", type=Path, default=Path("runs/confidence"), help="folder for the scores")
    args = parser.parse_args(argv)
    loaded = load_retrieval(str(args.model), "cpu")
    searches = []
    for decode in args.decode:
        depth = args.evidence_depth if loaded.evidence is not None and decode == "fingerprint" else 0
        rows = scored(loaded, args.data, "val", decode, depth, args.cache)
        for search in args.searches:
            found = cases(rows, search, depth)
            kind = {"search": search, "ppm": PPM if search == "mass" else None}
            kind |= {"evidence_depth": depth, "decode": decode}
            fitted = complete(fit_temperature(found, kind), found, cross_fit(found, kind, args.folds))
            weights = dict(zip(FEATURES, np.round(fitted.weights, 3).tolist(), strict=True))
            logger.info("%s: bias %.2f, weights %s", fitted.kind, fitted.bias, weights)
            logger.info("thresholds %s; validation %s", fitted.thresholds, fitted.validation)
            searches.append(fitted)
    Calibration(tuple(searches)).save(args.model)


if __name__ == "__main__":
    main()
