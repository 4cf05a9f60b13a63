"""What the stages of LSM1 hand to each other and to a user."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stage_runs import SCRIPTS, start
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

import msformers
from msformers.spectra.descriptors import DESCRIPTOR_NAMES

SPECTRA = [{"mz": [50.0, 77.04], "intensity": [1.0, 0.2], "precursor_mz": 95.05}]
ONE_STEP = ["training.max_steps=1", "training.eval_steps=1", "training.save_steps=1"]


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory):
    """A pre-trained tiny LSM1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        folder = tmp_path_factory.mktemp("lsm1")
        start("pretrain_lsm1", data, folder)
    return folder


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_pretraining_keeps_the_checkpoint_of_lowest_loss(pretrained):
    log = json.loads((pretrained / "log.json").read_text())
    losses = [row["eval_loss"] for row in log if "eval_loss" in row]
    final = json.loads((pretrained / "figures.json").read_text())[0]
    assert final["eval_loss"] == min(losses)
    parts = [final[f"eval_loss_{name}"] for name in ("integer", "fraction", "intensity")]
    assert final["eval_loss"] == pytest.approx(100 * parts[0] + parts[1] + parts[2], rel=1e-5)
    assert all(final[f"eval_mz_error_{kind}"] >= 0 for kind in ("masked", "visible"))


def test_properties_from_a_pretrained_checkpoint(pretrained, data, tmp_path):
    settings = [f"model.checkpoint={pretrained}/model", "model.config={property_dropout: 0.1}"]
    figures = start("train_properties", data, tmp_path, settings)
    model = msformers.AutoModelForMolecularPropertyPrediction.from_pretrained(tmp_path / "model").eval()
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "model")
    found = model(**extractor(SPECTRA)).properties[0]
    assert model.config.property_names == list(DESCRIPTOR_NAMES) and model.config.property_dropout == 0.1
    assert 40 < found[DESCRIPTOR_NAMES.index("MolWt")] < 400  # that of the training molecules is near 120
    assert figures["eval_mean_r2"] > -1 and figures["eval_spectra"] > 0
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    assert recipe["model"]["checkpoint"].endswith("model")


@pytest.mark.parametrize("stage", ["train_properties", "train_similarity"])
def test_a_probe_leaves_the_encoder_as_it_is(stage, pretrained, data, tmp_path):
    settings = [f"model.checkpoint={pretrained}/model", "model.config={}", "model.freeze_encoder=true"]
    start(stage, data, tmp_path, [*settings, "training.save_total_limit=9"])
    before = weights(AutoModel.from_pretrained(pretrained / "model"))
    after = weights(AutoModel.from_pretrained(tmp_path / "model"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    heads = [load_file(tmp_path / "checkpoints" / f"checkpoint-{n}" / "model.safetensors") for n in (4, 6)]
    head = next(name for name in heads[0] if name.endswith(("_head.weight", "_head.linear.weight")))
    assert not torch.equal(heads[0][head], heads[1][head])


@pytest.mark.parametrize("stage", ["train_properties", "train_similarity"])
def test_lora_gives_an_adapter_and_the_merged_model(stage, pretrained, data, tmp_path):
    settings = [f"model.checkpoint={pretrained}/model", "model.config={}", "lora={r: 2, lora_alpha: 4}"]
    start(stage, data, tmp_path, [*settings, "training.learning_rate=0.05"])
    names = set(load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    assert any("lora_A" in name for name in names) and any("_head" in name for name in names)
    assert not any("embeddings" in name for name in names)
    kind = "MolecularPropertyPrediction" if stage == "train_properties" else "SpectrumSimilarity"
    auto = getattr(msformers, f"AutoModelFor{kind}")
    merged, info = auto.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(info.values()) and not any("lora" in name for name in merged.state_dict())
    config = AutoConfig.from_pretrained(tmp_path / "adapter", subfolder="config")
    adapted = auto.from_pretrained(tmp_path / "adapter", config=config).eval()
    batch = AutoFeatureExtractor.from_pretrained(tmp_path / "model")(SPECTRA)
    key = "properties" if stage == "train_properties" else "embeddings"
    torch.testing.assert_close(adapted(**batch)[key], merged.eval()(**batch)[key], rtol=1e-4, atol=1e-4)


def test_ms2prop_trains_by_the_same_script(data, tmp_path):
    config = "{model_type: msf_ms2prop, lookup_size: 23, hidden_size: 24, num_hidden_layers: 1, "
    config += "num_attention_heads: 6, intermediate_size: 48}"
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        f"model: {{config: {config}}}\ntraining: {{max_steps: 2, eval_steps: 1, save_steps: 1}}\n"
    )
    start("train_properties", data, tmp_path / "run", ["data.fraction=0.3"], recipe=str(recipe))
    model = AutoModel.from_pretrained(tmp_path / "run" / "model")
    assert model.config.model_type == "msf_ms2prop"


def test_training_begins_at_the_mean_of_the_training_molecules(data, tmp_path):
    """With a rate of nearly nothing the head says the mean: R² is then near 0, not far below."""
    figures = start("train_properties", data, tmp_path, [*ONE_STEP, "training.learning_rate=1e-9"])
    assert -0.7 < figures["eval_mean_r2"] < 0.1


def test_early_stopping(data, tmp_path):
    settings = [
        "data.patience=1",
        "training.max_steps=50",
        "training.learning_rate=0",
        "training.eval_steps=2",
    ]
    start("train_properties", data, tmp_path, settings)
    log = json.loads((tmp_path / "log.json").read_text())
    assert max(row["step"] for row in log) < 10


def test_similarity_is_measured_over_deciles(data, tmp_path):
    figures = start("train_similarity", data, tmp_path, ONE_STEP)
    each = [value for key, value in figures.items() if key.startswith("eval_rmse_")]
    assert 1 < len(each) <= 10 and figures["eval_rmse"] == pytest.approx(np.mean(each))
    assert -1 <= figures["eval_pearson"] <= 1


def test_a_model_section_needs_a_model(data, tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text("training: {max_steps: 1}\n")
    with pytest.raises(ValueError, match="checkpoint, or config with model_type"):
        start("train_properties", data, tmp_path / "run", recipe=str(recipe))
