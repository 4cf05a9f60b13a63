"""Train NexaMass for structures: Morgan bits, projections and retrieval heads; model chosen by validation MRR.

python training_scripts/train_nexamass.py --recipe small --data ../shared/data --output runs/nexamass
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from adapters import add_lora
from data import Augmentation, MoleculePool, SpectrumDataset, at_most_per_molecule
from molecules import CandidateLists, MoleculeIndex, encode, random_figures, retrieval_figures
from recipe import Recipe, arguments, finish, load_recipe, run, start_logging, take, training_arguments
from stages import FOLD_KEYS, load_folds
from torch import Tensor
from trainer import EpochTrainer
from transformers import set_seed
from views import ViewsCollator

from msformers.modeling.nexamass_config import NexaMassConfig
from msformers.modeling.nexamass_structure import NexaMassForStructurePrediction
from msformers.tokenization.morgan import MorganTokenizer
from msformers.tokenization.nexamass import NexaMassFeatureExtractor

STAGE = "train_nexamass"
MODEL_KEYS = ("checkpoint", "config", "extractor", "fragments", "radius")
DATA_KEYS = (
    *(*FOLD_KEYS, "most_per_molecule", "views"),
    *("pool_limit", "eval_kind", "eval_candidates", "eval_min_candidates"),
)
logger = logging.getLogger("msformers.training")


def build_extractor(settings: dict[str, Any]) -> tuple[NexaMassFeatureExtractor, dict[str, int]]:
    """The extractor of a recipe's section `model`, and the sizes it gives the configuration."""
    rows = json.loads(Path(settings["fragments"]).read_text()) if "fragments" in settings else ()
    extractor = NexaMassFeatureExtractor(fragments=rows, **settings.get("extractor", {}))
    sizes = {"annotation_size": extractor.annotation_size, "context_size": extractor.context_size}
    return extractor, {key: value for key, value in sizes.items() if value}


def build_model(
    settings: dict[str, Any],
) -> tuple[NexaMassForStructurePrediction, NexaMassFeatureExtractor, MorganTokenizer]:
    """Model, extractor and tokenizer of a recipe; with ``checkpoint`` the encoder goes on from pre-training."""
    fields = settings.get("config", {})
    checkpoint = settings.get("checkpoint")
    if checkpoint:
        extractor = NexaMassFeatureExtractor.from_pretrained(checkpoint)
        config = NexaMassConfig.from_pretrained(checkpoint, **fields)
        model = NexaMassForStructurePrediction.from_pretrained(checkpoint, config=config)
    else:
        extractor, sizes = build_extractor(settings)
        model = NexaMassForStructurePrediction(NexaMassConfig(**sizes | fields))
    tokenizer = MorganTokenizer(n_bits=model.config.fingerprint_size, radius=settings.get("radius", 2))
    return model, extractor, tokenizer


def fingerprints(smiles: Sequence[str], model: Any, tokenizer: Any, cache: Path) -> Tensor:
    """Morgan bits of molecules, uint8 (n, bits)."""
    return encode(smiles, model, tokenizer, cache=cache).to(torch.uint8)


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns the validation figures of the chosen model."""
    start_logging()
    args = arguments(STAGE, "Train NexaMass to predict structures.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    set_seed(recipe.seed)
    model, extractor, tokenizer = build_model(take(recipe.model, MODEL_KEYS, "model"))
    trainer, lists, bits = build_trainer(recipe, args.data, args.output, model, extractor, tokenizer)
    run(trainer, args.output, args.resume)
    final = trainer.accelerator.unwrap_model(trainer.model)
    final = final.merge_and_unload() if recipe.lora else final
    figures = retrieval_figures(final, extractor, lists, bits)
    rows = [{"order": "model", **figures}, {"order": "random", **random_figures(lists)}]
    finish(recipe, args.output, (final, extractor, tokenizer), rows)
    logger.info("validation: %s", ", ".join(f"{key} {value:.4f}" for key, value in figures.items()))
    return figures


def build_trainer(
    recipe: Recipe, path: Path, output: Path, model: Any, extractor: Any, tokenizer: Any
) -> tuple[EpochTrainer, CandidateLists, Tensor]:
    """Read the data and put the Trainer together; also the validation lists and the bits of all molecules."""
    data = {"eval_licences": "all"} | take(recipe.data, DATA_KEYS, "data")
    train, validation = load_folds(path, data, recipe.seed)
    if "most_per_molecule" in data:
        train = train.select(at_most_per_molecule(train, data["most_per_molecule"], recipe.seed))
    pool, index = MoleculePool.load(path, data.get("pool_limit"), recipe.seed), MoleculeIndex()
    truth = [index.row(smiles) for smiles in train.rows["smiles_2d"]]
    sizes = (data.get("eval_candidates", 255), data.get("eval_min_candidates", 10))
    lists = CandidateLists.build(validation, pool, index, data.get("eval_kind", "formula"), *sizes)
    bits = fingerprints(index.smiles, model, tokenizer, output / "cache")
    if model.prior is not None:
        model.prior.fit(bits[sorted(set(truth))])
    logger.info("%d training spectra, %d validation, %d molecules", len(train), len(lists.rows), len(bits))
    augmentation = Augmentation.from_recipe(data.get("augmentation"))
    merging = Augmentation(merge=augmentation.merge)  # once per spectrum; the rest once per view
    collator = ViewsCollator(extractor, augmentation, recipe.seed, bits, truth, data.get("views", 2))
    choice = {"metric_for_best_model": "mrr", "greater_is_better": True, "load_best_model_at_end": True}
    dataset = SpectrumDataset(train, merging, recipe.seed)
    trainer = EpochTrainer(
        model=add_lora(model, recipe.lora, "model") if recipe.lora else model,
        args=training_arguments(
            recipe, output, eval_strategy="steps", label_names=["fingerprints"], **choice
        ),
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=collator,
        processing_class=extractor,
        lengths=train.n_peaks if data.get("batch_by_length", True) else None,
        figures=lambda model: retrieval_figures(model, extractor, lists, bits.float()),
    )
    return trainer, lists, bits.float()


if __name__ == "__main__":
    main()
