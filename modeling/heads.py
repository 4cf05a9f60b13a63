"""The property head that LSM1 and MS2Prop share, and the scale on which it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.utils import can_return_tuple

from .base import MsFormersConfig, SpectrumPreTrainedModel
from .outputs import PropertyOutput, SpectrumEncoderOutput

PERCENTILES = (0.5, 99.5)


class PropertyConfig(MsFormersConfig):
    """Configuration of a model with a property head. `fit_property_scale` of the model fills names and scale.

    Attributes:
        num_properties: outputs of the head.
        property_names: of the outputs; empty until the scale is fitted.
        property_log: names of those that are learned as log(1 + x).
        property_low, property_high: values that the head calls 0 and 1, after that logarithm; empty for 0 and 1.
        property_dropout: before the head.
    """

    num_properties: int = 209
    property_names: list[str] = field(default_factory=list)
    property_log: list[str] = field(default_factory=lambda: ["Ipc"])
    property_low: list[float] = field(default_factory=list)
    property_high: list[float] = field(default_factory=list)
    property_dropout: float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        for name in ("property_names", "property_low", "property_high"):
            length = len(getattr(self, name))
            if length not in (0, self.num_properties):
                raise ValueError(f"{name} has {length} entries, num_properties is {self.num_properties}")
        super().__post_init__(**kwargs)


class PropertyScale:
    """Properties in their units to the head's scale and back, as a configuration states it.

    Args:
        config: names and scale.
        device: where the tensors are.
    """

    def __init__(self, config: PropertyConfig, device: torch.device | None = None) -> None:
        n = config.num_properties
        low = torch.tensor(config.property_low or [0.0] * n, dtype=torch.float32, device=device)
        high = torch.tensor(config.property_high or [1.0] * n, dtype=torch.float32, device=device)
        self.low, self.width = low, high - low
        names = config.property_names
        self.log = [names.index(name) for name in config.property_log if name in names]

    def scale(self, values: torch.Tensor) -> torch.Tensor:
        """(batch, n) in units to 0 ... 1, clipped; NaN and infinities to NaN, a constant property to 0."""
        values = values.to(self.low.device, torch.float32, copy=True)
        values[:, self.log] = values[:, self.log].log1p()
        scaled = (values - self.low) / torch.where(self.width > 0, self.width, torch.inf)
        return scaled.clamp(0, 1).masked_fill(~values.isfinite(), torch.nan)

    def invert(self, scaled: torch.Tensor) -> torch.Tensor:
        """(batch, n) of the head to float32 in units; finite, whatever the head says."""
        values = self.low + scaled.float() * self.width
        values[:, self.log] = values[:, self.log].clamp(0, 88).expm1()  # exp(88) is the last in float32
        return values


class PropertyHead(nn.Module):
    """Linear from a spectrum's vector to all properties (LSM1-MS2, Methods, "Property prediction").

    Args:
        config: a `PropertyConfig` with `hidden_size`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.property_dropout)
        self.linear = nn.Linear(config.hidden_size, config.num_properties)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """(batch, d) to (batch, properties) on the scale of 0 to 1, not clipped."""
        return self.linear(self.dropout(pooled))


def masked_mse(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared error over the entries of `target` that are not NaN; 0 with a gradient path if none is.

    Args:
        predicted, target: of the same shape.

    Returns:
        () float32.
    """
    known = ~target.isnan()
    squared = (predicted.float() - target.masked_fill(~known, 0.0)).square()
    return (squared * known).sum() / known.sum().clamp_min(1)


class SpectrumPropertyModel(SpectrumPreTrainedModel):
    """An encoder of spectra, `model`, and a property head on its pooled vector; subclasses build both."""

    config: PropertyConfig
    config_class = PropertyConfig
    model: nn.Module
    property_head: PropertyHead

    @can_return_tuple
    def forward(
        self,
        peaks: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_ids: torch.Tensor | None = None,
        property_values: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> PropertyOutput:
        """Predict.

        Args:
            peaks: (batch, tokens, 2) float32, m/z in Th and relative intensity; and
            attention_mask, token_ids: of the model's feature extractor.
            property_values: (batch, properties) as descriptors give them, NaN where unknown. Gives the loss.
            kwargs: `output_hidden_states`, `output_attentions` (eager attention), `return_dict`.

        Raises:
            ValueError: the head has no scale yet but shall learn (`fit_property_scale`), or a shape is wrong.
        """
        encoded: SpectrumEncoderOutput = self.model(peaks, attention_mask, token_ids, **kwargs)
        scaled = self.property_head(encoded.pooler_output)
        scale = PropertyScale(self.config, scaled.device)
        loss = None
        if property_values is not None:
            self._check(property_values, scaled)
            loss = masked_mse(scaled, scale.scale(property_values))
        return PropertyOutput(
            loss=loss,
            scaled_properties=scaled,
            properties=scale.invert(scaled.detach()),
            pooler_output=encoded.pooler_output,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )

    def _check(self, values: torch.Tensor, scaled: torch.Tensor) -> None:
        if values.shape != scaled.shape:
            raise ValueError(f"property_values are {tuple(values.shape)}, expected {tuple(scaled.shape)}")
        if not self.config.property_low:
            raise ValueError(
                "the property head has no scale: call fit_property_scale(training values) before training"
            )

    def fit_property_scale(
        self, values: Any, names: Sequence[str] | None = None, log: Sequence[str] | None = None
    ) -> None:
        """Fill the configuration's scale from the training molecules: their 0.5 and 99.5 percentiles become 0 and 1.

        Where these coincide (a substructure that fewer than one in 200 molecules has), minimum and maximum do.

        Args:
            values: (molecules, properties) as descriptors give them, NaN and infinities where unknown.
            names: of the columns, such as `spectra.descriptors.DESCRIPTOR_NAMES`; None keeps `config.property_names`.
            log: names of the columns to learn as log(1 + x); None keeps `config.property_log`.

        Raises:
            ValueError: the number of columns or names differs from `config.num_properties`, or there are no names.
        """
        config, n = self.config, self.config.num_properties
        table = np.array(values, dtype=np.float64)
        names = list(config.property_names if names is None else names)
        if table.ndim != 2 or table.shape[1] != n or len(names) != n:
            raise ValueError(
                f"values {table.shape} and {len(names)} names do not fit num_properties = {n}; give one column and one "
                "name (spectra.descriptors.DESCRIPTOR_NAMES) per property"
            )
        config.property_names, config.property_log = names, list(config.property_log if log is None else log)
        for column in PropertyScale(config).log:
            table[:, column] = np.log1p(table[:, column])
        ranges = [_range(column[np.isfinite(column)]) for column in table.T]
        config.property_low, config.property_high = ([float(r[end]) for r in ranges] for end in (0, 1))


def _range(column: Any) -> tuple[float, float]:
    """What becomes 0 and what becomes 1; (0, 0) for a property nobody knows."""
    if not len(column):
        return 0.0, 0.0
    low, high = np.percentile(column, PERCENTILES)
    return (low, high) if high > low else (column.min(), column.max())
