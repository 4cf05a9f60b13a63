"""Pre-train the small RoBERTa on SMILES: masked tokens, and descriptors and fingerprints from [CLS].

python training_scripts/pretrain_smiles.py --recipe small --data ../shared/data --output runs/smiles
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from data import MoleculePool
from recipe import (
    arguments,
    finish,
    load_recipe,
    run,
    start_logging,
    take,
    training_arguments,
)
from safetensors.numpy import load_file, save_file
from torch.utils.data import Dataset
from tqdm import tqdm
from trainer import EpochTrainer
from transformers import PreTrainedTokenizerFast, set_seed

from msformers.modeling.smiles_roberta import SmilesRobertaConfig, SmilesRobertaForPreTraining
from msformers.spectra.molecules import MoleculeError, canonical_smiles
from msformers.tokenization.smiles import BRACKET_ATOMS, build_smiles_tokenizer, frequent_bracket_atoms

STAGE = "pretrain_smiles"
MODEL_KEYS = ("config", "bracket_atoms", "max_length")
DATA_KEYS = ("limit", "eval_size", "mask_fraction", "descriptors", "fingerprint_radius", "canonicalise")
IGNORED = -100
logger = logging.getLogger("msformers.training")


def molecule_targets(
    smiles: Sequence[str], descriptors: Sequence[str], bits: int, radius: int, cache: Path
) -> dict[str, npt.NDArray[Any]]:
    """Descriptors float32 (n, len(descriptors)) and packed Morgan fingerprints uint8 (n, bits / 8), by RDKit.

    Computed once and kept in folder `cache`. A descriptor that is not finite is NaN.

    Raises:
        ValueError: RDKit has no descriptor of that name.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import Descriptors, rdFingerprintGenerator

    known = dict(Descriptors.descList)
    unknown = [name for name in descriptors if name not in known]
    if unknown:
        raise ValueError(f"RDKit has no descriptor {', '.join(unknown)}; see rdkit.Chem.Descriptors.descList")
    key = hashlib.sha256("\n".join([*smiles, *descriptors, f"{bits} {radius}"]).encode()).hexdigest()[:16]
    path = cache / f"targets-{key}.safetensors"
    if path.is_file():
        return load_file(path)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=max(bits, 8))
    values = np.full((len(smiles), len(descriptors)), np.nan, dtype=np.float32)
    packed = np.zeros((len(smiles), max(bits, 8) // 8), dtype=np.uint8)
    with rdBase.BlockLogs():
        for row, text in enumerate(tqdm(smiles, desc="molecule targets", unit="mol")):
            mol = Chem.MolFromSmiles(text)
            values[row] = [known[name](mol) for name in descriptors]
            packed[row] = np.packbits(generator.GetFingerprintAsNumPy(mol))
    values[~np.isfinite(values)] = np.nan
    cache.mkdir(parents=True, exist_ok=True)
    save_file({"descriptors": values, "fingerprints": packed}, path)
    return {"descriptors": values, "fingerprints": packed}


class SmilesDataset(Dataset):
    """Token ids and targets of molecules, with (epoch, index) for stateless masking.

    Args:
        ids: token ids of each molecule, end tokens included.
        targets: of `molecule_targets`, descriptors already standardised.
    """

    def __init__(self, ids: list[list[int]], targets: dict[str, npt.NDArray[Any]]) -> None:
        self.ids, self.targets = ids, targets

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        rows = {name: values[index] for name, values in self.targets.items()}
        return {"ids": self.ids[index], "epoch": epoch, "index": index, **rows}


class MaskingCollator:
    """Masks tokens as BERT does (80 % mask, 10 % random, 10 % as is), from (seed, epoch, index) alone.

    Args:
        tokenizer: gives special ids and vocabulary size.
        fraction: share of the tokens to predict, at least one each.
        bits: fingerprint length, 0 for none. descriptors: whether there are any.
        seed: of the masks.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, fraction: float, bits: int, descriptors: bool, seed: int
    ) -> None:
        self.tokenizer, self.fraction, self.seed = tokenizer, fraction, seed
        self.bits, self.descriptors = bits, descriptors

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Keys of the forward method of `SmilesRobertaForPreTraining`."""
        width = max(len(item["ids"]) for item in features)
        ids = np.full((len(features), width), self.tokenizer.pad_token_id, dtype=np.int64)
        labels = np.full((len(features), width), IGNORED, dtype=np.int64)
        mask = np.zeros((len(features), width), dtype=np.int64)
        for row, item in enumerate(features):
            length = len(item["ids"])
            mask[row, :length] = 1
            ids[row, :length], labels[row, :length] = self.masked(item)
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        if self.descriptors:
            batch["descriptors"] = np.stack([item["descriptors"] for item in features])
        if self.bits:
            packed = np.stack([item["fingerprints"] for item in features])
            batch["fingerprints"] = np.unpackbits(packed, axis=1, count=self.bits).astype(np.float32)
        return {key: torch.from_numpy(values) for key, values in batch.items()}

    def masked(self, item: dict[str, Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Token ids with masks and the labels of one molecule, both int64 (L,)."""
        rng = np.random.default_rng([self.seed, item["epoch"], item["index"]])
        ids = np.asarray(item["ids"], dtype=np.int64)
        labels = np.full_like(ids, IGNORED)
        count = max(1, round(self.fraction * (len(ids) - 2)))
        chosen = 1 + rng.permutation(len(ids) - 2)[:count]
        labels[chosen] = ids[chosen]
        action = rng.random(len(chosen))
        specials = len(self.tokenizer.all_special_ids)
        ids[chosen[action < 0.8]] = self.tokenizer.mask_token_id
        other = chosen[(action >= 0.8) & (action < 0.9)]
        ids[other] = rng.integers(specials, len(self.tokenizer), len(other))
        return ids, labels


def canonical(smiles: Sequence[str]) -> list[str]:
    """Canonical SMILES of every molecule that is one."""
    result = []
    for text in tqdm(smiles, desc="canonical SMILES", unit="mol"):
        try:
            result.append(canonical_smiles(text, parent=True))
        except MoleculeError as error:
            logger.warning("left out: %s", error)
    return result


def build_tokenizer(settings: dict[str, Any], smiles: Sequence[str]) -> PreTrainedTokenizerFast:
    """The tokenizer of a recipe: with its default bracket atoms, or with those frequent in the corpus."""
    corpus = settings.get("bracket_atoms") == "corpus"
    atoms = frequent_bracket_atoms(smiles) if corpus else BRACKET_ATOMS
    return build_smiles_tokenizer(atoms, max_length=settings.get("max_length", 256))


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns the validation losses."""
    start_logging()
    args = arguments(STAGE, "Pre-train a RoBERTa on SMILES.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    model_settings, data = take(recipe.model, MODEL_KEYS, "model"), take(recipe.data, DATA_KEYS, "data")
    set_seed(recipe.seed)
    pool = MoleculePool.load(args.data, data.get("limit"), recipe.seed)
    smiles = canonical(pool.smiles) if data.get("canonicalise", True) else pool.smiles
    tokenizer = build_tokenizer(model_settings, smiles)
    fields = dict(model_settings.get("config", {}))
    bits, names = fields.get("fingerprint_bits", 0), list(data.get("descriptors", []))
    targets = molecule_targets(smiles, names, bits, data.get("fingerprint_radius", 2), args.output / "cache")
    means, scales = _standardise(targets["descriptors"])
    fields |= {"vocab_size": len(tokenizer), "max_position_embeddings": tokenizer.model_max_length + 4}
    fields |= {"descriptor_names": names, "descriptor_means": means, "descriptor_scales": scales}
    model = SmilesRobertaForPreTraining(SmilesRobertaConfig(**fields))
    train, held_out = _datasets(smiles, targets, tokenizer, data.get("eval_size", 2000), recipe.seed)
    collator = MaskingCollator(tokenizer, data.get("mask_fraction", 0.15), bits, bool(names), recipe.seed)
    settings = training_arguments(
        recipe, args.output, eval_strategy="steps", load_best_model_at_end=True, prediction_loss_only=True
    )
    trainer = EpochTrainer(
        model=model,
        args=settings,
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=collator,
        processing_class=tokenizer,
        lengths=[len(ids) for ids in train.ids],
    )
    run(trainer, args.output, args.resume)
    figures = trainer.evaluate()
    finish(recipe, args.output, (trainer.accelerator.unwrap_model(trainer.model), tokenizer), [figures])
    return figures


def _standardise(values: npt.NDArray[np.float32]) -> tuple[list[float], list[float]]:
    """Standardise columns in place; returns their means and standard deviations."""
    if not values.shape[1]:
        return [], []
    means, scales = np.nanmean(values, axis=0), np.maximum(np.nanstd(values, axis=0), 1e-6)
    values -= means
    values /= scales
    return means.tolist(), scales.tolist()


def _datasets(
    smiles: Sequence[str], targets: dict[str, npt.NDArray[Any]], tokenizer: Any, eval_size: int, seed: int
) -> tuple[SmilesDataset, SmilesDataset]:
    """Training molecules and `eval_size` held out, by a seeded shuffle."""
    ids = tokenizer(list(smiles), truncation=True)["input_ids"]
    order = np.random.default_rng(seed).permutation(len(ids))
    parts = np.sort(order[eval_size:]), np.sort(order[:eval_size])
    train, held_out = (
        SmilesDataset([ids[i] for i in part], {name: values[part] for name, values in targets.items()})
        for part in parts
    )
    return train, held_out


if __name__ == "__main__":
    main()
