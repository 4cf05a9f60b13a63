from __future__ import annotations

from pathlib import Path

import pytest
import torch

from msformers.inference.loading import CheckpointError, load_embedder, load_retrieval, pick_device


def test_a_retrieval_checkpoint_loads_whole(tiny_specbridge: Path) -> None:
    loaded = load_retrieval(str(tiny_specbridge), "cpu")
    assert not loaded.model.training and loaded.model.device.type == "cpu"
    assert loaded.tokenizer(["CCO"])["input_ids"] and loaded.processor.model_input_names[0] == "peaks"


def test_an_encoder_alone_can_embed_but_not_retrieve(tmp_path: Path) -> None:
    import msformers
    from msformers.tokenization.dreams import DreamsFeatureExtractor

    entry = msformers.MODELS["dreams"]
    entry.model_class(entry.tiny_config()).save_pretrained(tmp_path)
    DreamsFeatureExtractor().save_pretrained(tmp_path)
    loaded = load_embedder(str(tmp_path), "cpu")
    assert hasattr(loaded.model, "forward") and loaded.tokenizer is None
    with pytest.raises(CheckpointError, match="no checkpoint for AutoModelForMoleculeRetrieval"):
        load_retrieval(str(tmp_path), "cpu")


def test_missing_checkpoints_devices_and_dtypes_are_explained(tmp_path: Path, tiny_specbridge: Path) -> None:
    with pytest.raises(CheckpointError, match="msformers info"):
        load_retrieval(str(tmp_path), "cpu")
    with pytest.raises(CheckpointError, match="--device cpu"):
        pick_device("quantum")
    with pytest.raises(CheckpointError, match="float32, bfloat16"):
        load_retrieval(str(tiny_specbridge), "cpu", "int3")
    assert load_retrieval(str(tiny_specbridge), "cpu", "bfloat16").model.dtype == torch.bfloat16
