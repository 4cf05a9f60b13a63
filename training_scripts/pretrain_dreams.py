"""Pre-train DreaMS without labels: masked peaks and, where retention times are known, retention order.

python training_scripts/pretrain_dreams.py --recipe small --data ../shared/data --output runs/dreams
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from data import Augmentation, SpectrumDataset
from recipe import (
    arguments,
    finish,
    load_recipe,
    run,
    start_logging,
    take,
    training_arguments,
)
from stages import FOLD_KEYS, ExactCollator, Unlabelled, load_folds, load_unlabelled
from streaming import STREAM_KEYS
from torch.utils.data import Dataset
from trainer import EpochTrainer
from transformers import set_seed

from msformers.modeling.dreams import DreamsConfig, DreamsForPreTraining
from msformers.tokenization.dreams import DreamsFeatureExtractor, DreamsPreTrainingCollator

STAGE = "pretrain_dreams"
MODEL_KEYS = ("config",)
DATA_KEYS = (*FOLD_KEYS, *STREAM_KEYS, "mask_fraction", "shift_probability", "retention_order")
RUN_COLUMNS = ("contributor", "instrument")
logger = logging.getLogger("msformers.training")


class RunPairs(Dataset):
    """Pairs of spectra measured by one contributor on one instrument, with their order of elution.

    MassBank does not record runs; contributor and instrument stand for the chromatographic method.

    Args:
        spectra: dataset over a table with `contributor`, `instrument` and `retention_time_s`.
        seed: of the choice of partners, made from (seed, epoch, index).
    """

    def __init__(self, spectra: SpectrumDataset, seed: int) -> None:
        self.spectra, self.seed = spectra, seed
        rows = spectra.table.rows
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, (key, time) in enumerate(
            zip(zip(*(rows[c] for c in RUN_COLUMNS), strict=True), rows["retention_time_s"], strict=True)
        ):
            if time is not None:
                groups.setdefault(key, []).append(index)
        self.groups = {index: group for group in groups.values() if len(group) > 1 for index in group}
        self.indices = sorted(self.groups)
        if not self.indices:
            raise ValueError("no two spectra share contributor and instrument and have retention times")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, place = key if isinstance(key, tuple) else (0, key)
        index = self.indices[place]
        group = self.groups[index]
        partner = group[int(np.random.default_rng([self.seed, 3, epoch, index]).integers(len(group)))]
        times = self.spectra.table.rows["retention_time_s"]
        pair = {"first": self.spectra[epoch, index], "second": self.spectra[epoch, partner]}
        # equal times have no order: -100 is not counted
        order = -100 if times[index] == times[partner] else int(times[index] < times[partner])
        return {**pair, "order": order, "epoch": epoch, "index": index}


def load_examples(path: Path, data: dict[str, Any], seed: int) -> tuple[Unlabelled, Any, Any]:
    """The spectra of a recipe, and the examples for training and validation made of them: spectra or pairs.

    Raises:
        ValueError: pairs are asked for of a stream.
    """
    if not data.get("retention_order"):
        spectra = load_unlabelled(path, data, seed, min_peaks=3)
        return spectra, spectra.train, SpectrumDataset(spectra.held_out)
    if data.get("streaming"):
        raise ValueError("data.retention_order pairs spectra of the whole table; set data.streaming to false")
    tables = load_folds(path, data, seed, (*RUN_COLUMNS, "retention_time_s"), min_peaks=3, eval_limit=1000)
    train = SpectrumDataset(tables[0], Augmentation.from_recipe(data.get("augmentation")), seed)
    pairs = [RunPairs(spectra, seed) for spectra in (train, SpectrumDataset(tables[1]))]
    return Unlabelled(train, None, EpochTrainer, tables[1]), *pairs


def build_collator(
    config: DreamsConfig, extractor: DreamsFeatureExtractor, data: dict[str, Any], seed: int
) -> ExactCollator:
    """The masking of a recipe."""
    collator = DreamsPreTrainingCollator(
        extractor,
        config.num_mz_bins,
        config.mz_bin_size,
        config.mask_value,
        data.get("mask_fraction", 0.3),
        data.get("shift_probability", 0.2),
    )
    return ExactCollator(collator, seed)


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns the validation loss."""
    start_logging()
    args = arguments(STAGE, "Pre-train DreaMS on spectra without labels.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    set_seed(recipe.seed)
    config = DreamsConfig(**take(recipe.model, MODEL_KEYS, "model").get("config", {}))
    model, data = DreamsForPreTraining(config), take(recipe.data, DATA_KEYS, "data")
    spectra, train, held_out = load_examples(args.data, data, recipe.seed)
    extractor = DreamsFeatureExtractor(config.n_highest_peaks, config.precursor_intensity)
    trainer = spectra.trainer(
        model=model,
        args=training_arguments(
            recipe, args.output, eval_strategy="steps", load_best_model_at_end=True, label_names=["mz_labels"]
        ),
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=build_collator(config, extractor, data, recipe.seed),
        processing_class=extractor,
        lengths=spectra.lengths,
    )
    trainer.args.prediction_loss_only = True
    size = "streamed" if data.get("streaming") else len(train)
    logger.info("training examples: %s, validation: %d", size, len(held_out))
    run(trainer, args.output, args.resume)
    figures = trainer.evaluate()
    finish(recipe, args.output, (trainer.accelerator.unwrap_model(trainer.model), extractor), [figures])
    return figures


if __name__ == "__main__":
    main()
