from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

import msformers
from msformers.tokenization.selfies import build_selfies_tokenizer, selfies_alphabet


@pytest.fixture
def run(tmp_path):
    entry = msformers.MODELS["selfies-bert"]
    torch.manual_seed(0)
    entry.model_class(entry.tiny_config()).save_pretrained(tmp_path / "run" / "model")
    build_selfies_tokenizer(selfies_alphabet(["[C][O]"])).save_pretrained(tmp_path / "run" / "model")
    (tmp_path / "run" / "log.csv").write_text("loss,step\n1.0,1\n")
    return tmp_path / "run"


def test_weights_are_stored_in_half_and_loaded_in_single_precision(run, tmp_path):
    from ship import ship

    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "README.md").write_text("card")
    size = ship(run, tmp_path / "card")
    assert size == sum(path.stat().st_size for path in (tmp_path / "card").iterdir())
    names = {path.name for path in (tmp_path / "card").iterdir()}
    assert {"README.md", "model.safetensors", "config.json", "tokenizer.json", "training_log.csv"} <= names
    assert {tensor.dtype for tensor in load_file(tmp_path / "card" / "model.safetensors").values()} == {
        torch.float16
    }
    before, after = AutoModel.from_pretrained(run / "model"), AutoModel.from_pretrained(tmp_path / "card")
    assert after.dtype == torch.float32
    for key, value in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[key], value, atol=1e-6, rtol=1e-3)
    assert "_name_or_path" not in json.loads((tmp_path / "card" / "config.json").read_text())


def test_a_weight_beyond_half_precision_is_named(run, tmp_path):
    from ship import ship

    weights = load_file(run / "model" / "model.safetensors")
    name = next(iter(weights))
    weights[name].view(-1)[0] = 1e6
    save_file(weights, run / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        ship(run, tmp_path / "card")
    ship(run, tmp_path / "card", keep=[name])
    assert load_file(tmp_path / "card" / "model.safetensors")[name].dtype == torch.float32
