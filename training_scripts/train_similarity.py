"""Train spectra's vectors so that their cosine is the Tanimoto similarity of the molecules, for spectral look-up.

python training_scripts/train_similarity.py --recipe small --data ../shared/data --output runs/lsm1-similarity
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from data import Augmentation, SpectrumDataset, SpectrumTable
from encoders import HEAD_KEYS, build_extractor, build_model, finish_head, head_trainer
from pairs import DECILES, PairDataset, tanimoto_deciles
from recipe import Recipe, arguments, load_recipe, run, start_logging, take
from stages import FOLD_KEYS, READABLE_MZ, load_folds
from targets import Molecules, morgan_fingerprints
from transformers import set_seed

from msformers.modeling.auto import AutoModelForSpectrumSimilarity

STAGE = "train_similarity"
MODEL_KEYS = HEAD_KEYS
DATA_KEYS = (*FOLD_KEYS, "pairs_per_epoch", "eval_pairs", "patience", "cache")
logger = logging.getLogger("msformers.training")


class PairCollator:
    """Pairs to a batch of twice as many spectra, the first of each pair before the second ones, and `similarity`."""

    def __init__(self, extractor: Any) -> None:
        self.extractor = extractor

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Keys of the forward method of a similarity model."""
        spectra = [item[side] for side in ("first", "second") for item in features]
        similarity = torch.tensor([item["similarity"] for item in features], dtype=torch.float32)
        return {**self.extractor(spectra, return_tensors="pt"), "similarity": similarity}


@dataclass
class FixedPairs:
    """Pairs for validation, the same each time.

    Attributes:
        table: the spectra.
        places: int64 (pairs, 2), places in `table`.
        similarity: float64 (pairs,), Tanimoto of the molecules.
    """

    table: SpectrumTable
    places: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float64]

    @classmethod
    def of(cls, pairs: PairDataset) -> FixedPairs:
        """The first epoch of a dataset."""
        drawn = [pairs.pair(0, index) for index in range(len(pairs))]
        places = np.array([entry[:2] for entry in drawn], dtype=np.int64)
        return cls(pairs.spectra.table, places, np.array([entry[2] for entry in drawn]))


@torch.inference_mode()
def similarity_figures(
    model: Any, extractor: Any, pairs: FixedPairs, batch_size: int = 256
) -> dict[str, float]:
    """Root mean squared error of the cosine: the mean over Tanimoto deciles and that of each, and the correlation.

    Args:
        model: a similarity model, left in the mode it was in.
    """
    was_training = model.training
    model.eval()
    dataset, needed = SpectrumDataset(pairs.table), np.unique(pairs.places).tolist()
    needed.sort(key=lambda index: len(pairs.table.peaks[index][0]))
    vectors: dict[int, torch.Tensor] = {}
    for start in range(0, len(needed), batch_size):
        chosen = needed[start : start + batch_size]
        batch = extractor([dataset[index] for index in chosen]).to(model.device)
        vectors |= dict(zip(chosen, model(**batch).embeddings.double().cpu(), strict=True))
    model.train(was_training)
    first, second = (torch.stack([vectors[place] for place in side]) for side in pairs.places.T.tolist())
    cosine = (first * second).sum(-1).numpy()
    squared = (cosine - pairs.similarity) ** 2
    decile = np.minimum((pairs.similarity * DECILES).astype(int), DECILES - 1)
    each = {f"rmse_{n / DECILES:.1f}": float(np.sqrt(squared[decile == n].mean())) for n in np.unique(decile)}
    correlation = float(np.corrcoef(cosine, pairs.similarity)[0, 1])
    return {"rmse": float(np.mean(list(each.values()))), **each, "pearson": correlation}


def load_pairs(path: Path, recipe: Recipe, output: Path) -> tuple[PairDataset, FixedPairs]:
    """Training and validation pairs of a recipe; no molecule is on both sides."""
    data = {"max_precursor_mz": READABLE_MZ, "eval_licences": "all"} | take(recipe.data, DATA_KEYS, "data")
    tables = load_folds(path, data, recipe.seed)
    augmentation = Augmentation.from_recipe(data.get("augmentation"))
    lengths = data.get("pairs_per_epoch", len(tables[0])), data.get("eval_pairs", 5000)
    sides = []
    for table, change, length in zip(tables, (augmentation, None), lengths, strict=True):
        molecules = Molecules(table.rows["smiles_2d"])
        fingerprints = morgan_fingerprints(molecules.smiles, Path(data.get("cache", output / "cache")))
        deciles = tanimoto_deciles(fingerprints, recipe.seed)
        logger.info("molecules with a partner, by decile: %s", [len(decile.molecules) for decile in deciles])
        spectra = SpectrumDataset(table, change, recipe.seed)
        sides.append(PairDataset(spectra, molecules.rows, deciles, length, recipe.seed))
    return sides[0], FixedPairs.of(sides[1])


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns the validation figures of the chosen model."""
    start_logging()
    args = arguments(STAGE, "Train cosine of spectra to Tanimoto similarity of molecules.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    set_seed(recipe.seed)
    settings = take(recipe.model, MODEL_KEYS, "model")
    model = build_model(AutoModelForSpectrumSimilarity, settings)
    extractor = build_extractor(model.config, settings)
    train, held_out = load_pairs(args.data, recipe, args.output)
    trainer = head_trainer(
        *(recipe, model, extractor, args.output, "lower", "rmse"),
        train_dataset=train,
        eval_dataset=SpectrumDataset(held_out.table),
        data_collator=PairCollator(extractor),
        figures=lambda model: similarity_figures(model, extractor, held_out),
    )
    run(trainer, args.output, args.resume)
    return finish_head(recipe, trainer, args.output)


if __name__ == "__main__":
    main()
