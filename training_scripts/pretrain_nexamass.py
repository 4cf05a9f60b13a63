"""Pre-train NexaMass without labels: two views of a spectrum together, other spectra apart.

python training_scripts/pretrain_nexamass.py --recipe small --data ../shared/data --output runs/nexamass-pre
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from data import Augmentation, SpectrumDataset, SpectrumTable
from recipe import arguments, finish, load_recipe, run, start_logging, take, training_arguments
from stages import FOLD_KEYS, load_unlabelled
from streaming import STREAM_KEYS
from train_nexamass import build_extractor
from transformers import set_seed
from views import ViewsCollator

from msformers.modeling.nexamass import NexaMassForContrastivePreTraining
from msformers.modeling.nexamass_config import NexaMassConfig

STAGE = "pretrain_nexamass"
MODEL_KEYS = ("config", "extractor", "fragments")
DATA_KEYS = (*FOLD_KEYS, *STREAM_KEYS)
logger = logging.getLogger("msformers.training")


@torch.inference_mode()
def contrastive_figures(
    model: NexaMassForContrastivePreTraining,
    collator: ViewsCollator,
    table: SpectrumTable,
    batch_size: int = 128,
) -> dict[str, float]:
    """Contrastive loss, spread of the vectors (1 = widest, 0 = collapsed), and how often a view finds its twin first.

    Args:
        model: left in the mode it was in.
        collator: makes the same views at every call.
        table: validation spectra; the twin is looked for among `batch_size` spectra.
    """
    was_training = model.training
    model.eval()
    dataset = SpectrumDataset(table)
    sums, batches = torch.zeros(3), 0
    for start in range(0, len(dataset) - 1, batch_size):
        batch = collator([dataset[i] for i in range(start, min(start + batch_size, len(dataset)))])
        output = model(
            **{k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        )
        first, second = output.embeddings.chunk(2)
        found = (first @ second.T).argmax(1).cpu() == torch.arange(len(first))
        sums += torch.stack([output.loss.cpu(), output.spread.cpu(), found.float().mean()])
        batches += 1
    model.train(was_training)
    return dict(zip(("loss", "spread", "twin_first"), (sums / max(batches, 1)).tolist(), strict=True))


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns the validation figures of the chosen model."""
    start_logging()
    args = arguments(STAGE, "Pre-train NexaMass on spectra without labels.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    set_seed(recipe.seed)
    data: dict[str, Any] = dict(take(recipe.data, DATA_KEYS, "data"))
    # the views are made by the collator, twice
    augmentation = Augmentation.from_recipe(data.pop("augmentation", None))
    settings = take(recipe.model, MODEL_KEYS, "model")
    extractor, sizes = build_extractor(settings)
    model = NexaMassForContrastivePreTraining(NexaMassConfig(**sizes | settings.get("config", {})))
    spectra = load_unlabelled(args.data, data, recipe.seed, min_peaks=3)
    collator = ViewsCollator(extractor, augmentation, recipe.seed)
    choice = {"metric_for_best_model": "loss", "greater_is_better": False, "load_best_model_at_end": True}
    trainer = spectra.trainer(
        model=model,
        args=training_arguments(recipe, args.output, eval_strategy="steps", **choice),
        train_dataset=spectra.train,
        eval_dataset=SpectrumDataset(spectra.held_out),
        data_collator=collator,
        processing_class=extractor,
        lengths=spectra.lengths,
        figures=lambda model: contrastive_figures(model, collator, spectra.held_out),
    )
    run(trainer, args.output, args.resume)
    figures = trainer.evaluate()
    finish(recipe, args.output, (trainer.accelerator.unwrap_model(trainer.model), extractor), [figures])
    return figures


if __name__ == "__main__":
    main()
