"""NexaMass: from pre-training to structures, views of a spectrum, LoRA."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stage_runs import start
from transformers import AutoFeatureExtractor, AutoTokenizer

import msformers
from msformers.tokenization.nexamass import NexaMassFeatureExtractor

ITEM = {
    "mz": np.linspace(60, 300, 30),
    "intensity": np.linspace(0.1, 1, 30),
    "precursor_mz": 320.1,
    "epoch": 2,
    "index": 1,
}


def test_views_differ_and_can_be_made_again():
    from data import Augmentation
    from views import ViewsCollator

    bits = torch.eye(4)
    collator = ViewsCollator(NexaMassFeatureExtractor(), Augmentation(peak_dropout=0.4), 7, bits, [3, 2])
    batch, again = collator([ITEM]), collator([ITEM])
    assert batch["views"] == 2
    assert len(batch["peaks"]) == 2
    assert not torch.equal(batch["attention_mask"][0], batch["attention_mask"][1]) or not torch.equal(
        batch["peaks"][0], batch["peaks"][1]
    )
    assert torch.equal(batch["peaks"], again["peaks"])
    assert batch["molecule_ids"].tolist() == [2, 2]
    assert torch.equal(batch["fingerprints"], bits[[2, 2]])
    other = collator([{**ITEM, "epoch": 3}])
    assert other["peaks"].shape != batch["peaks"].shape or not torch.equal(other["peaks"], batch["peaks"])


def test_one_view_without_augmentation():
    from views import ViewsCollator

    batch = ViewsCollator(NexaMassFeatureExtractor(), None, 7)([ITEM])
    assert batch["views"] == 1
    assert "fingerprints" not in batch
    np.testing.assert_allclose(batch["peaks"][0, :, 0], ITEM["mz"], rtol=1e-6)


def test_pre_training_reports_collapse_and_hands_its_encoder_on(data, tmp_path):
    figures = start("pretrain_nexamass", data, tmp_path / "pre")
    assert 0 < figures["eval_spread"] <= 1
    assert 0 <= figures["eval_twin_first"] <= 1
    changes = [
        f"model.checkpoint={tmp_path}/pre/model",
        "model.config={fingerprint_hidden: 8, query_hidden: 8, target_hidden: 8, projection_size: 8}",
        *(
            "training.max_steps=1",
            "training.eval_steps=1",
            "training.save_steps=1",
            "training.learning_rate=0.0",
        ),
    ]
    start("train_nexamass", data, tmp_path / "structure", changes)
    before, after = (
        load_file(tmp_path / stage / "model" / "model.safetensors") for stage in ("pre", "structure")
    )
    shared = [name for name in before if name.startswith(("model.", "ssl_head."))]
    assert shared
    assert all(torch.equal(before[name], after[name]) for name in shared)


def test_lora_trains_adapters_and_heads_and_ships_plain_weights(data, tmp_path):
    start("train_nexamass", data, tmp_path, ["lora={r: 2, lora_alpha: 4}"])
    adapters = load_file(tmp_path / "checkpoints" / "checkpoint-6" / "adapter_model.safetensors")
    assert any("lora_A" in name for name in adapters)
    assert any("fingerprint_head" in name for name in adapters)
    model = msformers.AutoModelForMolecularFingerprint.from_pretrained(tmp_path / "model").eval()
    assert not any("lora" in name for name in model.state_dict())
    encoding = model.encode(**AutoFeatureExtractor.from_pretrained(tmp_path / "model")(ITEM))
    assert encoding.fingerprint.shape == (1, model.config.fingerprint_size)
    assert AutoTokenizer.from_pretrained(tmp_path / "model").n_bits == model.config.fingerprint_size


def test_the_recipe_of_the_shipped_size_fits_its_limit():
    """fp16 weights of recipes/train_nexamass_small.yaml with the vocabulary of 8,053 compositions: below 30 MB."""
    from recipe import load_recipe

    from msformers.modeling.nexamass_config import NexaMassConfig
    from msformers.modeling.nexamass_structure import NexaMassForStructurePrediction

    fields = load_recipe("train_nexamass", "small").model["config"]
    with torch.device("meta"):
        model = NexaMassForStructurePrediction(
            NexaMassConfig(annotation_size=1 + 2 * 1005 + 2 * 8053, context_size=74, **fields)
        )
    assert 2 * sum(parameter.numel() for parameter in model.parameters()) < 29.5e6


@pytest.mark.parametrize("stage", ["pretrain_nexamass", "train_nexamass"])
def test_an_unknown_key_of_a_recipe_is_named(stage, data, tmp_path):
    with pytest.raises(ValueError, match="no_such_key"):
        start(stage, data, tmp_path, ["data.no_such_key=1"])
