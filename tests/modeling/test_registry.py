from __future__ import annotations

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

import msformers
from msformers.modeling.auto import auto_class
from msformers.modeling.base import MsFormersConfig
from msformers.modeling.registry import MODELS, ModelEntry, register_head, register_model


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModelEntry]:
    """An empty registry for the duration of a test."""
    empty: dict[str, ModelEntry] = {}
    monkeypatch.setattr("msformers.modeling.registry.MODELS", empty)
    return empty


class ToyConfig(MsFormersConfig):
    model_type = "msf_toy"
    width: int = 3


def toy(name: str = "Toy", config: type = ToyConfig) -> type:
    return type(name, (PreTrainedModel,), {"config_class": config, "__module__": __name__})


FACTS = {"kind": "spectrum-encoder", "paper": "none", "licence": "none"}


def test_a_registered_model_is_listed_with_its_heads(scratch: dict[str, ModelEntry]) -> None:
    model, head = toy(), toy("ToyHead")
    register_model("toy", **FACTS, tiny={"width": 1}, lora=("q",))(model)
    register_head("toy", "AutoModelForX", "AutoModelForY")(head)
    entry = scratch["toy"]
    assert entry.classes == (model, head)
    assert entry.config_class is ToyConfig and entry.model_type == "msf_toy"
    assert entry.tiny_config().width == 1 and entry.tiny_config(width=5).width == 5
    assert entry.heads == {"AutoModelForX": head, "AutoModelForY": head}


def test_names_and_types_are_unique(scratch: dict[str, ModelEntry]) -> None:
    register_model("toy", **FACTS)(toy())
    for name in ("toy", "other"):  # the same name, and the same model_type under another name
        with pytest.raises(ValueError, match="msf_toy"):
            register_model(name, **FACTS)(toy("Second"))


def test_a_model_must_say_its_configuration(scratch: dict[str, ModelEntry]) -> None:
    with pytest.raises(TypeError, match="config_class"):
        register_model("toy", **FACTS)(toy(config="ToyConfig"))  # type: ignore[arg-type]


def test_heads_need_their_model_and_a_free_place(scratch: dict[str, ModelEntry]) -> None:
    with pytest.raises(KeyError, match="toy"):
        register_head("toy", "AutoModelForX")(toy())
    register_model("toy", **FACTS)(toy())
    register_head("toy", "AutoModelForX")(toy("First"))
    with pytest.raises(ValueError, match="First"):
        register_head("toy", "AutoModelForX")(toy("Second"))


def test_importing_the_package_registers_every_model_with_transformers() -> None:
    assert {"dreams", "specbridge", "smiles-roberta"} <= set(MODELS)
    assert msformers.MODELS is MODELS
    for entry in MODELS.values():
        assert isinstance(AutoConfig.for_model(entry.model_type, **entry.tiny), entry.config_class)


def test_registering_twice_changes_nothing() -> None:
    before = dict(MODELS)
    msformers.register()
    assert before == MODELS


def test_auto_classes_are_found_by_name() -> None:
    assert auto_class("AutoModelForSpectrumEmbedding") is msformers.AutoModelForSpectrumEmbedding
    assert auto_class("AutoModelForCausalLM") is AutoModelForCausalLM
    with pytest.raises(KeyError, match="AutoModelForSpectrumEmbedding"):
        auto_class("AutoModelForNothing")


def test_a_config_without_a_head_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="ToyConfig"):
        msformers.AutoModelForSpectrumEmbedding.from_config(ToyConfig())
