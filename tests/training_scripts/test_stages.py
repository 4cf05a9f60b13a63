"""Every stage runs its tiny recipe, and a run that is stopped and resumed ends where an unbroken one does."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from stage_runs import start
from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer, Trainer

import msformers

BRIDGES = {
    "align": [],
    "contrastive": ["model.bridge.objective=contrastive", "model.procrustes=40"],
    "hard_negative": [
        *(
            "model.bridge.objective=hard_negative",
            "model.bridge.molecule_projection_dim=24",
            "data.negatives=3",
        ),
        *("data.negative_kind=mass", "training.gradient_accumulation_steps=2"),
    ],
    "code_mode": [
        "model.bridge={n_blocks: 1, projection_dim: 32, projection_hidden: 16}",
        "model.extractor={}",
    ],
}
RUNS = [
    ("pretrain_dreams", []),
    ("pretrain_dreams", ["data.retention_order=true", "model.config.num_mz_bins=50"]),
    ("pretrain_smiles", ["data.limit=40", "data.eval_size=8"]),
    ("pretrain_lsm1", []),
    ("pretrain_lsm1", ["data.streaming=true", "data.block=24", "training.gradient_accumulation_steps=2"]),
    ("train_properties", ["model.config.hidden_dropout=0.2", "data.fraction=0.5", "data.patience=9"]),
    ("train_similarity", []),
    ("pretrain_nexamass", ["data.min_peaks=2"]),
    ("train_nexamass", []),
    *(("align_specbridge", settings) for settings in BRIDGES.values()),
]


@pytest.mark.parametrize(("stage", "settings"), RUNS)
def test_resuming_gives_the_same_weights(stage, settings, data, tmp_path, monkeypatch):
    settings = [*settings, "training.save_total_limit=9"]
    whole = start(stage, data, tmp_path / "whole", settings)
    # with dropout in the model this also needs the random state of the checkpoint
    broken = tmp_path / "broken"

    def stop(self, *args, **kwargs):
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    step = Trainer.training_step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", stop)
        with pytest.raises(KeyboardInterrupt):
            start(stage, data, broken, settings)
    resumed = start(stage, data, broken, settings, resume=True)
    for name in ("checkpoint-4", "checkpoint-6"):
        weights = [
            load_file(folder / "checkpoints" / name / "model.safetensors")
            for folder in (tmp_path / "whole", broken)
        ]
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0]), name
    timeless = {key for key in whole if not key.endswith(("runtime", "per_second"))}
    assert {key: whole[key] for key in timeless} == {key: resumed[key] for key in timeless}
    steps = [row["step"] for row in json.loads((broken / "log.json").read_text()) if "loss" in row]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_the_aligned_model_loads_and_ranks(data, tmp_path):
    figures = start("align_specbridge", data, tmp_path)
    folder = tmp_path / "model"
    model = msformers.AutoModelForMoleculeRetrieval.from_pretrained(folder).eval()
    extractor, tokenizer = AutoFeatureExtractor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    spectra = model.get_spectrum_features(
        **extractor([{"mz": [50.0, 77.04], "intensity": [1.0, 0.2], "precursor_mz": 95.05}])
    )
    batch = tokenizer(["Oc1ccccc1", "Nc1ccccc1"], padding=True, return_tensors="pt")
    assert model.similarity(spectra, model.get_molecule_features(**batch)).shape == (1, 2)
    assert 0 <= figures["recall_at_1"] <= figures["recall_at_5"] <= figures["recall_at_20"] <= 1
    rows = json.loads((tmp_path / "figures.json").read_text())
    assert [row["order"] for row in rows] == ["model", "random"] and 0 < rows[1]["recall_at_1"] < 1
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    assert recipe["training"]["max_steps"] == 6 and recipe["environment"]["torch"] == torch.__version__


def test_the_best_checkpoint_by_recall_at_5_is_kept(data, tmp_path):
    start("align_specbridge", data, tmp_path, ["training.learning_rate=0.05"])
    log = json.loads((tmp_path / "log.json").read_text())
    measured = {row["step"]: row["eval_recall_at_5"] for row in log if "eval_recall_at_5" in row}
    final = json.loads((tmp_path / "figures.json").read_text())[0]
    assert set(measured) == {2, 4, 6} and final["recall_at_5"] == max(measured.values())


def test_the_pretrained_encoders_feed_the_alignment(data, tmp_path):
    start("pretrain_dreams", data, tmp_path / "dreams")
    start("pretrain_smiles", data, tmp_path / "smiles", ["data.limit=40", "data.eval_size=8"])
    ends = {"spectrum": tmp_path / "dreams" / "model", "molecule": tmp_path / "smiles" / "model"}
    start(
        *("align_specbridge", data, tmp_path / "bridge"),
        [f"model.{end}={{checkpoint: {folder}}}" for end, folder in ends.items()],
    )
    bridge = AutoModel.from_pretrained(tmp_path / "bridge" / "model")
    for end, folder in ends.items():
        encoder = AutoModel.from_pretrained(folder).state_dict()
        ours = getattr(bridge, f"{end}_encoder").state_dict()
        changed = {name for name in encoder if not torch.equal(encoder[name], ours[name])}
        assert all(name.startswith("layers.1.") for name in changed), changed
        assert (end == "spectrum") == bool(changed)


def test_lora_trains_adapters_and_ships_plain_weights(data, tmp_path):
    start("align_specbridge", data, tmp_path, ["lora={r: 2, lora_alpha: 4}", "model.bridge.unfreeze_last=0"])
    adapters = load_file(tmp_path / "checkpoints" / "checkpoint-6" / "adapter_model.safetensors")
    assert any("spectrum_encoder" in name and "lora_A" in name for name in adapters)
    assert any("mapper" in name for name in adapters) and not any(
        "molecule_encoder" in name for name in adapters
    )
    model, info = AutoModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(info.values()) and not any("lora" in name for name in model.state_dict())


def test_blocks_can_wait_before_they_are_trained(data, tmp_path):
    start("align_specbridge", data, tmp_path, ["model.unfreeze_at_step=4", "training.save_total_limit=5"])
    weights = [
        load_file(tmp_path / "checkpoints" / f"checkpoint-{step}" / "model.safetensors") for step in (2, 4, 6)
    ]
    name = "spectrum_encoder.layers.1.mlp.up_proj.weight"
    assert torch.equal(weights[0][name], weights[1][name]) and not torch.equal(
        weights[1][name], weights[2][name]
    )
    assert not torch.equal(weights[0]["mapper.W.weight"], weights[1]["mapper.W.weight"])


def test_our_losses_are_not_rescaled(data, tmp_path, monkeypatch):
    """Under gradient accumulation the logged loss stays that of one batch (huggingface.md, trap 1)."""
    seen = []
    monkeypatch.setattr(
        Trainer, "_get_grad_norm", lambda self, *a, **k: seen.append(self.model_accepts_loss_kwargs) or None
    )
    settings = ["training.max_steps=1", "training.eval_steps=1", "training.save_steps=1"]
    start("align_specbridge", data, tmp_path / "one", [*settings, "training.per_device_train_batch_size=16"])
    start(
        *("align_specbridge", data, tmp_path / "two"),
        [*settings, "training.gradient_accumulation_steps=2"],
    )
    losses = [json.loads((tmp_path / run / "log.json").read_text())[0]["loss"] for run in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=0.15)
    assert set(seen) == {False}


def test_an_existing_run_is_not_overwritten_and_nothing_cannot_be_resumed(data, tmp_path):
    with pytest.raises(FileNotFoundError, match="without --resume"):
        start("pretrain_dreams", data, tmp_path, resume=True)
    start("pretrain_dreams", data, tmp_path)
    with pytest.raises(FileExistsError, match="--resume"):
        start("pretrain_dreams", data, tmp_path)
