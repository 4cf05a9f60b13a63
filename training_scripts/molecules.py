"""The molecular side of a training run: canonical SMILES encoded once, candidate lists, validation by retrieval."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from data import MoleculePool, SpectrumDataset, SpectrumTable, wrong_candidates
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from msformers.metrics.retrieval import mrr, recall_at_k
from msformers.spectra.molecules import MoleculeError, canonical_smiles

logger = logging.getLogger("msformers.training")


class MoleculeIndex:
    """Distinct canonical SMILES in the order they were first asked for; a row is an index into the encoded matrix."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self._canonical: dict[str, str] = {}

    def row(self, smiles: str) -> int:
        """Row of a molecule, however its SMILES is written: how it is written must not tell truth from decoy."""
        if smiles not in self._canonical:
            try:
                self._canonical[smiles] = canonical_smiles(smiles, parent=True)
            except MoleculeError as error:
                logger.warning("%s; it is used as written", error)
                self._canonical[smiles] = smiles
        return self.rows.setdefault(self._canonical[smiles], len(self.rows))

    @property
    def smiles(self) -> list[str]:
        """Canonical SMILES by row."""
        return list(self.rows)


@torch.no_grad()
def encode(
    smiles: Sequence[str], model: Any, tokenizer: Any, batch_size: int = 256, cache: Path | None = None
) -> Tensor:
    """Vectors of the frozen molecule encoder, (n, width) float32 on the CPU.

    Args:
        model: a `SpecBridgeModel`, or another that has `encode_molecules`.
        cache: folder for the result, so that a resumed run does not encode again.
    """
    digest = hashlib.sha256("\n".join(smiles).encode())
    encoder = getattr(model, "molecule_encoder", None)
    digest.update(f"{getattr(tokenizer, 'n_bits', 0)} {getattr(tokenizer, 'radius', 0)}".encode())
    for name, tensor in sorted(encoder.state_dict().items()) if encoder is not None else ():
        digest.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
    path = cache / f"molecules-{digest.hexdigest()[:16]}.safetensors" if cache is not None else None
    if path is not None and path.is_file():
        return load_file(path)["embeds"]
    order = sorted(range(len(smiles)), key=lambda index: len(smiles[index]))
    result: Tensor | None = None
    for start in tqdm(range(0, len(order), batch_size), desc="encoding molecules", unit="batch"):
        chosen = order[start : start + batch_size]
        batch = tokenizer([smiles[i] for i in chosen], padding=True, truncation=True, return_tensors="pt")
        inputs = {key: batch[key].to(model.device) for key in ("input_ids", "attention_mask")}
        vectors = model.encode_molecules(**inputs).float().cpu()
        result = torch.empty(len(smiles), vectors.shape[1]) if result is None else result
        result[chosen] = vectors
    if result is None:
        raise ValueError("there are no molecules to encode")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"embeds": result}, path)
    return result


@dataclass
class CandidateLists:
    """One list per spectrum: rows of the molecule matrix, the truth first.

    Attributes:
        table: the spectra that have a list.
        rows: per spectrum, its candidates.
    """

    table: SpectrumTable
    rows: list[list[int]]

    @classmethod
    def build(
        cls,
        table: SpectrumTable,
        pool: MoleculePool,
        index: MoleculeIndex,
        kind: str = "formula",
        count: int = 255,
        minimum: int = 10,
    ) -> CandidateLists:
        """Lists of the truth and at most `count` wrong candidates; spectra with shorter lists than `minimum` are left out."""
        lists: dict[str, list[int]] = {}
        columns = (table.rows[name] for name in ("inchikey14", "smiles_2d", "formula", "exact_mass"))
        for key, smiles, formula, mass in zip(*columns, strict=True):
            if key not in lists:
                wrong = wrong_candidates(pool, formula, mass, key, kind, count)
                truth = index.row(smiles)
                others = dict.fromkeys(index.row(pool.smiles[place]) for place in wrong)
                lists[key] = [truth, *(row for row in others if row != truth)]
        keys = table.rows["inchikey14"]
        kept = [place for place, key in enumerate(keys) if len(lists[key]) >= minimum]
        if not kept:
            raise ValueError(f"no spectrum has {minimum} candidates by {kind}; lower eval_min_candidates")
        return cls(table.select(kept), [lists[keys[place]] for place in kept])


@torch.inference_mode()
def retrieval_figures(
    model: Any, extractor: Any, lists: CandidateLists, embeds: Tensor, batch_size: int = 128
) -> dict[str, float]:
    """Recall@1/5/20 and MRR of a bridge on candidate lists, ties at their expected rank.

    Args:
        model: a `SpecBridgeModel`, left in the mode it was in.
        embeds: (n, width) encoded molecules, before `project_molecules`.
    """
    was_training = model.training
    model.eval()
    dataset = SpectrumDataset(lists.table)
    order = sorted(range(len(dataset)), key=lambda index: len(dataset.table.peaks[index][0]))
    queries: dict[int, Tensor] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = extractor([dataset[index] for index in chosen])
        vectors = model.get_spectrum_features(**{key: value.to(model.device) for key, value in batch.items()})
        queries |= dict(zip(chosen, vectors.float().cpu(), strict=True))
    scores = []
    for place, rows in enumerate(lists.rows):
        molecules = model.project_molecules(embeds[rows].to(model.device))
        scores.append(
            model.similarity(queries[place][None].to(model.device), molecules)[0].float().cpu().numpy()
        )
    model.train(was_training)
    positives = [[True] + [False] * (len(rows) - 1) for rows in lists.rows]
    figures = {f"recall_at_{k}": recall_at_k(scores, positives, k) for k in (1, 5, 20)}
    return figures | {"mrr": mrr(scores, positives), "spectra": float(len(scores))}


def random_figures(lists: CandidateLists) -> dict[str, float]:
    """What a random order of the same lists gives."""
    sizes = torch.tensor([len(rows) for rows in lists.rows], dtype=torch.float64)
    return {f"recall_at_{k}": float((k / sizes).clamp(max=1).mean()) for k in (1, 5, 20)}
