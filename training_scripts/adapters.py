"""LoRA: adapters inside the encoder, everything outside it trained whole; saved as they are and merged."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from msformers.modeling.registry import MODELS


def add_lora(
    model: PreTrainedModel, settings: dict[str, Any], encoder: str, frozen: Collection[str] = ()
) -> Any:
    """Put adapters into one part of a model.

    Args:
        model: changed in place.
        settings: fields of `peft.LoraConfig`; `target_modules` is by default what the encoder's model registers.
        encoder: name of the part, such as "model" or "spectrum_encoder".
        frozen: further parts that are not trained; all others are trained whole (`modules_to_save`).

    Returns:
        the `peft.PeftModel`.
    """
    from peft import LoraConfig, get_peft_model

    model_type = getattr(model, encoder).config.model_type
    entry = next(entry for entry in MODELS.values() if entry.model_type == model_type)
    targets = {"target_modules": rf"{encoder}\..*\.({'|'.join(entry.lora)})"}
    whole = [name for name, _ in model.named_children() if name not in {encoder, *frozen}]
    return get_peft_model(model, LoraConfig(modules_to_save=whole, **(targets | settings)))


def save_adapter(model: Any, folder: Path, base: str | None) -> None:
    """Save the adapter and, below it, the model's configuration with the scale of its head; not the weights below.

    To load: ``AutoModelFor….from_pretrained(folder, config=AutoConfig.from_pretrained(folder, subfolder="config"))``. In
    the folder itself a config.json would make transformers look for a whole model there.

    Args:
        model: what `add_lora` gave.
        base: name of the checkpoint below, written down in place of the path it was read from.
    """
    if base is not None:
        model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder)
    model.get_base_model().config.save_pretrained(folder / "config")
