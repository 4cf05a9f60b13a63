"""The model of a stage that puts a head on a spectrum encoder, from a checkpoint or from nothing, and its extractor."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor

from msformers.modeling.registry import MODELS


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


def freeze(encoder: nn.Module) -> None:
    """Train nothing of a part."""
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
