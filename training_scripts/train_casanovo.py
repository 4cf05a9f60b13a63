"""Train Casanovo to read peptides off spectra: from scratch, from a checkpoint, or by adapters.

python training_scripts/train_casanovo.py --recipe small --data ../shared/data --output runs/casanovo
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from adapters import add_lora, save_adapter
from peptides import (
    PeptideCollator,
    PeptideExamples,
    PeptideStream,
    Preparation,
    load_peptides,
    residue_masses,
)
from recipe import Recipe, arguments, finish, load_recipe, run, start_logging, take, training_arguments
from streaming import StreamTrainer
from trainer import EpochTrainer
from transformers import AutoFeatureExtractor, AutoTokenizer, set_seed

from msformers.metrics.peptides import peptide_scores
from msformers.modeling.auto import AutoModelForPeptideSequencing
from msformers.modeling.casanovo import CasanovoForPeptideSequencing
from msformers.modeling.casanovo_config import CasanovoConfig
from msformers.tokenization.casanovo import CasanovoFeatureExtractor
from msformers.tokenization.peptides import PeptideTokenizer

STAGE = "train_casanovo"
MODEL_KEYS = ("checkpoint", "config", "extractor", "adapter_base")
DATA_KEYS = (
    *("eval_share", "eval_limit", "limit", "max_length", "batch_by_length"),
    *("streaming", "source", "block", "mixed_shards"),
)
PERIOD = 600_000
LORA_TARGETS = r"(model|decoder)\..*\.(q_proj|v_proj)"
logger = logging.getLogger("msformers.training")


class PublishedOptimiser:
    """Adam with L2 and a cosine that rises linearly, as Casanovo is trained; mixed into a Trainer.

    The half period of the cosine is ``lr_scheduler_kwargs: {half_period: …}``, the rise ``warmup_steps``.
    """

    args: Any
    model: Any
    optimizer: Any
    lr_scheduler: Any

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Adam, not AdamW: its weight decay is part of the gradient."""
        if self.optimizer is None:
            weights = [p for p in (model or self.model).parameters() if p.requires_grad]
            self.optimizer = torch.optim.Adam(
                weights, self.args.learning_rate, weight_decay=self.args.weight_decay
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The factor of `half_cosine` at each step."""
        if self.lr_scheduler is None:
            period = (self.args.lr_scheduler_kwargs or {}).get("half_period", PERIOD)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer, lambda step: half_cosine(step, self.args.warmup_steps, period)
            )
        return self.lr_scheduler


class PeptideTrainer(PublishedOptimiser, EpochTrainer):
    """Examples in memory."""


class PeptideStreamTrainer(PublishedOptimiser, StreamTrainer):
    """Examples from a stream."""


def half_cosine(step: int, warmup: float, half_period: float) -> float:
    """Factor of the learning rate: linear rise over `warmup` steps times half a cosine over `half_period`."""
    return 0.5 * (1 + math.cos(math.pi * step / half_period)) * min(1.0, step / max(warmup, 1))


def build_parts(settings: dict[str, Any]) -> tuple[Any, CasanovoFeatureExtractor, PeptideTokenizer]:
    """Model, extractor and tokenizer of a recipe's section `model`."""
    fields = dict(settings.get("config") or {})
    if settings.get("checkpoint"):
        folder = settings["checkpoint"]
        model = AutoModelForPeptideSequencing.from_pretrained(folder, **fields)
        return model, AutoFeatureExtractor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    version = fields.get("version", "5")
    tokenizer = PeptideTokenizer(version=version)
    known = {
        "vocab_size": tokenizer.vocab_size,
        "eos_token_id": tokenizer.eos_token_id,
        "n_terminal_token_ids": tokenizer.n_terminal_token_ids,
        "residue_masses": tokenizer.masses.tolist(),
    }
    config = CasanovoConfig(**(known | fields))
    extractor = CasanovoFeatureExtractor(
        version, max_charge=config.max_charge, **settings.get("extractor", {})
    )
    return CasanovoForPeptideSequencing(config), extractor, tokenizer


@torch.inference_mode()
def sequencing_figures(
    model: Any,
    tokenizer: PeptideTokenizer,
    collate: PeptideCollator,
    examples: PeptideExamples,
    batch_size: int = 64,
) -> dict[str, float]:
    """Loss of the true peptides, and how well greedy search reads them.

    Args:
        model: left in the mode it was in.
    """
    was_training = model.training
    model.eval()
    order = sorted(range(len(examples)), key=lambda place: len(examples[place]["peaks"]))
    losses, predicted, truth = 0.0, [], []
    for start in range(0, len(order), batch_size):
        chosen = [examples[place] for place in order[start : start + batch_size]]
        batch = {name: values.to(model.device) for name, values in collate(chosen).items()}
        losses += float(model(**batch).loss) * len(chosen)
        labels = batch.pop("labels")
        longest = labels.shape[1] + 5  # what goes on for longer is wrong anyway
        found = model.generate(**batch, min_length=1, max_length=longest, precursor_tolerance=0.0)
        best: dict[int, Any] = {}
        for place, row in enumerate(found.spectrum_index.tolist()):
            best.setdefault(row, residue_masses(found.sequences[place].numpy(), tokenizer))
        predicted += [best.get(row) for row in range(len(chosen))]
        truth += [residue_masses(row.numpy(), tokenizer) for row in labels.cpu()]
    model.train(was_training)
    scores = peptide_scores(predicted, truth)
    known = {name: value for name, value in scores.items() if not math.isnan(value)}
    return {"loss": losses / len(order), **known, "spectra": float(len(order))}


def build_trainer(
    recipe: Recipe, model: Any, prepare: Preparation, data_path: Path, output: Path
) -> EpochTrainer:
    """Read the data and put the Trainer together; with adapters `model` is changed in place."""
    data = take(recipe.data, DATA_KEYS, "data")
    share, streaming = data.get("eval_share", 0.1), bool(data.get("streaming"))
    train, held_out = load_peptides(data_path, prepare, share)
    held_out = held_out.sample(data.get("eval_limit", 500), recipe.seed)
    collate = PeptideCollator(prepare.extractor)
    if streaming:
        sizes = {key: data[key] for key in ("block", "mixed_shards") if key in data}
        stream = PeptideStream(data.get("source", data_path), prepare, share, seed=recipe.seed, **sizes)
    train = train.sample(data.get("limit"), recipe.seed)
    logger.info("%s examples, %d for validation", "streamed" if streaming else len(train), len(held_out))
    if recipe.lora:
        targets = {"target_modules": LORA_TARGETS} | recipe.lora
        model = add_lora(model, targets, model.base_model_prefix, frozen=("decoder",))
    by_length = data.get("batch_by_length", True) and not streaming
    choice = {"metric_for_best_model": "loss", "greater_is_better": False, "load_best_model_at_end": True}
    return (PeptideStreamTrainer if streaming else PeptideTrainer)(
        model=model,
        args=training_arguments(recipe, output, eval_strategy="steps", max_grad_norm=1.0, **choice),
        train_dataset=stream if streaming else train,
        eval_dataset=held_out,
        data_collator=collate,
        processing_class=prepare.extractor,
        lengths=train.n_peaks if by_length else None,
        figures=lambda model: sequencing_figures(model, prepare.tokenizer, collate, held_out),
    )


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns the validation figures of the chosen model."""
    start_logging()
    args = arguments(STAGE, "Train Casanovo to read peptides off spectra.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    set_seed(recipe.seed)
    model, extractor, tokenizer = build_parts(take(recipe.model, MODEL_KEYS, "model"))
    prepare = Preparation(extractor, tokenizer, recipe.data.get("max_length", 101))
    trainer = build_trainer(recipe, model, prepare, args.data, args.output)
    run(trainer, args.output, args.resume)
    figures = trainer.evaluate()
    model = trainer.accelerator.unwrap_model(trainer.model)
    if recipe.lora:
        save_adapter(model, args.output / "adapter", recipe.model.get("adapter_base"))
        model = model.merge_and_unload()
    finish(recipe, args.output, (model, extractor, tokenizer), [figures])
    return figures


if __name__ == "__main__":
    main()
