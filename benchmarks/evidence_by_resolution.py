"""Does fragment evidence help at unit resolution? Validation spectra by instrument, with and without it.

    python benchmarks/evidence_by_resolution.py --data ../shared/data --model specbridge-small

This is why `FragmentEvidence.applies` leaves unit-resolution spectra to the embedding.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoTokenizer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "training_scripts"))

from data import MoleculePool, SpectrumDataset, SpectrumTable, load_spectra_table  # noqa: E402
from molecules import CandidateLists, MoleculeIndex, encode  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402

from msformers import AutoModelForMoleculeRetrieval, resolve_checkpoint  # noqa: E402
from msformers.inference.encode import embed_spectra  # noqa: E402
from msformers.inference.inputs import as_spectrum  # noqa: E402
from msformers.inference.retrieval.evidence import FragmentEvidence  # noqa: E402
from msformers.metrics.retrieval import mrr, recall_at_k  # noqa: E402


def compare(name: str, table: SpectrumTable, pool: MoleculePool, folder: str) -> list[dict[str, object]]:
    """Figures of one group of spectra on lists of isomers and nearest masses, by weight of the evidence."""
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    evidence = FragmentEvidence.load(folder, extractor)
    if evidence is None:
        raise SystemExit(f"{folder} has no fragment evidence")
    model = AutoModelForMoleculeRetrieval.from_pretrained(folder, dtype=torch.float32).eval()
    index = MoleculeIndex()
    lists = CandidateLists.build(table, pool, index, "mass", 60, 10)
    embeds = encode(index.smiles, model, AutoTokenizer.from_pretrained(folder)).numpy()
    dataset, names = SpectrumDataset(lists.table), index.smiles
    spectra = [as_spectrum(dataset[place], place) for place in range(len(dataset))]
    queries, _ = embed_spectra(spectra, model, extractor)
    alone, more = [], []
    for query, spectrum, rows in zip(queries, spectra, lists.rows, strict=True):
        alone.append(embeds[rows] @ query / np.linalg.norm(embeds[rows], axis=1).clip(1e-9))
        more.append(evidence.scores(spectrum, [names[row] for row in rows])[0])
    positives = [[True] + [False] * (len(rows) - 1) for rows in lists.rows]
    found = []
    for share in (0.0, 0.25, 0.5, 1.0):  # of the weight that ships
        scores = [a + share * b for a, b in zip(alone, more, strict=True)]
        recall = {f"recall_at_{k}": round(recall_at_k(scores, positives, k), 4) for k in (1, 5, 20)}
        row = {"instruments": name, "spectra": len(scores), "share_of_evidence": share, **recall}
        found.append(row | {"mrr": round(mrr(scores, positives), 4)})
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="specbridge-small")
    parser.add_argument("--spectra", type=int, default=400, help="of each group at most")
    args = parser.parse_args(argv)
    table = load_spectra_table(args.data, ["val"], "all")
    accurate = np.array(["FT" in name or "TOF" in name for name in table.rows["instrument_type"]])
    pool, rng = MoleculePool.load(args.data), np.random.default_rng(0)
    rows = []
    for name, mask in (("unit", ~accurate), ("accurate", accurate)):
        chosen = np.sort(rng.permutation(np.flatnonzero(mask))[: args.spectra]).tolist()
        rows += compare(name, table.select(chosen), pool, resolve_checkpoint(args.model))
    write_figures(ROOT / "benchmarks" / "results" / "evidence_by_resolution", rows)


if __name__ == "__main__":
    main()
