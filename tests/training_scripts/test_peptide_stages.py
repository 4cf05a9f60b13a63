"""Peptide sequencing and spectrum classification learned from spectra made in the test."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from peptide_ladders import mgf, peptide_spectrum
from safetensors.torch import load_file
from stage_runs import SCRIPTS, start
from transformers import AutoFeatureExtractor, AutoTokenizer, Trainer

import msformers

LETTERS = np.array(list("ADEFGHKLMNPQRSTVWY"))


def peptides(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(LETTERS, rng.integers(7, 12))) + "K" for _ in range(count)]


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """An MGF file of 40 spectra with SEQ=, and three records that cannot be learned from."""
    path = tmp_path_factory.mktemp("peptides") / "train.mgf"
    texts = [mgf(peptide_spectrum(peptide, seed=i), SEQ=peptide) for i, peptide in enumerate(peptides(40))]
    strange = mgf(peptide_spectrum("PEPTIDEK"), SEQ="PEPS[Phospho]IDEK")
    no_charge = peptide_spectrum("PEPTIDEK", charge=2)
    no_charge.charge = None
    path.write_text(
        "\n".join([*texts, strange, mgf(no_charge, SEQ="PEPTIDEK"), mgf(peptide_spectrum("PEPTIDEK"))])
    )
    return path


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Parquet shards of labelled peptide spectra, to stream."""
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(2):
        rows = []
        for i, peptide in enumerate(peptides(15, seed=shard + 1)):
            spectrum = peptide_spectrum(peptide, seed=i)
            peaks = {"mz": spectrum.mz.tolist(), "intensity": spectrum.intensity.tolist()}
            rows.append({**peaks, "precursor_mz": spectrum.precursor_mz, "charge": 2, "peptide": peptide})
            rows[-1]["is_good"] = str(bool(i % 2))
        pq.write_table(pa.Table.from_pylist(rows), folder / f"shard-{shard}.parquet")
    return folder


@pytest.fixture(scope="module")
def trained(annotated, tmp_path_factory):
    """A run of the tiny recipe."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        folder = tmp_path_factory.mktemp("trained")
        start("train_casanovo", annotated, folder, ["training.weight_decay=0.1"])
    return folder


def source(stage, annotated, shards):
    return annotated if stage == "train_casanovo" else shards / "shard-0.parquet"


RUNS = [
    ("train_casanovo", ["model.config.hidden_dropout=0.1"]),
    ("train_casanovo", ["data.streaming=true", "data.source=SHARDS", "data.block=8", "data.mixed_shards=1"]),
    ("train_casanovo", ["model.config.version='4'", "data.batch_by_length=false"]),
    ("train_spectrum_classifier", []),
]


@pytest.mark.parametrize(("stage", "settings"), RUNS)
def test_resuming_gives_the_same_weights(stage, settings, annotated, shards, tmp_path, monkeypatch):
    settings = [entry.replace("SHARDS", str(shards)) for entry in settings] + ["training.save_total_limit=9"]
    data = source(stage, annotated, shards)
    whole = start(stage, data, tmp_path / "whole", settings)

    def stop(self, *args, **kwargs):
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    step = Trainer.training_step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", stop)
        with pytest.raises(KeyboardInterrupt):
            start(stage, data, tmp_path / "broken", settings)
    resumed = start(stage, data, tmp_path / "broken", settings, resume=True)
    ends = [tmp_path / run / "checkpoints" / "checkpoint-6" for run in ("whole", "broken")]
    weights = [load_file(folder / "model.safetensors") for folder in ends]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    rates = [json.loads((folder / "trainer_state.json").read_text())["log_history"] for folder in ends]
    rates = [[row["learning_rate"] for row in rows if "learning_rate" in row] for rows in rates]
    assert rates[0] == rates[1] and len(rates[0]) == 6
    assert {key: whole[key] for key in whole} == {key: resumed[key] for key in resumed}


def test_the_published_schedule_and_optimiser(trained):
    import train_casanovo

    assert train_casanovo.half_cosine(0, 10, 100) == 0
    assert train_casanovo.half_cosine(5, 10, 100) == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 0.05)))
    assert train_casanovo.half_cosine(50, 10, 100) == pytest.approx(0.5)
    assert train_casanovo.half_cosine(100, 10, 100) == pytest.approx(0)
    log = json.loads((trained / "log.json").read_text())
    rates = [row["learning_rate"] for row in log if "learning_rate" in row]
    assert rates == pytest.approx(
        [1e-3 * train_casanovo.half_cosine(step, 2, 10) for step in range(6)], rel=1e-3
    )
    state = torch.load(trained / "checkpoints" / "checkpoint-6" / "optimizer.pt", weights_only=True)
    assert state["param_groups"][0]["weight_decay"] == 0.1 and not state["param_groups"][0].get(
        "decoupled_weight_decay"
    )


def test_what_cannot_be_learned_from_is_counted(annotated, caplog):
    import peptides as module

    from msformers.tokenization.casanovo import CasanovoFeatureExtractor
    from msformers.tokenization.peptides import PeptideTokenizer

    caplog.set_level("INFO", logger="msformers.training")
    prepare = module.Preparation(CasanovoFeatureExtractor(), PeptideTokenizer())
    train, held_out = module.load_peptides(annotated, prepare, 0.3)
    assert len(train) + len(held_out) == 40 and len(held_out) > 4
    for reason in ("no peptide is stated", "not in the vocabulary", "cannot be used"):
        assert reason in caplog.text
    assert module.is_held_out("PEPT[Phospho]IDE", 0.5) == module.is_held_out("PEPTLDE", 0.5)
    share = np.mean([module.is_held_out(peptide, 0.2) for peptide in peptides(2000, seed=9)])
    assert 0.17 < share < 0.23
    with pytest.raises(ValueError, match="SEQ="):
        module.load_peptides(annotated, prepare, 0.0)


def test_the_trained_model_sequences(trained):
    (figures,) = json.loads((trained / "figures.json").read_text())
    assert figures["eval_loss"] > 0 and figures["eval_peptide_accuracy"] == 0
    folder = trained / "model"
    model = msformers.AutoModelForPeptideSequencing.from_pretrained(folder).eval()
    batch = AutoFeatureExtractor.from_pretrained(folder)([peptide_spectrum("PEPTIDEK")])
    found = model.generate(**batch, precursor_tolerance=20.0, max_length=10)
    assert AutoTokenizer.from_pretrained(folder).batch_decode(found.sequences) is not None
    assert model.config.residue_masses[2] == pytest.approx(71.037114)


def test_adapters_on_encoder_and_decoder(trained, annotated, tmp_path):
    base = trained / "model"
    settings = [f"model.checkpoint={base}", "model.config={}", "lora={r: 2, lora_alpha: 4}"]
    start("train_casanovo", annotated, tmp_path / "tuned", settings)
    adapters = load_file(tmp_path / "tuned" / "adapter" / "adapter_model.safetensors")
    assert all("lora_" in name for name in adapters)
    assert any(".decoder." in name for name in adapters) and any(".model.layers" in name for name in adapters)
    before, after = (
        load_file(folder / "model.safetensors") for folder in (base, tmp_path / "tuned" / "model")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.endswith(("q_proj.weight", "v_proj.weight")) for name in changed)


def test_a_head_on_the_frozen_encoder_of_a_sequencing_model(trained, shards, tmp_path):
    labels = tmp_path / "labels.csv"
    names = [f"index={i}" for i in range(15)]
    labels.write_text(
        "native_id,odd,late\n" + "".join(f"{name},{i % 2},{i > 7 or ''}\n" for i, name in enumerate(names))
    )
    settings = [
        *(f"model.checkpoint={trained}/model", "model.config={classifier_sizes: [8]}"),
        *("model.freeze_encoder=true", f"data.label_file={labels}", "data.labels={odd: odd, late: late}"),
    ]
    figures = start("train_spectrum_classifier", shards / "shard-0.parquet", tmp_path / "head", settings)
    assert 0 <= figures["eval_auroc_odd"] <= 1
    before, after = (load_file(run / "model" / "model.safetensors") for run in (trained, tmp_path / "head"))
    shared = [name for name in after if name.startswith("model.")]
    assert shared and all(torch.equal(before[name], after[name]) for name in shared)
    model = msformers.AutoModelForSpectrumClassification.from_pretrained(tmp_path / "head" / "model")
    assert model.config.classification_tasks == ["odd", "late"] and model.config.freeze_encoder


def test_labels_that_cannot_be_read_are_named(shards, tmp_path):
    with pytest.raises(ValueError, match="is none of 1, 0, true"):
        start("train_spectrum_classifier", shards / "shard-0.parquet", tmp_path, ["data.labels={x: peptide}"])
    with pytest.raises(ValueError, match="no spectrum has a label in nothing"):
        start("train_spectrum_classifier", shards / "shard-0.parquet", tmp_path, ["data.labels={x: nothing}"])


@pytest.mark.slow
def test_a_small_model_learns_to_read_ladders(tmp_path):
    path = tmp_path / "train.mgf"
    texts = [
        mgf(peptide_spectrum(peptide, seed=i), SEQ=peptide) for i, peptide in enumerate(peptides(400, seed=5))
    ]
    path.write_text("\n".join(texts))
    settings = ["data.eval_share=0.05", "training.max_steps=600", "training.per_device_train_batch_size=32"]
    settings += [
        "training.warmup_steps=100",
        "training.lr_scheduler_kwargs={half_period: 700}",
        "training.eval_steps=200",
    ]
    settings += [
        "training.save_steps=200",
        "model.config.hidden_size=64",
        "model.config.intermediate_size=128",
    ]
    figures = start("train_casanovo", path, tmp_path / "run", settings)
    log = json.loads((tmp_path / "run" / "log.json").read_text())
    losses = [row["loss"] for row in log if "loss" in row]
    assert np.mean(losses[-50:]) < 0.6 * np.mean(losses[:50])
    assert figures["eval_residue_recall"] > 0.05
