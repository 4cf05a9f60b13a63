"""Molecule retrieval on the test fold: our checkpoints beside two peers and four controls, in one run.

    python benchmarks/retrieval.py --data ../shared/data --models specbridge-small nexamass-small

Two protocols. "mass": `candidates_256`, candidates within 10 ppm of the neutral mass first, the score decides within.
"isomers": `candidates_formula`, lists of at least 10. Most recorded precursors are computed from the formula, so the mass
alone is a strong clue: "random" and "exact mass" stand beside every figure. Peers are trained here, on the whole train
fold, with the same augmentation as our models; ours are the shipped checkpoints (open licences only).
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
import pyarrow.parquet as pq
import torch
from rdkit.Chem import MolFromSmiles
from rdkit.Chem.Descriptors import ExactMolWt
from tqdm import tqdm
from transformers import AutoFeatureExtractor, AutoTokenizer

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "training_scripts"), str(ROOT / "benchmarks")]

from analysis import draw, mces_of_sample  # noqa: E402
from data import Augmentation, SpectrumDataset, SpectrumTable, load_spectra_table  # noqa: E402
from molecules import MoleculeIndex, encode  # noqa: E402
from peers import PEERS, embed_peer, train_peer  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402

from msformers import AutoModelForMoleculeRetrieval, resolve_checkpoint  # noqa: E402
from msformers.inference.retrieval.evidence import FragmentEvidence  # noqa: E402
from msformers.metrics.retrieval import bootstrap_interval, hits_at_k, mrr  # noqa: E402
from msformers.modeling.morgan import MorganConfig, MorganModel  # noqa: E402
from msformers.tokenization.morgan import MorganTokenizer  # noqa: E402

logger = logging.getLogger("msformers.benchmark")
PPM = 10.0
CONTROLS = ("random", "mass gate alone", "exact mass", "SMILES style")
Floats = npt.NDArray[np.float32]
AUGMENTATION = Augmentation(
    peak_dropout=0.3, peak_ppm=2, precursor_ppm=4, calibration_ppm=1.5, intensity_sd=0.2
)


@dataclass
class Lists:
    """One protocol.

    Attributes:
        rows: per spectrum its candidates, rows of the molecule matrix. truth: place of the true one.
        inside: per spectrum, which candidates pass the mass gate. error: how far each is from the true mass, in ppm.
        spectra: places of the spectra in the test table.
    """

    rows: list[npt.NDArray[np.int64]]
    truth: list[int]
    inside: list[npt.NDArray[np.bool_]]
    error: list[npt.NDArray[np.float64]]
    spectra: list[int]


def build_lists(table: SpectrumTable, data: Path, index: MoleculeIndex) -> dict[str, Lists]:
    """Both protocols for the spectra whose molecule has candidate lists."""
    by_key = {row["inchikey14"]: row for row in pq.read_table(data / "candidates_test.parquet").to_pylist()}
    protocols = {name: Lists([], [], [], [], []) for name in ("mass", "isomers")}
    ready: dict[tuple[str, str], tuple[Any, int, Any, Any]] = {}
    for place, key in enumerate(tqdm(table.rows["inchikey14"], desc="candidate lists", unit="spectrum")):
        entry = by_key.get(key)
        for name, column in (("mass", "candidates_256"), ("isomers", "candidates_formula")):
            if entry is None or (name == "isomers" and len(entry[column]) < 10):
                continue
            if (name, key) not in ready:
                smiles = entry[column]
                masses = [ExactMolWt(MolFromSmiles(text)) for text in smiles if name == "mass"]
                error = 1e6 * np.abs(
                    np.array(masses or [entry["exact_mass"]] * len(smiles)) / entry["exact_mass"] - 1
                )
                rows = np.array([index.row(text) for text in smiles])
                ready[name, key] = rows, smiles.index(entry["smiles_2d"]), error <= PPM, np.round(error, 3)
            lists, (rows, truth, inside, error) = protocols[name], ready[name, key]
            lists.rows.append(rows)
            lists.truth.append(truth)
            lists.inside.append(inside)
            lists.error.append(error)
            lists.spectra.append(place)
    return protocols


def gated(scores: Floats, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Scores that put every candidate outside the gate behind those inside; outside, all are equal."""
    return np.where(inside, scores.astype(np.float64), -1e9)


def figures(
    contender: str, protocol: str, lists: Lists, scores: Sequence[Any], table: SpectrumTable
) -> list[dict[str, Any]]:
    """One row per group of instruments: all, accurate mass (FT, TOF), unit resolution."""
    instruments = np.array([str(table.rows["instrument_type"][place]) for place in lists.spectra])
    accurate = np.array(["FT" in name or "TOF" in name for name in instruments])
    keys = np.array([table.rows["inchikey14"][place] for place in lists.spectra])
    positives = [np.arange(len(s)) == truth for s, truth in zip(scores, lists.truth, strict=True)]
    rows = []
    for group, mask in (("all", accurate | True), ("accurate", accurate), ("unit", ~accurate)):
        chosen = np.flatnonzero(mask)
        part = [scores[place] for place in chosen], [positives[place] for place in chosen]
        hits = {k: hits_at_k(*part, k) for k in (1, 5, 20)}
        interval = bootstrap_interval(hits[1], confidence=0.95, resamples=2000, groups=list(keys[chosen]))
        row: dict[str, Any] = {"contender": contender, "protocol": protocol, "instruments": group}
        row |= {"spectra": len(chosen), "molecules": len(set(keys[chosen]))}
        row |= {f"recall_at_{k}": round(float(hit.mean()), 4) for k, hit in hits.items()}
        rows.append(
            row
            | {
                "mrr": round(mrr(*part), 4),
                "r1_low": round(interval.low, 4),
                "r1_high": round(interval.high, 4),
            }
        )
    return rows


def cosine_scores(queries: Floats, embeds: Floats, lists: Lists) -> list[npt.NDArray[np.float64]]:
    """Gated cosine of each spectrum with its candidates."""
    scores = []
    for place, rows, inside in zip(lists.spectra, lists.rows, lists.inside, strict=True):
        candidates = embeds[rows]
        norms = np.maximum(np.linalg.norm(candidates, axis=1), 1e-9) * max(
            np.linalg.norm(queries[place]), 1e-9
        )
        scores.append(gated(candidates @ queries[place] / norms, inside))
    return scores


def add_evidence(
    scores: list[npt.NDArray[np.float64]],
    lists: Lists,
    queries: Floats,
    dataset: SpectrumDataset,
    evidence: FragmentEvidence,
    smiles: list[str],
) -> list[npt.NDArray[np.float64]]:
    """Scores plus fragment evidence for every candidate inside the gate, as `msformers annotate` adds it."""
    found = []
    for number, place in enumerate(tqdm(lists.spectra, desc="fragment evidence", unit="spectrum")):
        inside = np.flatnonzero(lists.inside[number])
        total = scores[number].copy()
        if evidence.applies(dataset[place]):
            more, _ = evidence.scores(dataset[place], [smiles[row] for row in lists.rows[number][inside]])
            total[inside] += more / max(float(np.linalg.norm(queries[place])), 1e-6)
        found.append(total)
    return found


def control_scores(name: str, lists: Lists, index: MoleculeIndex) -> list[npt.NDArray[np.float64]]:
    """Scores of a contender that never sees the fragments."""
    scores = []
    names = index.smiles
    for rows, inside, error in zip(lists.rows, lists.inside, lists.error, strict=True):
        if name == "random":
            scores.append(np.zeros(len(rows)))
        elif name == "mass gate alone":
            scores.append(gated(np.zeros(len(rows), np.float32), inside))
        elif name == "exact mass":  # the truth's own mass: what a calculated precursor gives away
            scores.append(-error)
        else:  # how the string is written: its length and share of aromatic letters
            smiles = [names[row] for row in rows]
            style = [len(text) + sum(letter.islower() for letter in text) / len(text) for text in smiles]
            scores.append(gated(np.array(style, np.float32), inside))
    return scores


@torch.inference_mode()
def embed_ours(model: Any, extractor: Any, dataset: SpectrumDataset, batch_size: int = 256) -> Floats:
    """Spectra in the molecular space, (n, D)."""
    parts = []
    for start in range(0, len(dataset), batch_size):
        rows = [dataset[place] for place in range(start, min(start + batch_size, len(dataset)))]
        parts.append(model.get_spectrum_features(**extractor(rows)).float().numpy())
    return np.concatenate(parts)


@dataclass
class Ours:
    """One of our models: its queries (n, D), the vectors of the molecules by row, and its fragment evidence, if any."""

    queries: Floats
    embeds: Floats
    evidence: FragmentEvidence | None


def embed_model(name: str, dataset: SpectrumDataset, index: MoleculeIndex) -> Ours:
    """Queries and molecules of a checkpoint."""
    folder = resolve_checkpoint(name)
    model = AutoModelForMoleculeRetrieval.from_pretrained(folder, dtype=torch.float32).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    embeds = encode(index.smiles, model, AutoTokenizer.from_pretrained(folder))
    queries = embed_ours(model, extractor, dataset)
    return Ours(queries, embeds.numpy(), FragmentEvidence.load(folder, extractor))


def train_peers(args: argparse.Namespace, dataset: SpectrumDataset) -> dict[str, Floats]:
    """Queries of every peer by name; they predict Morgan bits, trained on the whole train fold."""
    train, index = load_spectra_table(args.data, ["train"], "all"), MoleculeIndex()
    truth = [index.row(smiles) for smiles in train.rows["smiles_2d"]]
    bits = morgan_bits(index.smiles)
    rows = [dataset[place] for place in range(len(dataset))]
    queries = {}
    for peer in args.peers:
        trained = train_peer(peer, SpectrumDataset(train, AUGMENTATION), bits, truth, args.epochs)
        queries[peer] = embed_peer(trained, rows)
    return queries


def morgan_bits(smiles: Sequence[str]) -> torch.Tensor:
    """Morgan fingerprints, radius 2, 2,048 bits, float32 (n, 2048)."""
    tokenizer = MorganTokenizer()
    with torch.no_grad():
        model = MorganModel(MorganConfig())
        starts = range(0, len(smiles), 1024)
        batches = (tokenizer(list(smiles[i : i + 1024]), padding=True, return_tensors="pt") for i in starts)
        return torch.cat([model(b["input_ids"], b["attention_mask"]).pooler_output for b in batches])


def evaluate(
    args: argparse.Namespace, table: SpectrumTable, index: MoleculeIndex, protocols: dict[str, Lists]
) -> list[dict[str, Any]]:
    """All rows of the table; the plots are drawn on the way, for the first model."""
    dataset = SpectrumDataset(table)
    ours = {Path(name).name: embed_model(name, dataset, index) for name in args.models}
    first = next(iter(ours))
    bits = ours[first].embeds
    peers = train_peers(args, dataset)
    mean = ours[first].queries.mean(0, keepdims=True)
    peers["no spectrum (mean query)"] = np.repeat(mean, len(dataset), axis=0)
    rows: list[dict[str, Any]] = []
    for protocol, lists in protocols.items():
        answers = {name: control_scores(name, lists, index) for name in CONTROLS}
        answers |= {name: cosine_scores(query, bits, lists) for name, query in peers.items()}
        for name, own in ours.items():
            answers[name] = alone = cosine_scores(own.queries, own.embeds, lists)
            if own.evidence is not None:
                answers[f"{name} (embedding alone)"] = alone
                answers[name] = add_evidence(alone, lists, own.queries, dataset, own.evidence, index.smiles)
        for name, scores in answers.items():
            found = figures(name, protocol, lists, scores, table)
            count = args.mces if protocol == "isomers" and name not in CONTROLS else 0
            found[0]["mces_at_1"] = mces_of_sample(scores, lists.rows, lists.truth, index.smiles, count)
            rows += [{"mces_at_1": float("nan")} | row for row in found]
        if protocol == "isomers":
            known = sorted(set(load_spectra_table(args.data, ["train"], "all").rows["smiles_2d"]))
            draw(answers[first], lists.rows, lists.truth, index.smiles, known, args.plots)
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--models", nargs="+", default=["specbridge-small", "nexamass-small"])
    add("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    add("--epochs", type=int, default=8, help="of the peers")
    add("--mces", type=int, default=60, help="spectra for MCES@1 among isomers; each may take seconds")
    add("--limit", type=int, help="a sample of the test spectra, to see that it runs")
    add("--plots", type=Path, default=ROOT / "benchmarks" / "results" / "plots")
    add("--output", type=Path, default=ROOT / "benchmarks" / "results" / "retrieval")
    args = parser.parse_args(argv)
    table = load_spectra_table(args.data, ["test"], "all", limit=args.limit)
    index = MoleculeIndex()
    rows = evaluate(args, table, index, build_lists(table, args.data, index))
    write_figures(args.output, rows)
    for row in rows:
        if row["instruments"] == "all":
            logger.info("%s", row)


if __name__ == "__main__":
    main()
