"""The same figures behind the interface of Hugging Face `evaluate`: add batches, compute once, combine with others.

Import this module by its own name; `msformers.metrics` leaves it alone, because `evaluate` is slow to import.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import evaluate
from datasets import Features, List, Value

from .generation import KS, PPM, NeutralMasses, generation_scores
from .molecules import max_tanimoto
from .properties import property_scores
from .retrieval import MissingMode, TieMode, mrr, recall_at_k

_CITATION = "Bushuiev et al., MassSpecGym, NeurIPS 2024 Datasets and Benchmarks, arXiv 2410.23326"


class RetrievalRecall(evaluate.Metric):
    """Recall@K of ranked candidates.

    Predictions are the scores of one query's candidates, references whether each candidate is the right molecule.

    >>> RetrievalRecall().compute(predictions=[[0.9, 0.1]], references=[[True, False]], ks=[1])
    {'recall_at_1': 1.0}
    """

    def _info(self) -> evaluate.MetricInfo:
        return _retrieval_info("Recall@K of ranked candidate molecules, hits by first InChIKey block.")

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[list[bool]],
        ks: Sequence[int] = (1, 5, 20),
        ties: TieMode = "expected",
        missing: MissingMode = "raise",
    ) -> dict[str, float]:
        return {f"recall_at_{k}": recall_at_k(predictions, references, k, ties, missing) for k in ks}


class RetrievalMRR(evaluate.Metric):
    """Mean reciprocal rank of ranked candidates; inputs as in `RetrievalRecall`."""

    def _info(self) -> evaluate.MetricInfo:
        return _retrieval_info("Mean reciprocal rank of the right molecule, ties at the expected rank.")

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[list[bool]],
        ties: TieMode = "expected",
        missing: MissingMode = "raise",
    ) -> dict[str, float]:
        return {"mrr": mrr(predictions, references, ties, missing)}


class MaxTanimoto(evaluate.Metric):
    """Mean over queries of the largest Tanimoto similarity between the true SMILES and the proposed ones."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": List(Value("string")), "references": Value("string")})
        return _info(
            "Largest Tanimoto similarity (Morgan, radius 2) of the proposals to the truth.", features
        )

    def _compute(
        self, predictions: list[list[str]], references: list[str], n_bits: int = 2048
    ) -> dict[str, float]:
        return {"max_tanimoto": float(max_tanimoto(references, predictions, n_bits).mean())}


class MoleculeGeneration(evaluate.Metric):
    """Similarity and exact matches at k, validity, uniqueness and mass of generated molecules.

    Predictions are the proposed SMILES of a query, best first (None for a sequence that is no molecule), references the true
    SMILES. `compute` takes the neutral masses of all queries, in the order they were added.
    """

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": List(Value("string")), "references": Value("string")})
        return _info("Generated molecules against the true ones, best proposals first.", features)

    def _compute(
        self,
        predictions: list[list[str | None]],
        references: list[str],
        neutral_mass: NeutralMasses | None = None,
        ks: Sequence[int] = KS,
        ppm: float = PPM,
    ) -> dict[str, float]:
        return generation_scores(references, predictions, neutral_mass, ks, ppm).summary()


class MolecularProperties(evaluate.Metric):
    """R² of continuous and balanced accuracy of binary molecular properties, averaged over properties.

    Predictions and references are one row of property values per query, in the same units; an unknown reference is NaN.
    A property with at most two values among the references is binary (see `metrics.properties`).
    """

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": List(Value("float64")), "references": List(Value("float64"))})
        text = "Mean R² of continuous, mean balanced accuracy of binary properties, as LSM1-MS2 reports them."
        return _info(text, features, citation="")

    def _compute(self, predictions: list[list[float]], references: list[list[float]]) -> dict[str, float]:
        scores = property_scores(references, predictions)
        names = ("mean_r2", "median_r2", "mean_balanced_accuracy", "median_balanced_accuracy")
        return {name: getattr(scores, name) for name in names}


def _retrieval_info(description: str) -> evaluate.MetricInfo:
    features = Features({"predictions": List(Value("float64")), "references": List(Value("bool"))})
    return _info(description, features)


def _info(description: str, features: Any, citation: str = _CITATION) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=description,
        citation=citation,
        inputs_description="predictions and references: one entry per query",
        features=features,
    )
