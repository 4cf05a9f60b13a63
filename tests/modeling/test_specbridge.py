from __future__ import annotations

import copy

import pytest
import torch
from contract import SPECTRA as CONTRACT_SPECTRA
from contract import ModelContract
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel

import msformers
from msformers.modeling.registry import MODELS
from msformers.modeling.specbridge import PAPER_MODE, SpecBridgeConfig, SpecBridgeModel
from msformers.tokenization.dreams import DreamsFeatureExtractor
from msformers.tokenization.smiles import build_smiles_tokenizer
from msformers.tokenization.spectrum import SpectrumFeatureExtractor

SPECTRA = [
    {"mz": [50.1, 80.2, 121.3], "intensity": [0.2, 1.0, 0.4], "precursor_mz": 181.07},
    {"mz": [44.05, 61.0], "intensity": [1.0, 0.3], "precursor_mz": 95.04},
    {
        "mz": [40.0 + 7 * k for k in range(9)],
        "intensity": [0.1 * (k + 1) for k in range(9)],
        "precursor_mz": 300.2,
    },
]
SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "Oc1ccccc1", "CCN(CC)CC"]


class TestSpecBridge(ModelContract):
    """In the paper's mode: the published code's depends on the batch, which is tested below."""

    name = "specbridge"

    def inputs(self, spectra=CONTRACT_SPECTRA):
        return paper_batch(spectra)

    def build(self, model_class, **overrides):
        return super().build(model_class, **{**PAPER_MODE, **overrides})

    def training_inputs(self, model_class):
        return {
            **self.inputs(),
            "target_embeds": torch.randn(2, 32, generator=torch.Generator().manual_seed(0)),
        }


def tiny(**fields) -> SpecBridgeModel:
    torch.manual_seed(0)
    return SpecBridgeModel(MODELS["specbridge"].tiny_config(**fields)).eval()


def molecules(smiles=SMILES) -> dict[str, torch.Tensor]:
    batch = build_smiles_tokenizer()(smiles, padding=True, return_tensors="pt")
    return {"input_ids": batch["input_ids"], "molecule_attention_mask": batch["attention_mask"]}


def code_batch(spectra=SPECTRA):
    return dict(SpectrumFeatureExtractor()(spectra))


def paper_batch(spectra=SPECTRA, padding="collapsed"):
    return dict(DreamsFeatureExtractor(n_highest_peaks=12, padding=padding)(spectra))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_of_the_published_size():
    with torch.device("meta"):
        model = SpecBridgeModel(SpecBridgeConfig())
    assert count(model.mapper) == 26_774_272
    assert count(model.projection) == 6_299_648
    assert count(model.molecule_encoder) == 43_961_088
    assert count(model.spectrum_encoder) == 95_549_381
    assert model.set_trainable() == 58_247_936
    assert count(model) == 172_584_389


def test_counts_of_other_freezing():
    with torch.device("meta"):
        model = SpecBridgeModel(SpecBridgeConfig())
    bridge = 26_774_272 + 6_299_648
    block = (4_194_304 + 8_388_608) + 2 * 2 * 1024
    assert [model.set_trainable(k) - bridge for k in (0, 1, 2, 4)] == [0, block, 2 * block, 4 * block]
    # everything but the frequencies, which are constants
    assert model.set_trainable(-1) - bridge == 95_549_381 - 5_997


def test_the_mapper_starts_as_an_orthogonal_map():
    model = tiny(n_blocks=3)
    weight = model.mapper.W.weight
    assert torch.allclose(weight @ weight.T, torch.eye(len(weight)), atol=1e-5)
    assert not model.mapper.W.bias.any()
    x = torch.randn(5, weight.shape[1])
    assert torch.equal(model.mapper(x), F.linear(x, weight))


def test_the_random_start_is_not_orthogonal():
    weight = tiny(mapper_init="xavier").mapper.W.weight
    assert (weight @ weight.T - torch.eye(len(weight))).abs().max() > 0.05


def test_head_and_mapper_equal_plain_torch():
    """The public code written down again: Linear GELU Linear LayerNorm, unit length, W, residual blocks."""
    model = tiny(n_blocks=2)
    for block in model.mapper.blocks:
        nn.init.normal_(block.fc2.weight, std=0.2)
    head = nn.Sequential(nn.Sequential(nn.Linear(32, 24), nn.GELU(), nn.Linear(24, 40)), nn.LayerNorm(40))
    for ours, theirs in (("fc1", head[0][0]), ("fc2", head[0][2]), ("norm", head[1])):
        theirs.load_state_dict(getattr(model.projection, ours).state_dict())
    hidden, mask = torch.randn(4, 6, 32), torch.tensor([[1, 1, 1, 1, 1, 1]] * 3 + [[1, 1, 0, 0, 0, 0]])
    pooled = torch.stack([row[keep.bool()].mean(0) for row, keep in zip(hidden, mask, strict=True)])
    mu = model.mapper.W(F.normalize(head(pooled), dim=-1))
    for block in model.mapper.blocks:
        mu = mu + block.fc2(F.gelu(block.fc1(block.ln(mu))))
    encoder = model.spectrum_encoder
    encoder.forward = lambda *args, **kwargs: type("Out", (), {"last_hidden_state": hidden})
    found = model.get_spectrum_features(mask[..., None].float().expand(-1, -1, 2), mask)
    assert torch.allclose(found, mu, atol=1e-6)


def test_code_mode_depends_on_the_batch_as_published():
    """Raw peaks padded to the longest spectrum, and padding is attended to."""
    model = tiny()
    alone = model.get_spectrum_features(**code_batch(SPECTRA[:1]))
    together = model.get_spectrum_features(**code_batch())[:1]
    assert (alone - together).abs().max() > 1e-4


@pytest.mark.parametrize("padding", ["collapsed", "max_length"])
def test_fixed_length_does_not_depend_on_the_batch(padding):
    model = tiny(**PAPER_MODE)
    alone = model.get_spectrum_features(**paper_batch(SPECTRA[:1], padding))
    together = model.get_spectrum_features(**paper_batch(SPECTRA, padding))[:1]
    assert torch.allclose(alone, together, atol=1e-5)


def test_both_paddings_give_the_same_vectors():
    model = tiny(**PAPER_MODE)
    collapsed = model.get_spectrum_features(**paper_batch())
    assert torch.allclose(
        collapsed, model.get_spectrum_features(**paper_batch(padding="max_length")), atol=1e-5
    )
    assert torch.allclose(collapsed.norm(dim=-1), torch.ones(3), atol=1e-5)


def test_molecule_pooling():
    batch = molecules()
    ids, mask = batch["input_ids"], batch["molecule_attention_mask"]
    hidden = tiny().molecule_encoder(ids, attention_mask=mask).last_hidden_state
    assert torch.equal(tiny().get_molecule_features(ids, mask), hidden[:, 0])
    mean = tiny(molecule_pooling="mean").get_molecule_features(ids, mask)
    assert torch.allclose(mean[1], hidden[1, : int(mask[1].sum())].mean(0), atol=1e-6)


def test_alignment_objective_is_the_weighted_sum():
    model = tiny(orthogonality_weight=0.5)
    with torch.no_grad():
        model.mapper.W.weight.mul_(2)
    output = model(**code_batch(), **molecules())
    error = F.mse_loss(output.spectrum_embeds, output.molecule_embeds)
    gram = model.mapper.W.weight @ model.mapper.W.weight.T
    expected = 5 * error + 0.5 * (gram - torch.eye(len(gram))).square().mean()
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert output.alignment_loss.item() == pytest.approx(error.item(), rel=1e-5)
    assert output.contrastive_loss is None
    assert not hasattr(model.temperature, "log_tau")


@pytest.mark.parametrize("objective", ["contrastive", "hard_negative"])
def test_contrastive_objectives(objective):
    model = tiny(objective=objective)
    assert model.temperature().item() == pytest.approx(0.07)
    negatives = molecules(["CCO", "CCC", "CC", "C", "CO", "OO"])
    extra = {
        "negative_input_ids": negatives["input_ids"].view(3, 2, -1),
        "negative_attention_mask": negatives["molecule_attention_mask"].view(3, 2, -1),
    }
    output = model(**code_batch(), **molecules(), **(extra if objective == "hard_negative" else {}))
    output.loss.backward()
    assert model.temperature.log_tau.grad.abs() > 0
    assert output.contrastive_loss > 0
    encoded = model.encode_molecules(negatives["input_ids"], negatives["molecule_attention_mask"])
    again = model(**code_batch(), **molecules(), negative_embeds=encoded.view(3, 2, -1))
    assert again.loss.item() == pytest.approx(output.loss.item(), rel=1e-5)


def test_hard_negatives_are_needed():
    with pytest.raises(ValueError, match="negative_embeds"):
        tiny(objective="hard_negative")(**code_batch(), **molecules())


def test_precomputed_targets_equal_tokens():
    model, batch = tiny(), molecules()
    encoded = model.encode_molecules(batch["input_ids"], batch["molecule_attention_mask"])
    found = model(**code_batch(), target_embeds=encoded)
    assert found.loss.item() == pytest.approx(model(**code_batch(), **batch).loss.item(), rel=1e-5)
    assert model(**code_batch()).loss is None


def test_gradients_reach_what_is_trained_and_nothing_else():
    model = tiny(molecule_projection_dim=16, unfreeze_last=1)
    model.set_trainable()
    model.train()
    assert model.spectrum_encoder.training and not model.molecule_encoder.training
    for block in model.mapper.blocks:
        nn.init.normal_(block.fc2.weight, std=0.1)
    model(**code_batch(), **molecules()).loss.backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in with_gradient} == {
        *("spectrum_encoder", "projection", "mapper", "molecule_projection")
    }
    assert all(".layers.1." in name for name in with_gradient if name.startswith("spectrum_encoder"))
    model.set_trainable(0)
    assert not model.train().spectrum_encoder.training


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            **PAPER_MODE,
            "objective": "contrastive",
            "molecule_projection_dim": 20,
            "temperature_trainable": False,
        },
    ],
)
def test_save_and_load(fields, tmp_path):
    model = tiny(**fields)
    with torch.no_grad():
        for parameter in (*model.mapper.parameters(), *model.projection.parameters()):
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    loaded, info = SpecBridgeModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    for ours, theirs in zip(model.parameters(), loaded.parameters(), strict=True):
        assert ours.requires_grad == theirs.requires_grad
    loaded.set_trainable(-1)
    assert not loaded.spectrum_encoder.embeddings.fourier.frequencies.requires_grad
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    batch = code_batch() if not fields else paper_batch()
    assert torch.equal(loaded.eval()(**batch).spectrum_embeds, model(**batch).spectrum_embeds)
    for auto in (AutoModel, msformers.AutoModelForMoleculeRetrieval):
        assert type(auto.from_pretrained(tmp_path)) is SpecBridgeModel


def test_from_encoders_keeps_their_weights():
    source = tiny()
    with torch.no_grad():
        source.spectrum_encoder.norm.weight.add_(1.0)
    model = SpecBridgeModel.from_encoders(
        copy.deepcopy(source.spectrum_encoder), source.molecule_encoder, projection_dim=40, n_blocks=0
    )
    for end in ("spectrum_encoder", "molecule_encoder"):
        theirs = getattr(source, end).state_dict()
        assert all(
            torch.equal(value, theirs[name]) for name, value in getattr(model, end).state_dict().items()
        )
    assert len(model.mapper.blocks) == 0


def test_similarity_modes():
    a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 4.0], [0.0, 10.0]])
    assert tiny(score="dot").similarity(a, b).tolist() == [[25.0, 40.0]]
    assert torch.allclose(tiny(score="cosine").similarity(a, b), torch.tensor([[1.0, 0.8]]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooling": "precursor"}, "prepend_precursor"),
        ({"temperature_init": 0.0}, "temperature_init"),
        ({"spectrum_config": {"hidden_size": 3}}, "model_type"),
        ({"n_block": 4}, "n_block"),
    ],
)
def test_what_a_configuration_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        MODELS["specbridge"].tiny_config(**fields)


def test_an_encoder_without_blocks_is_named():
    with pytest.raises(ValueError, match="Linear"):
        from msformers.modeling.mapper import encoder_blocks

        encoder_blocks(nn.Linear(2, 2))
