"""Fit the fragment evidence of a checkpoint: bond costs, compositions, hydrogen shifts, the network, the mix.

python training_scripts/fit_evidence.py --data ../shared/data --model runs/specbridge-small/model

Bond costs and log-odds come from which fragments of the training molecules are seen in their spectra (logistic
regression; open licences, accurate mass). The network learns from training lists of the truth and wrong candidates, the
weight beside the embedding is chosen on the validation fold.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import (
    OPEN_LICENCES,
    MoleculePool,
    SpectrumDataset,
    SpectrumTable,
    at_most_per_molecule,
    load_spectra_table,
    wrong_candidates,
)
from molecules import CandidateLists, MoleculeIndex, encode
from rdkit import Chem
from recipe import start_logging, write_figures
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from transformers import AutoFeatureExtractor, AutoTokenizer

from msformers.inference.encode import embed_spectra
from msformers.inference.inputs import as_spectrum
from msformers.inference.retrieval.evidence import (
    MOST_CUTS,
    MOST_SHIFT,
    N_MATCH,
    N_PEAK,
    N_WHOLE,
    EvidenceTables,
    FragmentEvidence,
    PeakFormulas,
)
from msformers.metrics.retrieval import mrr, recall_at_k
from msformers.modeling.auto import AutoModelForMoleculeRetrieval
from msformers.spectra.fragmentation import N_BOND_CLASSES, fragment
from msformers.tokenization.spectrum import as_peak_list

logger = logging.getLogger("msformers.training")
BASE_COST = 0.8  # keeps costs positive: a cut more is never better than a cut less
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass
class Training:
    """Accurate-mass training spectra as looked-up peaks; `molecule` is the place of each one's SMILES in `smiles`."""

    peaks: list[PeakFormulas]
    molecule: list[int]
    smiles: list[str]
    formula: list[str]
    exact_mass: list[float]
    inchikey14: list[str]


def read_training(data: Path, evidence: FragmentEvidence, most: int) -> Training:
    """At most `most` spectra of each training molecule."""
    table = load_spectra_table(data, ["train"], OPEN_LICENCES)
    accurate = [i for i, name in enumerate(table.rows["instrument_type"]) if "FT" in name or "TOF" in name]
    table = table.select(accurate)
    table = table.select(at_most_per_molecule(table, most, 0))
    dataset = SpectrumDataset(table)
    keys: dict[str, int] = {}
    first: list[int] = []
    molecule, peaks = [], []
    for place, key in enumerate(tqdm(table.rows["inchikey14"], desc="looking up peaks", unit="spectrum")):
        if key not in keys:
            keys[key] = len(keys)
            first.append(place)
        molecule.append(keys[key])
        peaks.append(evidence.peak_formulas(as_peak_list(dataset[place])))
    columns = {
        name: [table.rows[name][place] for place in first] for name in ("smiles_2d", "formula", "exact_mass")
    }
    return Training(
        peaks, molecule, columns["smiles_2d"], columns["formula"], columns["exact_mass"], list(keys)
    )


def fit_costs(training: Training, evidence: FragmentEvidence) -> EvidenceTables:
    """One round: which fragments are seen, by their bonds, cuts and composition; then how hydrogens move."""
    rows, bonds, cuts, hydrogens, bounds = _all_fragments(training.smiles, evidence)
    seen = np.zeros((2, len(rows)))
    asked = np.zeros((2, len(rows)))
    shifts = np.ones((2, MOST_CUTS + 1, 2 * MOST_SHIFT + 1))
    for peaks, molecule in zip(training.peaks, training.molecule, strict=True):
        start, stop = bounds[molecule], bounds[molecule + 1]
        own = rows[start:stop]
        place = np.minimum(np.searchsorted(own, peaks.rows), max(len(own) - 1, 0))
        hit = own[place] == peaks.rows if len(own) else np.zeros(len(place), bool)
        asked[peaks.polarity, start:stop] += 1
        seen[peaks.polarity, start + np.unique(place[hit])] += 1
        moved = peaks.hydrogens[hit] - hydrogens[start + place[hit]]
        near = np.abs(moved) <= MOST_SHIFT
        np.add.at(shifts, (peaks.polarity, cuts[start + place[hit]][near], moved[near] + MOST_SHIFT), 1)
    theta, bias, composition = _regress(rows, bonds, cuts, seen, asked, len(evidence.extractor.fragments))
    cost = np.clip(theta + BASE_COST, 0.05, 6.0)
    free = bias + BASE_COST * np.arange(
        MOST_CUTS + 1
    )  # what the base adds to the costs is taken back by cuts
    return replace(
        evidence.tables,
        bond_cost=cost,
        cut_bias=free,
        composition=composition,
        hydrogen_shift=np.log(shifts / shifts.sum(-1, keepdims=True)),
    )


def _all_fragments(smiles: Sequence[str], evidence: FragmentEvidence) -> tuple[Any, ...]:
    """The cheapest fragment of each composition of each molecule: rows ascending, bonds, cuts, hydrogens, bounds."""
    parts: list[tuple[Any, ...]] = []
    for text in tqdm(smiles, desc="fragmenting", unit="molecule"):
        found = fragment(Chem.MolFromSmiles(text), evidence.tables.bond_cost)
        known, rows = evidence.in_vocabulary(found)
        order = np.lexsort((found.cost[known], rows))
        order = order[np.append(True, np.diff(rows[order]) != 0)[: len(order)]]
        known = known[order]
        parts.append((rows[order], found.bonds[known], found.cuts[known], found.hydrogens[known]))
    bounds = np.append(0, np.cumsum([len(part[0]) for part in parts]))
    return (*(np.concatenate(column) for column in zip(*parts, strict=True)), bounds)


def _regress(rows: Any, bonds: Any, cuts: Any, seen: Any, asked: Any, size: int) -> tuple[Any, Any, Any]:
    """Logistic regression of the share of spectra in which a fragment is seen; (bond costs, cut bias, compositions)."""
    torch.manual_seed(0)
    polarity, place = np.nonzero(asked)
    share = torch.tensor(seen[polarity, place] / asked[polarity, place], dtype=torch.float32).clamp(max=1)
    mode, bond, row, cut = (torch.tensor(a) for a in (polarity, bonds[place], rows[place], cuts[place]))
    theta = torch.zeros(N_BOND_CLASSES + 1, requires_grad=True)  # the last is no bond
    bias = torch.zeros(2, MOST_CUTS + 1, requires_grad=True)
    composition = torch.zeros(2, size, requires_grad=True)
    optimizer = torch.optim.Adam([theta, bias, composition], 0.05)
    for _ in range(4):
        for chosen in torch.randperm(len(share)).split(20_000):
            cost = (theta[bond[chosen]] * (bond[chosen] >= 0)).sum(1)
            own = composition[mode[chosen], row[chosen]]
            logits = bias[mode[chosen], cut[chosen]] - cost + own
            penalty = 1e-6 * (theta**2).sum() + 3e-6 * (own**2).sum()
            loss = F.binary_cross_entropy_with_logits(logits, share[chosen]) + penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    logger.info("chance of fragments: cross-entropy %.4f over %d fragments", loss.item(), len(share))
    return theta.detach().numpy()[:-1], bias.detach().numpy(), composition.detach().numpy()


class Scorer(nn.Module):
    """The network of `FragmentEvidence`, trainable; its parameters are named as the fields of `EvidenceTables`."""

    def __init__(self, hidden: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        sizes = [(N_MATCH + N_PEAK, hidden), (hidden, hidden), (hidden, 2)]
        self.peak = nn.ModuleList(nn.Linear(*size) for size in sizes)
        self.whole_1, self.whole_2 = nn.Linear(N_WHOLE, hidden), nn.Linear(hidden, 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, matches: Tensor, context: Tensor, wholes: Tensor) -> Tensor:
        """(n,) scores of (n, p, 10) matches, (p, 3) peaks and (n, 14) summaries."""
        hidden = torch.cat([matches, context.expand(len(matches), -1, -1)], -1)
        hidden = self.dropout(F.relu(self.peak[0](hidden)))
        each = self.peak[2](F.relu(self.peak[1](hidden)))
        by_peak = each[..., 0] @ context[:, 0] + each[..., 1].sum(1) / 4
        return by_peak + self.whole_2(F.relu(self.whole_1(wholes)))[:, 0]

    def tables(self) -> dict[str, Any]:
        """Weights as arrays."""
        arrays = {"whole_1": self.whole_1.weight, "whole_1_bias": self.whole_1.bias}
        arrays["whole_2"] = self.whole_2.weight[0]
        for number, layer in enumerate(self.peak, start=1):
            arrays |= {f"peak_{number}": layer.weight, f"peak_{number}_bias": layer.bias}
        return {name: tensor.detach().double().numpy() for name, tensor in arrays.items()}


def fit_network(training: Training, evidence: FragmentEvidence, pool: MoleculePool, molecules: int) -> Scorer:
    """Train on lists of the truth and twenty wrong candidates, by softmax over each list."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    lists = _training_lists(training, evidence, pool, molecules, rng)
    model, epochs, size = Scorer(), 8, 16
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01)
    steps = epochs * -(-len(lists) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(lists)).split(size):
            losses = [-torch.log_softmax(model(*lists[place]), 0)[0] for place in chosen.tolist()]
            loss = torch.stack(losses).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        logger.info("epoch %d: conditional log-loss %.4f on %d lists", epoch, total / len(lists), len(lists))
    return model.eval()


def _training_lists(
    training: Training,
    evidence: FragmentEvidence,
    pool: MoleculePool,
    molecules: int,
    rng: np.random.Generator,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    by_molecule: dict[int, list[int]] = {}
    for place, molecule in enumerate(training.molecule):
        by_molecule.setdefault(molecule, []).append(place)
    lists = []
    for molecule in tqdm(
        rng.permutation(len(training.smiles))[:molecules].tolist(), desc="lists", unit="molecule"
    ):
        about = training.formula[molecule], training.exact_mass[molecule], training.inchikey14[molecule]
        wrong = wrong_candidates(pool, *about, "mass", 20)
        smiles = [training.smiles[molecule], *(pool.smiles[place] for place in wrong)]
        for place in rng.permutation(by_molecule[molecule])[:3]:
            peaks = training.peaks[place]
            matches, wholes = evidence.features(peaks, smiles)
            lists.append(
                tuple(torch.tensor(a, dtype=torch.float32) for a in (matches, peaks.context, wholes))
            )
    return lists


def choose_mix(
    args: argparse.Namespace, evidence: FragmentEvidence, pool: MoleculePool
) -> list[dict[str, float]]:
    """Validation figures by weight of the evidence beside the embedding."""
    model = AutoModelForMoleculeRetrieval.from_pretrained(args.model, dtype=torch.float32).eval()
    table: SpectrumTable = load_spectra_table(args.data, ["val"], "all", limit=args.eval_limit)
    index = MoleculeIndex()
    lists = CandidateLists.build(table, pool, index, "mass", 100, 10)
    embeds = encode(index.smiles, model, AutoTokenizer.from_pretrained(args.model)).numpy()
    dataset = SpectrumDataset(lists.table)
    spectra = [as_spectrum(dataset[place], place) for place in range(len(dataset))]
    queries, _ = embed_spectra(spectra, model, evidence.extractor)
    names = index.smiles
    base, more = [], []
    for place, rows in enumerate(tqdm(lists.rows, desc="validation lists", unit="spectrum")):
        chosen = embeds[rows]
        base.append(chosen @ queries[place] / np.linalg.norm(chosen, axis=1).clip(1e-9))
        more.append(evidence.scores(spectra[place], [names[row] for row in rows])[0])
    positives = [[True] + [False] * (len(rows) - 1) for rows in lists.rows]
    figures = []
    for mix in MIXES:
        scores = [a + mix * b for a, b in zip(base, more, strict=True)]
        recall = {f"recall_at_{k}": recall_at_k(scores, positives, k) for k in (1, 5, 20)}
        figures.append({"mix": mix, **recall, "mrr": mrr(scores, positives)})
        logger.info("%s", figures[-1])
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = argparse.ArgumentParser(description="Fit the fragment evidence of a retrieval checkpoint.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--model", type=Path, required=True, help="checkpoint folder; the evidence is written into it"
    )
    parser.add_argument("--per-molecule", type=int, default=8, help="training spectra per molecule")
    parser.add_argument(
        "--molecules", type=int, default=2500, help="training molecules with lists, for the network"
    )
    parser.add_argument("--eval-limit", type=int, default=900, help="validation spectra, for the mix")
    args = parser.parse_args(argv)
    extractor = AutoFeatureExtractor.from_pretrained(args.model)
    evidence = FragmentEvidence(extractor, EvidenceTables.start(len(extractor.fragments)))
    training = read_training(args.data, evidence, args.per_molecule)
    for _ in range(2):  # the second time along the paths that the costs of the first prefer
        evidence = FragmentEvidence(extractor, fit_costs(training, evidence))
    pool = MoleculePool.load(args.data)
    network = fit_network(training, evidence, pool, args.molecules).tables()
    evidence = FragmentEvidence(extractor, replace(evidence.tables, **network))
    figures = choose_mix(args, evidence, pool)
    best = max(figures, key=lambda row: row["mrr"])
    replace(evidence.tables, mix=np.array([best["mix"]])).save(args.model)
    write_figures(args.model.parent / "evidence", figures)
    logger.info("chosen: %s", best)


if __name__ == "__main__":
    main()
