from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from contract import SPECTRA, ModelContract

from msformers.modeling.ms2prop import MS2PropConfig, MS2PropForPropertyPrediction, MS2PropModel
from msformers.modeling.registry import MODELS
from msformers.spectra.descriptors import DESCRIPTOR_NAMES, descriptors
from msformers.tokenization.ms2prop import MS2PropFeatureExtractor


class TestMS2Prop(ModelContract):
    name = "ms2prop"

    def training_inputs(self, model_class: type) -> dict[str, torch.Tensor]:
        values = torch.linspace(0, 1, 209 * len(SPECTRA)).view(-1, 209)
        return self.inputs() | ({} if model_class is MS2PropModel else {"property_values": values})

    def build(self, model_class: type, **overrides: Any) -> Any:
        scale = {"property_low": [0.0] * 209, "property_high": [1.0] * 209}
        return super().build(model_class, **scale, **overrides)

    def test_bfloat16_keeps_the_mz(self, model_class: type) -> None:
        """The m/z is an id, made before the model; rounding it to bfloat16 first would be far worse."""
        model, inputs = self.build(model_class), self.inputs()
        rounded = [{**s, "mz": torch.tensor(s["mz"], dtype=torch.bfloat16).double().numpy()} for s in SPECTRA]
        exact = self.embed(model, inputs)
        damage = (self.embed(model, self.inputs(rounded)) - exact).norm()
        assert (self.embed(model.to(torch.bfloat16), inputs) - exact).norm() < 0.5 * damage


@pytest.mark.parametrize("model_class", [MS2PropModel, MS2PropForPropertyPrediction])
def test_parameter_counts(model_class: type) -> None:
    d, ff, layers = 512, 2048, 6
    lookup, projection = 10_001 * 511, d * d + d
    layer = 4 * d * d + 2 * d * ff + 2 * 2 * d
    count = lookup + projection + layers * layer + 2 * d
    count += (d * 209 + 209) if model_class is MS2PropForPropertyPrediction else 0
    with torch.device("meta"):
        model = model_class(MS2PropConfig())
    assert sum(p.numel() for p in model.parameters()) == count
    assert model.config.num_attention_heads == 32 and model.config.num_hidden_layers == 6


def model() -> Any:
    torch.manual_seed(0)
    return MS2PropModel(MODELS["ms2prop"].tiny_config()).eval()


def test_the_precursor_token_is_the_spectrum() -> None:
    output = model()(**MS2PropFeatureExtractor()(SPECTRA))
    assert torch.equal(output.pooler_output, output.last_hidden_state[:, 0])


def test_intensities_are_read() -> None:
    batch, net = MS2PropFeatureExtractor()(SPECTRA), model()
    louder = batch["peaks"].clone()
    louder[:, 1, 1] *= 2
    before, after = net(**batch).pooler_output, net(**{**batch, "peaks": louder}).pooler_output
    assert not torch.allclose(before, after, atol=1e-3)


def test_it_learns_descriptors() -> None:
    torch.manual_seed(0)
    tiny = MODELS["ms2prop"].tiny_config(hidden_dropout=0.0, attention_dropout=0.0)
    net = MS2PropForPropertyPrediction(tiny)
    values = [descriptors(smiles) for smiles in ("CC(=O)Nc1ccc(O)cc1", "OC(=O)c1ccccc1O")]
    net.fit_property_scale(values, DESCRIPTOR_NAMES)
    batch = {**MS2PropFeatureExtractor()(SPECTRA), "property_values": torch.tensor(np.stack(values))}
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = net(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
    weight = DESCRIPTOR_NAMES.index("MolWt")
    found = net.eval()(**batch).properties[:, weight].detach().numpy()
    assert found == pytest.approx([v[weight] for v in values], rel=0.03)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="MS2PropFeatureExtractor"):
        model()(torch.zeros(1, 3, 2))
    with pytest.raises(ValueError, match="24 is not divisible by num_attention_heads = 5"):
        MODELS["ms2prop"].tiny_config(num_attention_heads=5)
