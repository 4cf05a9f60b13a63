"""The one list of models: who is registered here is tested, carded, loadable by the Auto classes and shown in tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

ModelT = TypeVar("ModelT", bound=type)


@dataclass(frozen=True)
class ModelEntry:
    """What the house knows of one registered model.

    Attributes:
        name: short name, as in ``msformers convert NAME`` and ``hub_cards/NAME``.
        model_class: the base model (a `PreTrainedModel` subclass).
        kind: "spectrum-encoder", "molecule-encoder", "retrieval", "generator", ...
        paper: where the architecture is published.
        licence: licence of the published code (and, if different, weights).
        lora: module names that `peft.LoraConfig(target_modules=...)` should adapt.
        tiny: config arguments of a model small enough for tests (under 100 k parameters where possible).
        extractor: "module:Class" of the feature extractor, module relative to `msformers`; None if there is none.
        tokenizer: "module:Class" of the molecule tokenizer, if the model needs one of ours.
        heads: own or stock Auto class name to head class.
    """

    name: str
    model_class: type
    kind: str
    paper: str
    licence: str
    lora: tuple[str, ...] = ()
    tiny: dict[str, Any] = field(default_factory=dict)
    extractor: str | None = None
    tokenizer: str | None = None
    heads: dict[str, type] = field(default_factory=dict)

    @property
    def config_class(self) -> Any:
        """The configuration class, from the `config` annotation of the model."""
        return self.model_class.config_class  # type: ignore[attr-defined]

    @property
    def model_type(self) -> str:
        """The `model_type` written to config.json."""
        return str(self.config_class.model_type)

    @property
    def classes(self) -> tuple[type, ...]:
        """Base model first, then every head once."""
        return tuple(dict.fromkeys((self.model_class, *self.heads.values())))

    def tiny_config(self, **overrides: Any) -> Any:
        """A fresh configuration of the tiny model; `overrides` win over `tiny`."""
        return self.config_class(**{**self.tiny, **overrides})


MODELS: dict[str, ModelEntry] = {}


def register_model(
    name: str,
    *,
    kind: str,
    paper: str,
    licence: str,
    lora: tuple[str, ...] = (),
    tiny: dict[str, Any] | None = None,
    extractor: str | None = None,
    tokenizer: str | None = None,
) -> Callable[[ModelT], ModelT]:
    """Register the decorated base model under `name`; see `ModelEntry` for the arguments.

    Raises:
        ValueError: another class is already registered under this name or with this `model_type`.
        TypeError: the model does not say which configuration it takes.
    """

    def decorate(cls: ModelT) -> ModelT:
        if not isinstance(getattr(cls, "config_class", None), type):
            # with postponed annotations transformers reads `config: X` as the text "X"
            raise TypeError(
                f"{cls.__name__} needs the class attribute config_class = <its configuration class>"
            )
        entry = ModelEntry(
            name, cls, kind, paper, licence, tuple(lora), dict(tiny or {}), extractor, tokenizer
        )
        for other in MODELS.values():
            if other.name == name or other.model_type == entry.model_type:
                raise ValueError(
                    f"cannot register {cls.__name__} as {name!r} (model_type {entry.model_type!r}): "
                    f"{other.model_class.__name__} already is {other.name!r} ({other.model_type!r}); choose another name"
                )
        MODELS[name] = entry
        return cls

    return decorate


def register_head(name: str, *auto_names: str) -> Callable[[ModelT], ModelT]:
    """Register the decorated head of model `name` with the Auto classes called `auto_names`.

    Raises:
        KeyError: no model `name` is registered (the base model must come first in its file).
        ValueError: the model already has a head for one of these Auto classes.
    """

    def decorate(cls: ModelT) -> ModelT:
        if name not in MODELS:
            raise KeyError(f"no model {name!r} for head {cls.__name__}; register its base model first")
        heads = MODELS[name].heads
        for auto_name in auto_names:
            if auto_name in heads:
                raise ValueError(f"{name!r} already has {heads[auto_name].__name__} as its {auto_name}")
            heads[auto_name] = cls
        return cls

    return decorate
