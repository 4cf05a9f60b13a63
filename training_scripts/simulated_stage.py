"""Batches for spectra to molecules: of molecules with simulated conditions, and of spectra with real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import SpectrumDataset, SpectrumTable, at_most_per_molecule
from molecule_text import MoleculeTable
from pretrain_selfies_gpt2 import TextCollator
from rdkit import Chem
from rdkit.Chem.Descriptors import ExactMolWt
from simulated import FingerprintNoise, Library, morgan_bits
from stages import load_fold
from torch import Tensor

from msformers.tokenization.conditions import spectrum_conditions
from msformers.tokenization.selfies import SelfiesError, encode_ids, encode_selfies

EXTRA = ("collision_energy_ev", "ion_mode", "charge")
NOISE_SPECTRA = 3
"""Validation spectra per molecule from which the encoder's errors are learned."""


@dataclass
class Sources:
    """What all batches draw from.

    Attributes:
        train, validation: spectra; of the validation one per molecule.
        noise: errors of the encoder on validation spectra, None if it predicts no fingerprint.
        library: molecules of the training spectra, None if the model is told none.
        ids: token ids by SMILES. means: SELFIES-BERT mean vector (c,) by SMILES.
        size: bits of the fingerprint. extractor, model: of the composite.
    """

    train: SpectrumTable
    validation: SpectrumTable
    noise: FingerprintNoise | None
    library: Library | None
    ids: dict[str, list[int]]
    means: dict[str, Tensor]
    size: int
    extractor: Any
    model: Any

    @classmethod
    def build(
        cls, path: Path, data: dict[str, Any], seed: int, model: Any, extractor: Any, tokenizer: Any
    ) -> Sources:
        """Read the folds of a recipe's section `data` and encode their molecules."""
        folds = [load_fold(path, data, seed, side, EXTRA) for side in ("train", "eval")]
        ids = molecule_ids([text for fold in folds for text in fold.rows["smiles_2d"]], tokenizer)
        folds = [
            fold.select([i for i, text in enumerate(fold.rows["smiles_2d"]) if text in ids]) for fold in folds
        ]
        train, validation = folds
        train = train.select(at_most_per_molecule(train, data.get("most_per_molecule", 10**9), seed))
        size, noise, library = model.config.fingerprint_size, None, None
        if model.config.encoder_fingerprint:
            unseen = validation.select(at_most_per_molecule(validation, NOISE_SPECTRA, seed))
            predicted = predicted_fingerprints(model, extractor, unseen).numpy()
            noise = FingerprintNoise(predicted, morgan_bits(unseen.rows["smiles_2d"], size))
        if model.config.library:
            known = dict(zip(train.rows["inchikey14"], train.rows["smiles_2d"], strict=True))
            rows = [ids[text] for text in known.values()]
            library = Library.build(list(known.values()), list(known), rows, model.molecule_encoder, size)
        chosen = validation.select(at_most_per_molecule(validation, 1, seed))
        means = mean_vectors(ids, model.molecule_encoder)
        return cls(train, chosen, noise, library, ids, means, size, extractor, model)


def molecule_ids(smiles: Sequence[str], tokenizer: Any) -> dict[str, list[int]]:
    """Token ids of each distinct SMILES that SELFIES can write in tokens the tokenizer knows and in its length."""
    result: dict[str, list[int]] = {}
    vocabulary = tokenizer.get_vocab()
    for text in dict.fromkeys(smiles):
        try:
            row = encode_ids([encode_selfies(text, verify=False)], vocabulary)[0]
        except SelfiesError:
            continue
        if len(row) <= tokenizer.model_max_length and tokenizer.unk_token_id not in row:
            result[text] = row
    return result


@torch.inference_mode()
def mean_vectors(ids: dict[str, list[int]], bert: Any, batch_size: int = 256) -> dict[str, Tensor]:
    """SELFIES-BERT mean vector (c,) of each molecule."""
    order = sorted(ids, key=lambda text: len(ids[text]))
    result: dict[str, Tensor] = {}
    for start in range(0, len(order), batch_size):
        names = order[start : start + batch_size]
        batch = TextCollator()([{"ids": ids[text], "epoch": 0, "index": 0} for text in names])
        vectors = bert(
            batch["input_ids"].to(bert.device), batch["attention_mask"].to(bert.device)
        ).pooler_output
        result |= dict(zip(names, vectors.float().cpu(), strict=True))
    return result


@torch.inference_mode()
def predicted_fingerprints(model: Any, extractor: Any, table: SpectrumTable, batch_size: int = 128) -> Tensor:
    """Probabilities (n, bits) that the composite's encoder gives to spectra."""
    model.eval()
    dataset = SpectrumDataset(table)
    order = sorted(range(len(dataset)), key=lambda index: len(table.peaks[index][0]))
    result = torch.empty(len(dataset), model.config.fingerprint_size)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = extractor([dataset[index] for index in rows], return_tensors="pt")
        inputs = {key: value.to(model.device) for key, value in batch.items()}
        result[rows] = model.encode_spectra(**inputs)[1].float().cpu()
    return result


class MoleculeCollator:
    """Molecules as if measured: simulated fingerprint, exact mass, the best library match.

    The model must take all three.

    Args:
        sources: give noise and library.
        table: SMILES and keys of the molecules.
        seed: of what is drawn, with (epoch, index) of each example.
        data: `library_share` of examples that are told a match, `clean_share` that get true bits.
    """

    def __init__(self, sources: Sources, table: MoleculeTable, seed: int, data: dict[str, Any]) -> None:
        if sources.noise is None or sources.library is None:
            raise ValueError(
                "stage 'molecules' simulates fingerprints and library matches: set encoder_fingerprint and library in "
                "model.config, or train with data.stage=spectra"
            )
        self.noise, self.library, self.size = sources.noise, sources.library, sources.size
        self.table, self.seed, self.text = table, seed, TextCollator()
        self.library_share = data.get("library_share", 0.5)
        self.clean_share = data.get("clean_share", 0.1)

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Inputs of `SpectrumToMoleculeModel.forward` without spectra."""
        rows = [item["row"] for item in features]
        smiles = [self.table.smiles[row] for row in rows]
        bits = morgan_bits(smiles, self.size)
        drawn = [np.random.default_rng([self.seed, 8, item["epoch"], item["index"]]) for item in features]
        simulated = np.stack(
            [
                bit.astype(np.float32) if rng.random() < self.clean_share else self.noise(bit, rng)
                for bit, rng in zip(bits, drawn, strict=True)
            ]
        )
        fingerprint = torch.from_numpy(simulated)
        match = self.library.nearest(fingerprint, [self.table.inchikey14[row] for row in rows])
        told = [bool(rng.random() < self.library_share) for rng in drawn]
        masses = [ExactMolWt(Chem.MolFromSmiles(text)) for text in smiles]
        return {
            "labels": self.text(features)["labels"],
            "fingerprint": fingerprint,
            "neutral_mass": torch.tensor(masses, dtype=torch.float64),
            **self.library.conditions(*match, told),
        }


class SpectrumCollator:
    """Spectra with what their records, the encoder and the library say of them.

    Args:
        sources: as above.
        table: the spectra.
        seed: of what is drawn.
        data: `library_share`; `simulated_share` of examples whose fingerprint is simulated from the truth, because an
            encoder errs less on spectra it was trained on.
        with_spectrum: give the spectra themselves too, and the vectors to align them to.
    """

    def __init__(
        self, sources: Sources, table: SpectrumTable, seed: int, data: dict[str, Any], with_spectrum: bool
    ) -> None:
        self.sources, self.table, self.seed, self.with_spectrum = sources, table, seed, with_spectrum
        self.dataset, self.text = SpectrumDataset(table), TextCollator()
        self.library_share = data.get("library_share", 0.5)
        self.simulated_share = data.get("simulated_share", 0.0)
        self.fingerprints: Tensor | None = None
        if sources.model.config.encoder_fingerprint and self.simulated_share < 1.0:
            self.fingerprints = predicted_fingerprints(sources.model, sources.extractor, table)

    def items(self) -> list[dict[str, Any]]:
        """All spectra, shortest molecules first."""
        rows = sorted(range(len(self.table)), key=lambda row: len(self._ids(row)))
        return [self.dataset[row] for row in rows]

    def _ids(self, row: int) -> list[int]:
        return self.sources.ids[self.table.rows["smiles_2d"][row]]

    def _predictions(self, rows: Sequence[int], drawn: Sequence[np.random.Generator]) -> dict[str, Tensor]:
        """Fingerprint, and the library match it finds."""
        if self.sources.noise is None:
            return {}
        found = torch.zeros(len(rows), self.sources.size)
        if self.fingerprints is not None:
            found = self.fingerprints[list(rows)]
        for place, (row, rng) in enumerate(zip(rows, drawn, strict=True)):
            if rng.random() < self.simulated_share:
                bits = morgan_bits([self.table.rows["smiles_2d"][row]], self.sources.size)[0]
                found[place] = torch.from_numpy(self.sources.noise(bits, rng))
        if self.sources.library is None:
            return {"fingerprint": found}
        match = self.sources.library.nearest(found, [self.table.rows["inchikey14"][row] for row in rows])
        told = [bool(rng.random() < self.library_share) for rng in drawn]
        return {"fingerprint": found, **self.sources.library.conditions(*match, told)}

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Inputs of `SpectrumToMoleculeModel.forward`."""
        rows, columns = [item["index"] for item in features], self.table.rows
        drawn = [np.random.default_rng([self.seed, 9, item["epoch"], item["index"]]) for item in features]
        records = [
            {
                "precursor_mz": float(self.table.precursor_mz[row]),
                "collision_energy": columns["collision_energy_ev"][row],
                **{name: columns[name][row] for name in ("adduct", "ion_mode", "charge")},
            }
            for row in rows
        ]
        molecules = [{"ids": self._ids(row), "epoch": 0, "index": 0} for row in rows]
        config = self.sources.model.config
        conditions = spectrum_conditions(records, config.adducts)
        batch = {
            "labels": self.text(molecules)["labels"],
            **{name: values for name, values in conditions.items() if name in config.told},
            **self._predictions(rows, drawn),
        }
        if self.with_spectrum:
            batch |= dict(self.sources.extractor(list(features), return_tensors="pt"))
            means = [self.sources.means[columns["smiles_2d"][row]] for row in rows]
            batch["molecule_embeds"] = torch.stack(means)
        return batch
