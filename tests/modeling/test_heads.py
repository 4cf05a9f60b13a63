from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from msformers.modeling.heads import PropertyConfig, PropertyScale, masked_mse
from msformers.modeling.lsm1 import Lsm1Config, Lsm1ForPropertyPrediction
from msformers.modeling.lsm1_config import TINY
from msformers.tokenization.lsm1 import Lsm1FeatureExtractor

NAMES = ["MolWt", "Ipc", "fr_rare", "constant", "unknown"]
SPECTRA = [
    {"mz": [91.05, 100.07], "intensity": [5.0, 9.0], "precursor_mz": 285.1},
    {"mz": [77.04], "intensity": [1.0], "precursor_mz": 199.1},
]


def training_values(n: int = 1000) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = np.full((n, 5), np.nan)
    values[:, 0] = rng.permutation(np.linspace(100, 900, n))
    values[:, 1] = np.expm1(rng.permutation(np.linspace(0, 60, n)))
    values[:, 2] = np.arange(n) < 2
    values[:, 3] = 7.0
    return values


def model(fitted: bool = True) -> Any:
    torch.manual_seed(0)
    built = Lsm1ForPropertyPrediction(Lsm1Config(**{**TINY, "num_properties": 5})).eval()
    if fitted:
        built.fit_property_scale(training_values(), NAMES)
    return built


def test_the_scale_is_that_of_the_percentiles() -> None:
    config = model().config
    assert config.property_names == NAMES and config.property_log == ["Ipc"]
    assert config.property_low[:2] == pytest.approx([104.0, 0.3])
    assert config.property_high[:2] == pytest.approx([896.0, 59.7])
    # rarer than one molecule in 200, and still a property
    assert (config.property_low[2], config.property_high[2]) == (0.0, 1.0)
    assert (config.property_low[3:], config.property_high[3:]) == ([7.0, 0.0], [7.0, 0.0])


def test_scaled_values_are_0_to_1_and_come_back() -> None:
    scale = PropertyScale(model().config)
    values = torch.tensor([[500.0, 1e12, 1.0, 7.0, 3.0], [104.0, 1e3, 0.0, 7.0, 3.0]], dtype=torch.float64)
    kept = values.clone()
    scaled = scale.scale(values)
    assert torch.equal(values, kept), "the caller's values were changed"
    assert scaled.dtype == torch.float32 and (scaled >= 0).all() and (scaled <= 1).all()
    assert scaled[:, 3:].eq(0).all(), "a constant property is 0"
    torch.testing.assert_close(scaled[0, 0], torch.tensor(0.5))
    torch.testing.assert_close(scaled[0, 1], torch.tensor((np.log1p(1e12) - 0.3) / 59.4, dtype=torch.float32))
    torch.testing.assert_close(scale.invert(scaled)[:, :4], values[:, :4].float(), rtol=1e-4, atol=1e-4)


def test_values_beyond_the_scale_are_clipped_but_predictions_are_not() -> None:
    scale = PropertyScale(model().config)
    assert scale.scale(torch.tensor([[5000.0, -0.5, 9.0, 7.0, 0.0]]))[0, :3].tolist() == [1.0, 0.0, 1.0]
    beyond = scale.invert(torch.tensor([[1.5, 9.0, -1.0, 3.0, 3.0]]))
    assert beyond.isfinite().all()
    torch.testing.assert_close(beyond[0, 0], torch.tensor(1292.0))
    assert beyond[0, 3] == 7.0


def test_unknown_values_do_not_count() -> None:
    target = torch.tensor([[0.5, torch.nan], [1.0, 0.0]])
    predicted = torch.tensor([[0.0, 9.0], [1.0, 0.4]], requires_grad=True)
    loss = masked_mse(predicted, target)
    assert loss.item() == pytest.approx((0.25 + 0.16) / 3)
    loss.backward()
    assert predicted.grad is not None and predicted.grad[0, 1] == 0 and predicted.grad.isfinite().all()
    nothing = masked_mse(predicted, torch.full((2, 2), torch.nan))
    assert nothing.item() == 0 and nothing.requires_grad


def test_infinite_values_are_unknown() -> None:
    scaled = PropertyScale(model().config).scale(torch.tensor([[torch.inf, 1.0, torch.nan, 7.0, 0.0]]))
    assert scaled.isnan().tolist() == [[True, False, True, False, False]]


def test_the_loss_is_that_of_scaled_values() -> None:
    net, batch = model(), Lsm1FeatureExtractor()(SPECTRA)
    values = torch.from_numpy(training_values()[:2])
    output = net(**batch, property_values=values)
    target = PropertyScale(net.config).scale(values)
    known = ~target.isnan()
    expected = (output.scaled_properties - target)[known].square().mean()
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.properties, PropertyScale(net.config).invert(output.scaled_properties))
    assert not output.properties.requires_grad and output.scaled_properties.requires_grad


def test_the_scale_is_saved_with_the_model(tmp_path: Path) -> None:
    net, batch = model(), Lsm1FeatureExtractor()(SPECTRA)
    net.save_pretrained(tmp_path)
    loaded = Lsm1ForPropertyPrediction.from_pretrained(tmp_path).eval()
    assert loaded.config.property_high == net.config.property_high
    assert torch.equal(loaded(**batch).properties, net(**batch).properties)


def test_bfloat16_predicts_in_float32_units() -> None:
    net, batch = model().to(torch.bfloat16), Lsm1FeatureExtractor()(SPECTRA)
    output = net(**batch, property_values=torch.from_numpy(training_values()[:2]))
    assert output.properties.dtype == torch.float32 and output.loss.dtype == torch.float32


def test_learning_without_a_scale_is_refused() -> None:
    net, batch = model(fitted=False), Lsm1FeatureExtractor()(SPECTRA)
    assert torch.equal(net(**batch).properties, net(**batch).scaled_properties)
    with pytest.raises(ValueError, match="fit_property_scale"):
        net(**batch, property_values=torch.zeros(2, 5))


def test_shapes_and_names_are_checked() -> None:
    net, batch = model(), Lsm1FeatureExtractor()(SPECTRA)
    with pytest.raises(ValueError, match=r"property_values are \(2, 4\), expected \(2, 5\)"):
        net(**batch, property_values=torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"values \(3, 4\) and 5 names do not fit num_properties = 5"):
        net.fit_property_scale(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="DESCRIPTOR_NAMES"):
        model(fitted=False).fit_property_scale(training_values())
    with pytest.raises(ValueError, match="property_low has 1 entries, num_properties is 5"):
        PropertyConfig(num_properties=5, property_low=[0.0])
