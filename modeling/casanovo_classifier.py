"""Classification heads on Casanovo's encoder: spectrum quality, chimericity, glycosylation, phosphorylation (arXiv 2505.10848)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils.generic import can_return_tuple

from .casanovo import CasanovoModel, CasanovoPreTrainedModel
from .casanovo_config import CasanovoConfig
from .outputs import SpectrumClassificationOutput
from .registry import register_head


class ClassifierHead(nn.Module):
    """Linear layers with ReLU between them, to one logit.

    Args:
        sizes: of the input and the hidden layers.
    """

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([*sizes, 1]))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, sizes[0]) to (batch,)."""
        for layer in self.layers[:-1]:
            features = functional.relu(layer(features))
        return self.layers[-1](features).squeeze(-1)


@register_head("casanovo", "AutoModelForSpectrumClassification")
class CasanovoForSpectrumClassification(CasanovoPreTrainedModel):
    """One head for each of `config.classification_tasks` on the spectrum's vector.

    A published head on the frozen encoder is 512, 512, 1 (`classifier_sizes=[512]`), in multi-task training 512, 1028, 128,
    1 (`[1028, 128]`), and for phosphorylation the vector is completed by precursor m/z and charge to 514
    (`classifier_precursor`).
    """

    def __init__(self, config: CasanovoConfig) -> None:
        super().__init__(config)
        self.model = CasanovoModel(config)
        width = config.hidden_size + 2 * config.classifier_precursor
        sizes = [width, *config.classifier_sizes]
        self.heads = nn.ModuleList(ClassifierHead(sizes) for _ in config.classification_tasks)
        self.freeze_constants()
        self.post_init()

    def freeze_constants(self) -> None:
        """Keep the encoder out of training where the configuration says so."""
        if self.config.freeze_encoder:
            self.model.requires_grad_(False)

    @can_return_tuple
    def forward(
        self,
        peaks: Tensor,
        attention_mask: Tensor | None = None,
        precursors: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> SpectrumClassificationOutput:
        """Classify.

        Args:
            peaks: (batch, peaks, 2) float32, m/z in Th and intensity; and
            attention_mask: as in `CasanovoModel`.
            precursors: (batch, 3) float32: neutral mass, charge, m/z; needed with `classifier_precursor`.
            labels: (batch, tasks), or (batch,) with one task: 1 or 0, NaN or negative where unknown. Spectra of several
                data sets share a batch: each has the label of its own task.
            kwargs: as in `CasanovoModel`.

        Raises:
            ValueError: the labels have another shape.
        """
        encoded = self.model(peaks, attention_mask, **kwargs)
        features = encoded.pooler_output
        if self.config.classifier_precursor:
            known = self.check_precursors(precursors, self.config, len(features))
            features = torch.cat([features, known[:, [2, 1]].to(features.dtype)], dim=-1)
        logits = torch.stack([head(features) for head in self.heads], dim=-1)
        return SpectrumClassificationOutput(
            loss=None if labels is None else _known_label_loss(logits, labels),
            logits=logits,
            pooler_output=encoded.pooler_output,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )


def _known_label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy over the known labels; 0 with a gradient path if none is."""
    if labels.dim() == 1:
        labels = labels.unsqueeze(-1)
    if labels.shape != logits.shape:
        raise ValueError(f"labels are {tuple(labels.shape)}, expected {tuple(logits.shape)} = (batch, tasks)")
    labels = labels.float()
    known = labels >= 0  # False for NaN
    losses = functional.binary_cross_entropy_with_logits(
        logits.float(), labels.masked_fill(~known, 0.0), reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp_min(1)
