"""Parts of the SpecBridge training run: batches, unfreezing, Procrustes, wrong candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from data import MoleculePool, SpectrumDataset, SpectrumTable, wrong_candidates
from molecules import MoleculeIndex
from torch import Tensor
from transformers import TrainerCallback

from msformers.modeling.specbridge import SpecBridgeModel

MOLECULE_KEYS = frozenset({"target_embeds", "molecule_ids", "negative_embeds", "negative_mask"})


class BridgeCollator:
    """Rows of `SpectrumDataset` to inputs of `SpecBridgeModel`, molecules already encoded.

    Args:
        extractor: prepares the spectra.
        embeds: (n, width) encoded molecules.
        truth: row of each spectrum's molecule.
        wrong: rows of each spectrum's wrong candidates, for "hard_negative"; None for the other objectives.
        count: wrong candidates drawn per spectrum and step, from (seed, epoch, index) alone.
    """

    def __init__(
        self,
        extractor: Any,
        embeds: Tensor,
        truth: list[int],
        wrong: list[list[int]] | None,
        count: int,
        seed: int,
    ) -> None:
        self.extractor, self.embeds, self.truth = extractor, embeds, torch.tensor(truth)
        self.wrong, self.count, self.seed = wrong, count, seed

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Tensors of one batch."""
        batch = dict(self.extractor(list(features), return_tensors="pt"))
        molecules = self.truth[[item["index"] for item in features]]
        batch |= {"molecule_ids": molecules, "target_embeds": self.embeds[molecules]}
        if self.wrong is not None:
            drawn = torch.zeros(len(features), self.count, dtype=torch.long)
            mask = torch.zeros(len(features), self.count, dtype=torch.long)
            for place, item in enumerate(features):
                rng = np.random.default_rng([self.seed, 1, item["epoch"], item["index"]])
                choices = rng.permutation(self.wrong[item["index"]])[: self.count]
                drawn[place, : len(choices)] = torch.from_numpy(choices.astype(np.int64))
                mask[place, : len(choices)] = 1
            batch |= {"negative_embeds": self.embeds[drawn], "negative_mask": mask}
        return batch


class UnfreezeCallback(TrainerCallback):
    """Keeps the spectrum encoder's trainable blocks still until a step."""

    def __init__(self, model: SpecBridgeModel, step: int) -> None:
        encoder = model.spectrum_encoder
        self.parameters, self.step = [p for p in encoder.parameters() if p.requires_grad], step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Freeze before the step, release from it on."""
        for parameter in self.parameters:
            parameter.requires_grad_(state.global_step >= self.step)


def fit_procrustes(
    model: SpecBridgeModel, dataset: SpectrumDataset, collator: BridgeCollator, count: int
) -> None:
    """Start W from the orthogonal map that best fits `count` training spectra."""
    chosen = np.random.default_rng(collator.seed).permutation(len(dataset))[:count].tolist()
    spectra, molecules = [], []
    model.eval()
    for start in range(0, len(chosen), 128):
        batch = collator([dataset[index] for index in chosen[start : start + 128]])
        with torch.inference_mode():
            spectra.append(model.encode_spectra(**{key: batch[key] for key in batch.keys() - MOLECULE_KEYS}))
            molecules.append(model.project_molecules(batch["target_embeds"]))
    model.mapper.fit_procrustes(torch.cat(spectra).clone(), torch.cat(molecules).clone())


def wrong_rows(
    table: SpectrumTable, pool: MoleculePool, index: MoleculeIndex, data: dict[str, Any]
) -> list[list[int]]:
    """Rows of the wrong candidates of every training spectrum, at most `negative_pool` each."""
    lists: dict[str, list[int]] = {}
    kind, count = data.get("negative_kind", "formula"), data.get("negative_pool", 64)
    columns = (table.rows[name] for name in ("inchikey14", "smiles_2d", "formula", "exact_mass"))
    for key, smiles, formula, mass in zip(*columns, strict=True):
        if key not in lists:
            found = wrong_candidates(pool, formula, mass, key, kind, count)
            rows = dict.fromkeys(index.row(pool.smiles[place]) for place in found)
            lists[key] = [row for row in rows if row != index.row(smiles)]
    return [lists[key] for key in table.rows["inchikey14"]]
