"""What the pipelines with a trained head say: values with names and units, bits, labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoTokenizer, pipeline

import msformers
from msformers import checkpoints
from msformers.inference.prediction_pipelines import label_names
from msformers.spectra.descriptors import DESCRIPTOR_NAMES
from msformers.spectra.read import read
from msformers.tokenization.casanovo import CasanovoFeatureExtractor

DEMO = Path(msformers.__file__).parent / "demo" / "demo.mgf"
PEPTIDE = {
    "mz": np.linspace(101.0, 401.0, 30).tolist(),
    "intensity": np.linspace(0.3, 1.0, 30).tolist(),
    "precursor_mz": 420.0,
    "charge": 1,
}


@pytest.fixture(scope="module")
def spectra() -> list[Any]:
    return list(read(DEMO))


@pytest.fixture(scope="module")
def properties() -> Any:
    return msformers.pipeline("molecular-property-prediction", device="cpu")


@pytest.fixture(scope="module")
def fingerprint() -> Any:
    return msformers.pipeline("molecular-fingerprint", device="cpu")


def classifier(folder: Path, **overrides: Any) -> Path:
    entry = msformers.MODELS["casanovo"]
    torch.manual_seed(0)
    config = entry.tiny_config(classification_tasks=["phospho", "glyco", "chimeric"], **overrides)
    for part in (
        entry.heads["AutoModelForSpectrumClassification"](config),
        CasanovoFeatureExtractor(),
    ):
        part.save_pretrained(folder)
    return folder


def test_properties_have_names_and_the_units_of_the_descriptors(properties: Any, spectra: list[Any]) -> None:
    answers = properties(spectra, batch_size=8)
    assert [answer["native_id"] for answer in answers] == [one.native_id for one in spectra]
    assert tuple(answers[0]["properties"]) == DESCRIPTOR_NAMES
    extractor = AutoFeatureExtractor.from_pretrained(checkpoints.resolve_checkpoint("lsm1-small"))
    expected = properties.model(**extractor(spectra)).properties.detach().numpy()
    found = np.array([list(answer["properties"].values()) for answer in answers])
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-3)
    weight = [answer["properties"]["MolWt"] for answer in answers]
    assert min(weight) > 50 and np.corrcoef(weight, [one.precursor_mz for one in spectra])[0, 1] > 0.5


def test_properties_by_name(properties: Any, spectra: list[Any]) -> None:
    everything = properties(spectra[0])["properties"]
    chosen = properties(spectra[0], properties=["TPSA", "MolWt"])["properties"]
    assert chosen == {"TPSA": everything["TPSA"], "MolWt": everything["MolWt"]}
    assert list(chosen) == ["TPSA", "MolWt"]
    with pytest.raises(ValueError, match=r"no property 'MolWT'; near to it: .*MolWt"):
        properties(spectra[0], properties=["MolWT"])


def test_a_spectrum_without_what_the_model_needs_has_a_row(properties: Any, fingerprint: Any) -> None:
    bare = {"mz": [100.0, 150.0], "intensity": [1.0, 0.5], "native_id": "bare"}
    answer = properties([bare])[0]
    assert (answer["status"], answer["properties"]) == ("failed", None) and "precursor" in answer["reason"]
    read_anyway = fingerprint([bare])[0]
    assert read_anyway["status"] == "ok" and "precursor m/z is missing" in read_anyway["reason"]
    assert fingerprint({"mz": [1.0]})["bits"] is None


def test_bits_are_those_of_the_molecule_more_often_than_not(fingerprint: Any, spectra: list[Any]) -> None:
    known = [one for one in spectra if one.smiles]
    assert len(known) == 4
    folder = checkpoints.resolve_checkpoint("nexamass-small")
    tokens = AutoTokenizer.from_pretrained(folder)([one.smiles for one in known]).input_ids
    answers = fingerprint(known, batch_size=8)
    right = [
        len(set(answer["bits"]) & {token - 2 for token in ids})
        for answer, ids in zip(answers, tokens, strict=True)
    ]
    assert sum(right) > 0.5 * sum(len(answer["bits"]) for answer in answers)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    with torch.no_grad():
        expected = fingerprint.model.encode(**extractor(known)).fingerprint.numpy()
    assert np.allclose([answer["probabilities"] for answer in answers], expected, atol=1e-4)


def test_bits_above_a_threshold(fingerprint: Any, spectra: list[Any]) -> None:
    for threshold in (0.0, 0.3, 0.5, 0.9):
        answer = fingerprint(spectra[0], threshold=threshold)
        chances = np.array(answer["probabilities"])
        assert len(chances) == 2048 and answer["bits"] == np.flatnonzero(chances >= threshold).tolist()
    assert fingerprint(spectra[0])["bits"] == fingerprint(spectra[0], threshold=0.5)["bits"]
    with pytest.raises(ValueError, match="between 0 and 1, got 2"):
        fingerprint(spectra[0], threshold=2)


def test_labels_that_may_all_be_true(tmp_path: Path) -> None:
    classify = pipeline("spectrum-classification", model=str(classifier(tmp_path)), device="cpu")
    answer = classify(PEPTIDE)
    inputs = classify.feature_extractor([PEPTIDE])
    expected = classify.model(**inputs).logits.sigmoid()[0].tolist()
    assert answer["scores"] == pytest.approx(
        dict(zip(["phospho", "glyco", "chimeric"], expected, strict=True))
    )
    assert list(answer["scores"].values()) == sorted(expected, reverse=True)
    middle = sorted(expected)[1]
    for threshold, count in ((0.0, 3), (middle - 1e-6, 2), (1.0, 0)):
        assert classify(PEPTIDE, threshold=threshold)["labels"] == list(answer["scores"])[:count]
    failed = classify({**PEPTIDE, "charge": None})
    assert (failed["status"], failed["labels"], failed["scores"]) == ("failed", None, None)


def test_labels_that_exclude_each_other(tmp_path: Path) -> None:
    names = {0: "none", 1: "one", 2: "many"}
    folder = classifier(tmp_path, problem_type="single_label_classification", id2label=names)
    answer = pipeline("spectrum-classification", model=str(folder), device="cpu")(PEPTIDE, threshold=1.0)
    assert set(answer["scores"]) == {"none", "one", "many"} and sum(
        answer["scores"].values()
    ) == pytest.approx(1)
    assert answer["labels"] == [max(answer["scores"], key=answer["scores"].__getitem__)]


def test_names_of_labels() -> None:
    config = msformers.MODELS["casanovo"].tiny_config(classification_tasks=["phospho"])
    assert label_names(config, 1) == ["phospho"]
    assert label_names(msformers.MODELS["lsm1"].tiny_config(), 3) == ["LABEL_0", "LABEL_1", "LABEL_2"]


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("molecular-property-prediction", "lsm1-small-masked"),
        ("molecular-property-prediction", "lsm1-small-similarity"),
    ],
)
def test_a_head_with_random_weights_is_refused(task: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"no trained head|names no properties"):
        msformers.pipeline(task, model=name, device="cpu")


def test_an_adapter_brings_the_head_that_its_base_lacks(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    entry, extractor = msformers.MODELS["casanovo"], CasanovoFeatureExtractor()
    torch.manual_seed(0)
    for part in (entry.model_class(entry.tiny_config()), extractor):
        part.save_pretrained(tmp_path / "base")
    with pytest.raises(ValueError, match="holds CasanovoModel and no trained head"):
        pipeline("spectrum-classification", model=str(tmp_path / "base"), device="cpu")
    base = msformers.AutoModelForSpectrumClassification.from_pretrained(tmp_path / "base")
    config = peft.LoraConfig(target_modules=list(entry.lora), modules_to_save=["heads.0"])
    adapted = peft.get_peft_model(base, config).eval()
    for part in (adapted, extractor):
        part.save_pretrained(tmp_path / "adapter")
    task = "spectrum-classification"
    whole = pipeline(task, model=adapted, feature_extractor=extractor, device="cpu")
    loaded = pipeline(task, model=str(tmp_path / "adapter"), device="cpu")
    assert whole(PEPTIDE)["scores"] == pytest.approx(loaded(PEPTIDE)["scores"])


@pytest.mark.parametrize("task", ["spectrum-classification", "peptide-sequencing"])
def test_a_task_without_shipped_weights_asks_for_a_model(task: str) -> None:
    with pytest.raises(ValueError, match=f"no checkpoint for {task} is shipped; give one"):
        msformers.pipeline(task)


def test_every_task_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers
    from transformers.pipelines import PIPELINE_REGISTRY

    asked = {}
    monkeypatch.setattr(transformers, "pipeline", lambda task, model, **_: asked.update({task: model}))
    for task, name in checkpoints.DEFAULTS.items():
        assert task in PIPELINE_REGISTRY.get_supported_tasks()
        if name is not None:
            msformers.pipeline(task)
            assert asked[task] == checkpoints.resolve_checkpoint(name)
    msformers.pipeline("text-classification")
    assert asked["text-classification"] is None
