"""transformers, peft and datasets with our classes against the Hub of the tests: their own methods, nothing of ours between."""

from __future__ import annotations

import logging
from pathlib import Path

import datasets
import pytest
import torch
from hub.folders import CARD, SPECTRUM, embed, save_adapter, save_encoder
from hub.server import HubServer
from huggingface_hub import HfApi, ModelCard
from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer, pipeline

import msformers
from msformers.inference.retrieval.bank import MoleculeBank
from msformers.publish import PublishError, push_to_hub

MOLECULES = ("CCO", "CC(=O)O", "c1ccccc1O", "CC(C)Cc1ccc(C(C)C(=O)O)cc1")


def test_push_to_hub_of_model_extractor_and_card(hub: HubServer, encoder: Path) -> None:
    model, extractor = AutoModel.from_pretrained(encoder), AutoFeatureExtractor.from_pretrained(encoder)
    ModelCard(CARD).validate()
    HfApi().create_repo("alice/encoder")
    ModelCard(CARD).push_to_hub("alice/encoder")
    model.push_to_hub("alice/encoder")
    extractor.push_to_hub("alice/encoder")
    HfApi().create_tag("alice/encoder", tag="v1")
    assert ModelCard.load("alice/encoder").content == CARD
    loaded = AutoModel.from_pretrained("alice/encoder", revision="v1")
    assert type(loaded) is type(model)
    again = AutoFeatureExtractor.from_pretrained("alice/encoder", revision="v1")
    assert torch.equal(embed(loaded, again), embed(model, extractor))


def test_push_to_hub_of_a_generator_with_its_tokenizer(hub: HubServer, tiny_denovo: Path) -> None:
    model = msformers.AutoModelForMoleculeGeneration.from_pretrained(tiny_denovo)
    tokenizer = AutoTokenizer.from_pretrained(tiny_denovo)
    for part in (model, tokenizer, AutoFeatureExtractor.from_pretrained(tiny_denovo)):
        part.push_to_hub("alice/denovo", private=True)
    assert HfApi().model_info("alice/denovo").private
    loaded = msformers.AutoModelForMoleculeGeneration.from_pretrained("alice/denovo")
    assert {k: v.sum() for k, v in loaded.state_dict().items()} == {
        k: v.sum() for k, v in model.state_dict().items()
    }
    assert AutoTokenizer.from_pretrained("alice/denovo")("[C][O]").input_ids == tokenizer("[C][O]").input_ids


def test_push_to_hub_of_an_adapter(hub: HubServer, encoder: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    push_to_hub(encoder, "alice/encoder")
    _, adapted = save_adapter("alice/encoder", tmp_path / "adapter", "main")
    adapted.push_to_hub("alice/adapter")
    extractor = AutoFeatureExtractor.from_pretrained("alice/encoder")
    by_peft = PeftModel.from_pretrained(AutoModel.from_pretrained("alice/encoder"), "alice/adapter")
    by_auto = AutoModel.from_pretrained("alice/adapter")
    for loaded in (by_peft, by_auto):
        assert torch.equal(embed(loaded, extractor), embed(adapted, extractor))


def test_an_adapter_is_loaded_on_the_revision_it_names(
    hub: HubServer,
    encoder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The base moves on after v1. peft reads the revision; transformers' own Auto classes (5.23) take main instead."""
    from peft import AutoPeftModel

    monkeypatch.setattr(logging.getLogger("msformers"), "propagate", True)

    push_to_hub(encoder, "alice/encoder")
    HfApi().create_tag("alice/encoder", tag="v1")
    folder, adapted = save_adapter("alice/encoder", tmp_path / "adapter", "v1")
    push_to_hub(folder, "alice/adapter")
    push_to_hub(save_encoder(tmp_path / "next", seed=5), "alice/encoder")
    extractor = AutoFeatureExtractor.from_pretrained("alice/encoder")
    loaded = AutoPeftModel.from_pretrained("alice/adapter", import_allowlist=["msformers"])
    assert torch.equal(embed(loaded, extractor), embed(adapted, extractor))
    base = AutoModel.from_pretrained("alice/encoder", revision="v1")
    base.load_adapter("alice/adapter")
    assert torch.equal(embed(base, extractor), embed(adapted, extractor))
    push_to_hub(folder, "alice/adapter")
    (warning,) = [
        record.getMessage()
        for record in caplog.records
        if record.name == "msformers.publish" and record.levelname == "WARNING"
    ]
    assert "alice/encoder has moved on since 'v1'" in warning


def test_a_folder_of_processors_alone(hub: HubServer, tiny_specbridge: Path, tmp_path: Path) -> None:
    extractor, tokenizer = (
        auto.from_pretrained(tiny_specbridge) for auto in (AutoFeatureExtractor, AutoTokenizer)
    )
    for part in (extractor, tokenizer):
        part.save_pretrained(tmp_path / "parts")
    (tmp_path / "parts/README.md").write_text(CARD)
    assert push_to_hub(tmp_path / "parts", "alice/parts").plan.kind == "processor"
    assert AutoTokenizer.from_pretrained("alice/parts")("CCO").input_ids == tokenizer("CCO").input_ids
    assert AutoFeatureExtractor.from_pretrained("alice/parts").to_dict() == extractor.to_dict()


def test_pipeline_from_a_hub_id_at_a_tag(hub: HubServer, encoder: Path) -> None:
    push_to_hub(encoder, "alice/encoder")
    HfApi().create_tag("alice/encoder", tag="v1")
    local = pipeline("spectrum-embedding", model=str(encoder))
    remote = pipeline("spectrum-embedding", model="alice/encoder", revision="v1")
    assert remote(SPECTRUM) == local(SPECTRUM)
    with pytest.raises(OSError, match="v2"):
        pipeline("spectrum-embedding", model="alice/encoder", revision="v2")


def test_spectra_as_a_dataset_load_and_stream(hub: HubServer, tmp_path: Path) -> None:
    spectra = datasets.Dataset.from_dict(
        {"mz": [[100.123456789, 200.0], [150.0]], "precursor_mz": [250.123456789, None]},
        features=datasets.Features(
            {"mz": datasets.List(datasets.Value("float64")), "precursor_mz": datasets.Value("float64")}
        ),
    )
    spectra.push_to_hub("alice/spectra", private=True)
    loaded = datasets.load_dataset("alice/spectra", split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.to_dict() == spectra.to_dict()
    assert list(datasets.load_dataset("alice/spectra", split="train", streaming=True)) == spectra.to_list()


@pytest.fixture
def bank(tiny_specbridge: Path, tmp_path: Path) -> Path:
    """A bank built from a file, with a card."""
    source = tmp_path / "molecules.smi"
    source.write_text("\n".join((*MOLECULES, "nonsense")) + "\n")
    model = msformers.AutoModelForMoleculeRetrieval.from_pretrained(tiny_specbridge).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_specbridge)
    MoleculeBank.build(source, model, tokenizer, tmp_path / "bank", workers=1, progress=False)
    (tmp_path / "bank/README.md").write_text(CARD)
    return tmp_path / "bank"


def test_a_bank_is_a_dataset_without_paths_and_loads_back(hub: HubServer, bank: Path, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    pushed = push_to_hub(bank, "alice/bank")
    assert pushed.plan.repo_type == "dataset" and pushed.plan.left_out == ("problems.jsonl",)
    assert HfApi().dataset_info("alice/bank").sha == pushed.commit
    folder = Path(snapshot_download("alice/bank", repo_type="dataset"))
    assert str(tmp_path) not in (folder / "manifest.json").read_text()
    local, remote = MoleculeBank.load(bank), MoleculeBank.load(folder)
    query = [0.1 * i for i in range(local.dim)]
    assert remote.search(query) == local.search(query) and len(remote) == len(MOLECULES)
    table = datasets.load_dataset("alice/bank", data_files="molecules.parquet", split="train")
    assert sorted(table["smiles"]) == sorted(hit.smiles for hit in local.search(query)[0])


def test_a_bank_that_changed_is_refused(hub: HubServer, bank: Path) -> None:
    shard = next(bank.glob("embeddings-*"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(PublishError, match=f"{shard.name}: has changed since the bank was built"):
        push_to_hub(bank, "alice/bank")
    with pytest.raises(PublishError, match="leave --type out"):
        push_to_hub(bank, "alice/bank", repo_type="model")
    assert hub.store.repositories == {}
