"""On a checkpoint written here in the layout of the public one (specbridge.md §1); the public file itself is not stored."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoTokenizer,
    RobertaConfig,
    RobertaModel,
)

from msformers.modeling.convert.specbridge import convert_specbridge
from msformers.modeling.encodings import period_frequencies
from msformers.modeling.specbridge import SpecBridgeModel
from msformers.tokenization.smiles import build_smiles_tokenizer
from msformers.tokenization.spectrum import SpectrumFeatureExtractor

WIDTH, HIDDEN, OUT, BLOCKS = 32, 24, 36, 3


class Foreign:
    """A class that the reader must not import."""


def dreams_weights() -> dict[str, torch.Tensor]:
    frequencies = period_frequencies(1e-4, 1000)
    weights = {"fourier_enc.b": frequencies[None], "fourier_enc.Fourier frequencies": frequencies[None]}
    sizes = [2 * len(frequencies), 16, 20]
    for place, (a, b) in enumerate(itertools.pairwise(sizes)):
        weights[f"ff_fourier.ff.{3 * place}.weight"] = torch.randn(b, a) / a**0.5
        weights[f"ff_fourier.ff.{3 * place}.bias"] = torch.randn(b)
    weights |= {"ff_peak.ff.0.weight": torch.randn(12, 2), "ff_peak.ff.0.bias": torch.randn(12)}
    for layer in range(2):
        weights[f"transformer_encoder.atts.{layer}.weights"] = torch.randn(4 * WIDTH, WIDTH) / 6
        weights[f"transformer_encoder.ffs.{layer}.in_proj.weight"] = torch.randn(64, WIDTH) / 6
        weights[f"transformer_encoder.ffs.{layer}.out_proj.weight"] = torch.randn(WIDTH, 64) / 8
    for index in range(5):
        weights[f"transformer_encoder.scales.{index}.weight"] = torch.rand(WIDTH) + 0.5
        weights[f"transformer_encoder.scales.{index}.bias"] = torch.randn(WIDTH) / 10
    return weights


def linear(name: str, a: int, b: int) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": torch.randn(b, a) / a**0.5, f"{name}.bias": torch.randn(b) / 10}


def norm(name: str, size: int) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": torch.rand(size) + 0.5, f"{name}.bias": torch.randn(size) / 10}


def public_checkpoint(chemistry: RobertaModel, n_blocks: int = BLOCKS) -> dict[str, object]:
    model = {f"spec.dreams.{name}": tensor for name, tensor in dreams_weights().items()}
    model |= (
        linear("spec.proj.0.0", WIDTH, HIDDEN)
        | linear("spec.proj.0.2", HIDDEN, OUT)
        | norm("spec.proj.1", OUT)
    )
    width = chemistry.config.hidden_size
    model |= linear("mapB.W", OUT, width)
    for block in range(n_blocks):
        name = f"mapB.blocks.{block}"
        model |= (
            norm(f"{name}.ln", width) | linear(f"{name}.fc1", width, 20) | linear(f"{name}.fc2", 20, width)
        )
    model |= {f"chem_mdl.{name}": tensor for name, tensor in chemistry.state_dict().items()}
    model |= linear("chem_proj.0.0", width, HIDDEN) | {"contrast.log_tau": torch.tensor(-2.66)}
    args = argparse.Namespace(n_blocks=4, foreign=Foreign())
    return {"model": model, "opt": {"state": {}, "param_groups": []}, "step": 1200, "args": args}


@pytest.fixture(scope="module")
def chemistry() -> RobertaModel:
    torch.manual_seed(1)
    size = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
    return RobertaModel(
        RobertaConfig(vocab_size=200, max_position_embeddings=70, type_vocab_size=1, **size)
    ).eval()


@pytest.fixture(scope="module")
def molecule_folder(chemistry, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chemistry")
    chemistry.config.save_pretrained(folder)
    build_smiles_tokenizer(max_length=60).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(chemistry, tmp_path_factory) -> Path:
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("public") / "ckpt_001200.pt"
    torch.save(public_checkpoint(chemistry), path)
    return path


@pytest.fixture(scope="module")
def converted(checkpoint, molecule_folder, tmp_path_factory) -> Path:
    return convert_specbridge(checkpoint, tmp_path_factory.mktemp("out"), molecule=molecule_folder)


def test_the_depth_comes_from_the_keys_and_not_from_the_arguments(converted):
    config = AutoConfig.from_pretrained(converted)
    assert config.n_blocks == BLOCKS
    assert (config.projection_hidden, config.projection_dim, config.mapper_hidden) == (HIDDEN, OUT, 20)
    assert (config.pooling, config.score, config.normalize_targets) == ("mean_peaks", "dot", False)


def test_the_molecule_side_is_the_same_model(converted, chemistry):
    model = AutoModel.from_pretrained(converted).eval()
    batch = AutoTokenizer.from_pretrained(converted)(["CCO", "c1ccccc1"], padding=True, return_tensors="pt")
    expected = chemistry(**batch).last_hidden_state[:, 0]
    assert torch.allclose(model.get_molecule_features(**batch), expected, atol=1e-6)


def test_the_spectrum_side_computes_what_the_file_says(converted, checkpoint, chemistry):
    torch.manual_seed(2)
    weights = public_checkpoint(chemistry)["model"]
    model = SpecBridgeModel.from_pretrained(converted).eval()
    extractor = AutoFeatureExtractor.from_pretrained(converted)
    assert type(extractor) is SpectrumFeatureExtractor
    batch = extractor(
        [{"mz": [50.0, 61.5, 90.2], "intensity": [1.0, 0.5, 0.1]}, {"mz": [70.0], "intensity": [1.0]}]
    )
    hidden = model.spectrum_encoder(**batch).last_hidden_state
    pooled = torch.stack([hidden[0].mean(0), hidden[1, 0]])

    def apply(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def layer_norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    z = layer_norm("spec.proj.1", apply("spec.proj.0.2", F.gelu(apply("spec.proj.0.0", pooled))))
    mu = apply("mapB.W", F.normalize(z, dim=-1))
    for block in range(BLOCKS):
        name = f"mapB.blocks.{block}"
        mu = mu + apply(f"{name}.fc2", F.gelu(apply(f"{name}.fc1", layer_norm(f"{name}.ln", mu))))
    assert torch.allclose(model.get_spectrum_features(**batch), mu, atol=1e-5)


def test_the_packed_attention_is_split_into_its_parts(converted, chemistry):
    torch.manual_seed(2)
    weights = public_checkpoint(chemistry)["model"]
    encoder = SpecBridgeModel.from_pretrained(converted).spectrum_encoder
    packed = weights["spec.dreams.transformer_encoder.atts.1.weights"]
    ours = encoder.layers[1].attention
    rebuilt = torch.cat([part.weight for part in (ours.q_proj, ours.k_proj, ours.v_proj, ours.o_proj)])
    assert torch.equal(rebuilt, packed)
    assert torch.equal(encoder.norm.weight, weights["spec.dreams.transformer_encoder.scales.4.weight"])
    assert torch.equal(
        encoder.layers[1].mlp_norm.bias, weights["spec.dreams.transformer_encoder.scales.3.bias"]
    )


def test_without_the_molecule_folder_sizes_come_from_the_tensors(checkpoint, tmp_path, caplog):
    convert_specbridge(checkpoint, tmp_path, molecule_attention_heads=4)
    config = AutoConfig.from_pretrained(tmp_path).molecule_config
    assert (config.vocab_size, config.max_position_embeddings, config.num_hidden_layers) == (200, 70, 2)
    assert "4 molecule heads assumed" in caplog.text
    assert not (tmp_path / "tokenizer.json").exists()


def altered(chemistry, tmp_path: Path, **changes) -> Path:
    content = public_checkpoint(chemistry)
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            del content["model"][key]
        else:
            content["model"][key] = value
    path = tmp_path / "bad.pt"
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mapB__W__weight": None}, "lacks mapB.W.weight"),
        ({"mapB__logvar__weight": torch.zeros(3)}, "mapper.logvar.weight"),
        ({"chem_mdl__pooler__dense__bias": None}, "molecule_encoder.pooler.dense.bias"),
        ({"mapB__W__bias": torch.zeros(3)}, r"mapper.W.bias.*\(3,\)"),
    ],
)
def test_what_does_not_fit_is_named(chemistry, molecule_folder, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        convert_specbridge(
            altered(chemistry, tmp_path, **changes), tmp_path / "out", molecule=molecule_folder
        )


def test_another_molecule_encoder_is_refused(checkpoint, tmp_path):
    RobertaConfig(vocab_size=99).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="vocab_size 200"):
        convert_specbridge(checkpoint, tmp_path / "out", molecule=tmp_path)


def test_a_dreams_checkpoint_is_refused(tmp_path):
    torch.save({"state_dict": dreams_weights()}, tmp_path / "dreams.ckpt")
    with pytest.raises(ValueError, match="'model'"):
        convert_specbridge(tmp_path / "dreams.ckpt", tmp_path / "out")
