"""Pre-train LSM1-MS2 without labels: integer m/z, fractional m/z and intensity of masked and of visible peaks.

python training_scripts/pretrain_lsm1.py --recipe small --data ../shared/data --output runs/lsm1
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from data import SpectrumDataset, SpectrumTable
from recipe import arguments, finish, load_recipe, run, start_logging, take, training_arguments
from stages import FOLD_KEYS, READABLE_MZ, ExactCollator, load_unlabelled
from streaming import STREAM_KEYS
from transformers import set_seed

from msformers.modeling.lsm1 import CLASSES, Lsm1Config, Lsm1ForMaskedPeakModeling
from msformers.tokenization.lsm1 import Lsm1FeatureExtractor, Lsm1MaskingCollator

STAGE = "pretrain_lsm1"
MODEL_KEYS = ("config",)
DATA_KEYS = (*FOLD_KEYS, *STREAM_KEYS, "mask_fraction")
SAMPLED_PEAKS = 5000
logger = logging.getLogger("msformers.training")


@torch.inference_mode()
def reconstruction_figures(
    model: Lsm1ForMaskedPeakModeling,
    collator: ExactCollator,
    table: SpectrumTable,
    batch_size: int = 128,
    n_sampled: int = SAMPLED_PEAKS,
) -> dict[str, float]:
    """How well spectra are reconstructed, always with the same masks.

    Args:
        model: left in the mode it was in.
        collator: masks the peaks and holds the seed of the sample.
        table: the spectra.
        n_sampled: masked and as many visible peaks whose errors are described, as in the paper's figure 2.

    Returns:
        loss and its parts, means over peaks; and of masked and of visible peaks the median absolute errors of m/z (Th) and
        intensity (the base peak is 1000) and the share of m/z right to 0.01 Th.
    """
    was_training = model.training
    model.eval()
    dataset, sums, n_peaks = SpectrumDataset(table), np.zeros(4), 0
    order = sorted(range(len(dataset)), key=lambda index: len(table.peaks[index][0]))
    rows = []
    for start in range(0, len(order), batch_size):
        batch = collator([dataset[index] for index in order[start : start + batch_size]])
        batch = {key: value.to(model.device) for key, value in batch.items()}
        output = model(**batch)
        errors = model.reconstruction_errors(output, batch)
        parts = (output.loss, output.loss_integer, output.loss_fraction, output.loss_intensity)
        sums += len(errors.mz) * np.array([float(part) for part in parts])
        n_peaks += len(errors.mz)
        rows.append(
            torch.stack([errors.mz, errors.intensity * CLASSES, errors.masked.double()], 1).cpu().numpy()
        )
    model.train(was_training)
    names = ("loss", "loss_integer", "loss_fraction", "loss_intensity")
    figures = dict(zip(names, (sums / max(n_peaks, 1)).tolist(), strict=True))
    peaks, rng = np.concatenate(rows), np.random.default_rng(collator.seed)
    for name, flag in (("masked", 1), ("visible", 0)):
        found = rng.permutation(peaks[peaks[:, 2] == flag])[:n_sampled]
        figures |= {
            f"mz_error_{name}": float(np.median(found[:, 0])),
            f"intensity_error_{name}": float(np.median(found[:, 1])),
            f"mz_right_{name}": float((found[:, 0] < 0.01).mean()),
        }
    return figures


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns the validation figures of the chosen model."""
    start_logging()
    args = arguments(STAGE, "Pre-train LSM1-MS2 on spectra without labels.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    set_seed(recipe.seed)
    data: dict[str, Any] = {"max_precursor_mz": READABLE_MZ} | take(recipe.data, DATA_KEYS, "data")
    config = Lsm1Config(**take(recipe.model, MODEL_KEYS, "model").get("config", {}))
    spectra = load_unlabelled(args.data, data, recipe.seed, min_peaks=3)
    extractor = Lsm1FeatureExtractor(config.n_highest_peaks)
    collator = ExactCollator(Lsm1MaskingCollator(extractor, data.get("mask_fraction", 0.25)), recipe.seed)
    choice = {"metric_for_best_model": "loss", "greater_is_better": False, "load_best_model_at_end": True}
    trainer = spectra.trainer(
        model=Lsm1ForMaskedPeakModeling(config),
        args=training_arguments(recipe, args.output, eval_strategy="steps", **choice),
        train_dataset=spectra.train,
        eval_dataset=SpectrumDataset(spectra.held_out),
        data_collator=collator,
        processing_class=extractor,
        lengths=spectra.lengths,
        figures=lambda model: reconstruction_figures(model, collator, spectra.held_out),
    )
    size = "streamed" if spectra.lengths is None else len(spectra.lengths)
    logger.info("training spectra: %s, validation: %d", size, len(spectra.held_out))
    run(trainer, args.output, args.resume)
    figures = trainer.evaluate()
    finish(recipe, args.output, (trainer.accelerator.unwrap_model(trainer.model), extractor), [figures])
    return figures


if __name__ == "__main__":
    main()
