"""What every model of the house shares: strict configurations and the base class of spectrum models."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any, ClassVar, get_args, get_type_hints

import torch
from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig, PreTrainedModel

# Keys that transformers itself puts into a config.json or passes through a configuration's constructor.
_LIBRARY_KEYS = frozenset(
    {
        "model_type",
        "name_or_path",
        "_name_or_path",
        "_commit_hash",
        "torch_dtype",
        "num_labels",
        "attn_implementation",
        "_attn_implementation_autoset",
        "experts_implementation",
        "output_attentions",
        "auto_map",
        "custom_pipelines",
        "quantization_config",
        "use_cache",  # Trainer sets it on every configuration
    }
)


@strict
class MsFormersConfig(PreTrainedConfig):
    """A configuration whose fields are typed and whose unknown keys are errors.

    Every subclass becomes a strict dataclass by itself: a wrong type raises
    `huggingface_hub.errors.StrictDataclassFieldValidationError`, an unknown key raises `ValueError`.
    """

    def __init_subclass__(cls, *args: Any, **kwargs: Any) -> None:
        super().__init_subclass__(*args, **kwargs)
        # postponed annotations are text, and the validators let everything pass a text: resolve the class's own
        own = {"__annotations__": inspect.get_annotations(cls), "__module__": cls.__module__}
        hints = get_type_hints(type(cls.__name__, (), own))
        for field in fields(cls):
            hint = hints.get(field.name, field.type)
            field.type = hint | int if float in (hint, *get_args(hint)) else hint  # 1 is a fine float
        strict(cls)

    def __post_init__(self, **kwargs: Any) -> None:
        unknown = sorted(set(kwargs) - _LIBRARY_KEYS)
        if unknown:
            known = sorted(field.name for field in fields(self))
            raise ValueError(
                f"{type(self).__name__} has no field {', '.join(map(repr, unknown))}; known fields: {', '.join(known)}"
            )
        super().__post_init__(**kwargs)


class SpectrumPreTrainedModel(PreTrainedModel):
    """Base of the models whose first input is `peaks`, float32 (batch, tokens, 2): m/z in Th, relative intensity.

    The losses of these models are plain means over the batch, hence `accepts_loss_kwargs = False`: without it the
    Trainer believes that they divide by `num_items_in_batch` and scales them wrongly under gradient accumulation.
    """

    config: MsFormersConfig
    config_class = MsFormersConfig  # as an attribute: transformers does not resolve postponed annotations
    base_model_prefix = "model"
    main_input_name = "peaks"
    accepts_loss_kwargs = False
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _supports_flash_attn = False
    _no_split_modules: ClassVar[list[str]] = []

    @classmethod
    def is_custom_code(cls) -> bool:
        """False: our `_init_weights` uses `transformers.initialization`, which leaves loaded weights alone.

        For classes outside transformers the library otherwise skips every module without parameters of its own, and
        with them what we do for whole blocks (attention, feed-forward, mapper).
        """
        return False

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, which makes every loaded parameter trainable; the constants are frozen again."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for module in reversed(list(model.modules())):  # the outermost has the last word
            if hasattr(module, "freeze_constants"):
                module.freeze_constants()
        return loaded

    @staticmethod
    def check_peaks(peaks: torch.Tensor) -> torch.Tensor:
        """Return `peaks` as float32 (batch, tokens, 2).

        Raises:
            ValueError: another shape, or a dtype that has already lost the m/z (bfloat16, float16, integers).
        """
        if peaks.dim() != 3 or peaks.shape[-1] != 2:
            raise ValueError(
                f"peaks must be (batch, tokens, 2) = m/z and intensity, got {tuple(peaks.shape)}"
            )
        if peaks.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"peaks are {peaks.dtype}, which cannot hold an m/z; keep them float32 and cast only the model "
                "(model.to(torch.bfloat16) keeps its m/z features in float32)"
            )
        return peaks.float()
