"""Answers to numbers (plain NumPy)."""

if not __name__.startswith("msformers."):
    raise ImportError("import msformers.metrics")

from .analyses import hardness, margins, pool_size_sensitivity
from .consensus import substructure_reliability
from .generation import generation_scores
from .molecules import max_tanimoto, mces, mces_at_1, nearest_tanimoto
from .peptides import peptide_scores, residue_matches
from .properties import property_scores
from .retrieval import bootstrap_interval, hits_at_k, mrr, positives_by_block, ranks, recall_at_k
from .significance import paired_comparison

__all__ = [
    "bootstrap_interval",
    "generation_scores",
    "hardness",
    "hits_at_k",
    "margins",
    "max_tanimoto",
    "mces",
    "mces_at_1",
    "mrr",
    "nearest_tanimoto",
    "paired_comparison",
    "pool_size_sensitivity",
    "peptide_scores",
    "positives_by_block",
    "property_scores",
    "ranks",
    "recall_at_k",
    "residue_matches",
    "substructure_reliability",
]
