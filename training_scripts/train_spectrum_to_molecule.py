"""Train spectra to molecules: first the decoder on simulated conditions of many molecules, then all of it on spectra.

python training_scripts/train_spectrum_to_molecule.py --recipe small --data ../shared/data --output runs/denovo-molecules
python training_scripts/train_spectrum_to_molecule.py --recipe small-spectra --data ../shared/data --output runs/denovo
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from adapters import add_lora, save_adapter
from molecule_text import MOLECULE_KEYS, load_molecules, tokenized
from recipe import Recipe, arguments, finish, load_recipe, run, start_logging, take, training_arguments
from simulated_stage import MoleculeCollator, Sources, SpectrumCollator
from stages import FOLD_KEYS
from trainer import EpochTrainer
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForCausalLM, AutoTokenizer, set_seed

from msformers.checkpoints import resolve_checkpoint
from msformers.modeling.auto import auto_class
from msformers.modeling.spectrum_to_molecule import SpectrumToMoleculeModel

STAGE = "train_spectrum_to_molecule"
MODEL_KEYS = ("checkpoint", "encoder", "decoder", "molecule_encoder", "config", "attn_implementation")
DATA_KEYS = (
    *(*MOLECULE_KEYS, *FOLD_KEYS, "stage", "most_per_molecule"),
    *("library_share", "clean_share", "simulated_share", "eval_spectra"),
)
logger = logging.getLogger("msformers.training")


def build_model(settings: dict[str, Any]) -> tuple[SpectrumToMoleculeModel, Any, Any]:
    """Model, extractor and SELFIES tokenizer of a recipe's section `model`.

    ``checkpoint`` goes on with an earlier stage; otherwise ``encoder``, ``decoder`` and ``molecule_encoder`` are put together.
    """
    fields = dict(settings.get("config", {}))
    if settings.get("checkpoint"):
        name = resolve_checkpoint(str(settings["checkpoint"]))
        model = SpectrumToMoleculeModel.from_pretrained(name, dtype=torch.float32, **fields)
        return model, AutoFeatureExtractor.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    names = {
        key: resolve_checkpoint(str(settings[key])) for key in ("encoder", "decoder", "molecule_encoder")
    }
    kind = fields.get("encoder_class", "AutoModel")
    encoder_class = AutoModel if kind == "AutoModel" else auto_class(kind)
    encoder = encoder_class.from_pretrained(names["encoder"], dtype=torch.float32)
    decoder = AutoModelForCausalLM.from_pretrained(names["decoder"], dtype=torch.float32)
    bert = AutoModel.from_pretrained(names["molecule_encoder"], dtype=torch.float32)
    model = SpectrumToMoleculeModel.from_parts(encoder, decoder, bert, **fields)
    return (
        model,
        AutoFeatureExtractor.from_pretrained(names["encoder"]),
        AutoTokenizer.from_pretrained(names["decoder"]),
    )


@torch.inference_mode()
def validation_figures(model: Any, collator: SpectrumCollator, batch_size: int = 64) -> dict[str, float]:
    """Mean language-model loss per token (and alignment loss) on validation spectra with real predictions."""
    was_training = model.training
    model.eval()
    totals: dict[str, float] = {}
    items = collator.items()
    for start in range(0, len(items), batch_size):
        batch = collator(items[start : start + batch_size])
        output = model(**{key: value.to(model.device) for key, value in batch.items()})
        share = min(batch_size, len(items) - start) / len(items)
        for name in ("lm_loss", "alignment_loss"):
            if output.get(name) is not None:
                totals[name] = totals.get(name, 0.0) + share * float(output[name])
    model.train(was_training)
    return totals | {"spectra": float(len(items))}


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns the validation figures of the chosen model."""
    start_logging()
    args = arguments(STAGE, "Train a model that writes molecules for spectra.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    data = take(recipe.data, DATA_KEYS, "data")
    set_seed(recipe.seed)
    model, extractor, tokenizer = build_model(take(recipe.model, MODEL_KEYS, "model"))
    model.set_attn_implementation({"": "sdpa", "decoder": recipe.model.get("attn_implementation", "sdpa")})
    sources = Sources.build(args.data, data, recipe.seed, model, extractor, tokenizer)
    trainer = build_trainer(recipe, args, data, (model, extractor, tokenizer), sources)
    run(trainer, args.output, args.resume)
    figures = trainer.evaluate()
    final = trainer.accelerator.unwrap_model(trainer.model)
    if recipe.lora:
        save_adapter(final, args.output / "adapter", recipe.model.get("checkpoint"))
        final = final.merge_and_unload()
    finish(recipe, args.output, (final, extractor, tokenizer), [figures])
    logger.info("validation: %s", ", ".join(f"{key} {value:.4f}" for key, value in figures.items()))
    return figures


def build_trainer(
    recipe: Recipe, args: Any, data: dict[str, Any], parts: tuple[Any, Any, Any], sources: Sources
) -> EpochTrainer:
    """The Trainer of the stage ``data.stage``: "molecules" or "spectra"."""
    model, extractor, tokenizer = parts
    stage = data.get("stage", "molecules")
    if stage not in ("molecules", "spectra"):
        raise ValueError(f"data.stage is 'molecules' or 'spectra', not {stage!r}")
    if stage == "molecules":
        table = load_molecules(args.data, data, recipe.seed, args.output / "cache")
        train: Any = tokenized(table, tokenizer, data.get("eval_size", 5000), recipe.seed)[0]
        collator: Any = MoleculeCollator(sources, table, recipe.seed, data)
        lengths = train.lengths.tolist()
    else:
        collator = SpectrumCollator(sources, sources.train, recipe.seed, data, with_spectrum=True)
        train, lengths = collator.dataset, None
    validation = SpectrumCollator(
        sources, sources.validation, recipe.seed, {"library_share": 1.0}, with_spectrum=stage == "spectra"
    )
    trained = add_lora(model, recipe.lora, "encoder", ("molecule_encoder",)) if recipe.lora else model
    return EpochTrainer(
        model=trained,
        args=training_arguments(
            recipe,
            args.output,
            eval_strategy="steps",
            load_best_model_at_end=True,
            metric_for_best_model="lm_loss",
            greater_is_better=False,
            label_names=["labels"],
        ),
        train_dataset=train,
        eval_dataset=train,
        data_collator=collator,
        processing_class=extractor,
        lengths=lengths,
        figures=lambda current: validation_figures(current, validation),
    )


if __name__ == "__main__":
    main()
