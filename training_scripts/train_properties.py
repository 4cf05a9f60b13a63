"""Train a model of molecular properties on spectra: LSM1 fine-tuned, from scratch or frozen, or MS2Prop.

python training_scripts/train_properties.py --recipe small --data ../shared/data --output runs/lsm1-properties
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from data import Augmentation, SpectrumDataset, SpectrumTable
from encoders import HEAD_KEYS, build_extractor, build_model, finish_head, head_trainer
from recipe import Recipe, arguments, load_recipe, run, start_logging, take
from stages import FOLD_KEYS, READABLE_MZ, load_folds
from targets import Molecules, descriptor_matrix
from trainer import EpochTrainer
from transformers import set_seed

from msformers.metrics.properties import property_scores
from msformers.modeling.auto import AutoModelForMolecularPropertyPrediction
from msformers.modeling.heads import PropertyScale
from msformers.spectra.descriptors import DESCRIPTOR_NAMES, LOG_DESCRIPTORS

STAGE = "train_properties"
MODEL_KEYS = HEAD_KEYS
DATA_KEYS = (*FOLD_KEYS, "fraction", "fraction_of", "spectra_per_molecule", "patience", "cache")
Floats = npt.NDArray[np.float64]
Labelled = tuple[SpectrumTable, Floats]
logger = logging.getLogger("msformers.training")


class PropertyCollator:
    """Rows of `SpectrumDataset` to inputs of a property model.

    Args:
        extractor: prepares the spectra.
        values: (spectra, properties) in the descriptors' units, NaN where unknown.
    """

    def __init__(self, extractor: Any, values: Floats) -> None:
        self.extractor, self.values = extractor, values

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors of one batch."""
        values = torch.from_numpy(self.values[[item["index"] for item in features]])
        return {**self.extractor(list(features), return_tensors="pt"), "property_values": values}


def draw(table: SpectrumTable, fraction: float, of: str, seed: int) -> list[int]:
    """Places of a random share of a table, for the study of data size; a smaller share is part of a larger one.

    Args:
        fraction: above 0, at most 1.
        of: "molecules" draws molecules with all their spectra, "spectra" draws spectra, as the paper does.

    Raises:
        ValueError: an argument is out of range.
    """
    if not 0 < fraction <= 1 or of not in ("molecules", "spectra"):
        raise ValueError(
            f"cannot draw a fraction {fraction} of {of!r}: above 0, at most 1, of molecules or spectra"
        )
    keys = np.arange(len(table)) if of == "spectra" else np.array(table.rows["inchikey14"])
    distinct = np.unique(keys)
    count = max(1, round(fraction * len(distinct)))
    chosen = np.random.default_rng(seed).permutation(distinct)[:count]
    return np.flatnonzero(np.isin(keys, chosen)).tolist()


@torch.inference_mode()
def property_figures(
    model: Any, extractor: Any, table: SpectrumTable, values: Floats, batch_size: int = 256
) -> dict[str, float]:
    """Mean and median R² of continuous and mean balanced accuracy of binary properties over spectra.

    Properties that are learned as logarithms (Ipc spans a hundred powers of ten) are judged as logarithms.

    Args:
        model: a property model, left in the mode it was in.
        values: (spectra, properties) in the descriptors' units, NaN where unknown.
    """
    was_training = model.training
    model.eval()
    dataset, predicted = SpectrumDataset(table), np.empty_like(values)
    order = sorted(range(len(dataset)), key=lambda index: len(table.peaks[index][0]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = extractor([dataset[index] for index in chosen]).to(model.device)
        predicted[chosen] = model(**batch).properties.double().cpu().numpy()
    model.train(was_training)
    truth, logarithmic = values.copy(), [DESCRIPTOR_NAMES.index(name) for name in LOG_DESCRIPTORS]
    for matrix in (truth, predicted):
        matrix[:, logarithmic] = np.log1p(matrix[:, logarithmic])
    scores = property_scores(truth, predicted)
    return {
        "mean_r2": scores.mean_r2,
        "median_r2": scores.median_r2,
        "balanced_accuracy": scores.mean_balanced_accuracy,
        "spectra": float(len(table)),
    }


def load_properties(path: Path, recipe: Recipe, output: Path) -> tuple[Labelled, Labelled]:
    """Training and validation spectra of a recipe, each with the values of its molecules' properties."""
    data = {"max_precursor_mz": READABLE_MZ, "eval_licences": "all"} | take(recipe.data, DATA_KEYS, "data")
    train, held_out = load_folds(path, data, recipe.seed)
    molecules = Molecules([*train.rows["smiles_2d"], *held_out.rows["smiles_2d"]])
    matrix = descriptor_matrix(molecules.smiles, Path(data.get("cache", output / "cache")))
    values = matrix[molecules.rows]
    kept = draw(train, data.get("fraction", 1.0), data.get("fraction_of", "molecules"), recipe.seed)
    return (train.select(kept), values[: len(train)][kept]), (held_out, values[len(train) :])


def start_at_mean(model: Any, values: Floats) -> None:
    """Fit the scale of a property model to molecules, and let its head begin by saying their mean."""
    model.fit_property_scale(values, DESCRIPTOR_NAMES, LOG_DESCRIPTORS)
    scaled = PropertyScale(model.config).scale(torch.from_numpy(values))
    with torch.no_grad():
        model.property_head.linear.weight.zero_()
        model.property_head.linear.bias.copy_(scaled.nanmean(0).nan_to_num())


def build_trainer(
    recipe: Recipe, model: Any, extractor: Any, train: Labelled, held_out: Labelled, output: Path
) -> EpochTrainer:
    """Fit the scale and put the Trainer together; `model` is changed in place."""
    (table, values), data = train, recipe.data
    _, first, groups = np.unique(table.rows["inchikey14"], return_index=True, return_inverse=True)
    start_at_mean(model, values[first])
    logger.info("%d spectra of %d molecules, %d for validation", len(table), len(first), len(held_out[0]))
    return head_trainer(
        *(recipe, model, extractor, output, "greater", "mean_r2"),
        train_dataset=SpectrumDataset(table, Augmentation.from_recipe(data.get("augmentation")), recipe.seed),
        eval_dataset=SpectrumDataset(held_out[0]),
        data_collator=PropertyCollator(extractor, values),
        lengths=table.n_peaks if data.get("batch_by_length", True) else None,
        groups=groups,
        per_group=data.get("spectra_per_molecule"),
        figures=lambda model: property_figures(model, extractor, *held_out),
    )


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns the validation figures of the chosen model."""
    start_logging()
    args = arguments(STAGE, "Train a model of molecular properties on spectra.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    set_seed(recipe.seed)
    settings = take(recipe.model, MODEL_KEYS, "model")
    model = build_model(AutoModelForMolecularPropertyPrediction, settings)
    extractor = build_extractor(model.config, settings)
    train, held_out = load_properties(args.data, recipe, args.output)
    trainer = build_trainer(recipe, model, extractor, train, held_out, args.output)
    run(trainer, args.output, args.resume)
    return finish_head(recipe, trainer, args.output)


if __name__ == "__main__":
    main()
