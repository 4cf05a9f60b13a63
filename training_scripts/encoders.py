"""Stages that put a head on a spectrum encoder: model and extractor of a recipe, Trainer, what is saved."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from adapters import add_lora, save_adapter
from recipe import Recipe, finish, training_arguments
from trainer import EpochTrainer
from transformers import AutoConfig, AutoFeatureExtractor, EarlyStoppingCallback

from msformers.modeling.registry import MODELS

HEAD_KEYS = ("checkpoint", "config", "extractor", "freeze_encoder", "adapter_base")


def build_model(auto_class: Any, settings: dict[str, Any]) -> Any:
    """The model of a recipe's section `model`.

    Args:
        auto_class: such as `AutoModelForMolecularPropertyPrediction`.
        settings: ``checkpoint: FOLDER OR NAME`` with ``config`` for fields to change, or ``config: {model_type: …}``
            alone for new weights; ``freeze_encoder: true`` also turns the encoder's dropout off.

    Raises:
        ValueError: there is neither.
    """
    fields = dict(settings.get("config") or {})
    if settings.get("checkpoint"):
        config = AutoConfig.from_pretrained(settings["checkpoint"])
        if settings.get("freeze_encoder"):
            dropouts = [name for name in config.to_dict() if name.endswith("dropout")]
            fields = dict.fromkeys(dropouts, 0.0) | fields
        return auto_class.from_pretrained(settings["checkpoint"], **fields)
    if "model_type" not in fields:
        raise ValueError("recipe section model needs checkpoint, or config with model_type")
    return auto_class.from_config(AutoConfig.for_model(**fields))


def build_extractor(config: Any, settings: dict[str, Any]) -> Any:
    """The checkpoint's own extractor, or that of the model with the recipe's ``extractor`` settings."""
    if settings.get("checkpoint") and "extractor" not in settings:
        return AutoFeatureExtractor.from_pretrained(settings["checkpoint"])
    entry = next(entry for entry in MODELS.values() if entry.model_type == config.model_type)
    module, _, name = str(entry.extractor).partition(":")
    extractor_class = getattr(importlib.import_module(f"msformers.{module}"), name)
    known = {"n_highest_peaks": config.n_highest_peaks} if hasattr(config, "n_highest_peaks") else {}
    return extractor_class(**(known | settings.get("extractor", {})))


def head_trainer(
    recipe: Recipe, model: Any, extractor: Any, output: Path, better: str, figure: str, **options: Any
) -> EpochTrainer:
    """Freeze the encoder or put adapters into it as the recipe says, and build the Trainer.

    Args:
        model: changed in place.
        better: "greater" or "lower", of the figure that chooses the checkpoint.
        figure: its name.
        options: further arguments of `EpochTrainer`.
    """
    encoder = model.base_model_prefix
    if recipe.model.get("freeze_encoder"):
        getattr(model, encoder).requires_grad_(False)
    if recipe.lora:
        model = add_lora(model, recipe.lora, encoder)
    settings = training_arguments(
        recipe,
        output,
        eval_strategy="steps",
        load_best_model_at_end=True,
        metric_for_best_model=figure,
        greater_is_better=better == "greater",
    )
    trainer = EpochTrainer(model=model, args=settings, processing_class=extractor, **options)
    if "patience" in recipe.data:
        trainer.add_callback(EarlyStoppingCallback(recipe.data["patience"]))
    return trainer


def finish_head(recipe: Recipe, trainer: EpochTrainer, output: Path) -> dict[str, float]:
    """Measure the chosen model and save it: adapters, if any, by themselves and merged into the model."""
    figures = trainer.evaluate()
    model = trainer.accelerator.unwrap_model(trainer.model)
    if recipe.lora:
        save_adapter(model, output / "adapter", recipe.model.get("adapter_base"))
        model = model.merge_and_unload()
    finish(recipe, output, (model, trainer.processing_class), [figures])
    return figures
