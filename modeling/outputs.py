"""What models return: dataclasses, never bare tuples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass
class SpectrumEncoderOutput(ModelOutput):
    """Output of every spectrum encoder.

    Attributes:
        last_hidden_state: (batch, tokens, d); None when only the pooled vector was asked for.
        pooler_output: (batch, d), the vector of the whole spectrum.
        hidden_states: input of the first layer, then each layer's output; n_layers + 1 tensors (batch, tokens, d).
        attentions: one tensor (batch, heads, tokens, tokens) per layer; rows sum to 1. Eager attention only.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class SpectrumEmbeddingOutput(ModelOutput):
    """Output of models that embed spectra for comparison.

    Attributes:
        loss: () mean over the batch, when the model was given what its loss needs.
        embeddings: (batch, d), not normalised.
        hidden_states, attentions: as in `SpectrumEncoderOutput`.
    """

    loss: torch.Tensor | None = None
    embeddings: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class SpectrumPreTrainingOutput(ModelOutput):
    """Output of self-supervised spectrum models.

    Attributes:
        loss: () weighted sum of the objectives whose targets were given.
        mask_loss, order_loss: () the parts.
        mz_logits: (masked peaks, m/z bins) in row-major order of `mask_positions`, or (batch, tokens, bins) without it.
        order_logits: (batch,) positive when the spectrum eluted before its partner; None without a partner.
        pooler_output: (batch, d) precursor token.
        hidden_states, attentions: as in `SpectrumEncoderOutput`.
    """

    loss: torch.Tensor | None = None
    mask_loss: torch.Tensor | None = None
    order_loss: torch.Tensor | None = None
    mz_logits: torch.Tensor | None = None
    order_logits: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class SpecBridgeOutput(ModelOutput):
    """Output of `SpecBridgeModel`.

    Attributes:
        loss: () weighted sum, when molecules were given.
        alignment_loss, orthogonality_loss, contrastive_loss: () the parts, unweighted, detached.
        spectrum_embeds: (B, D) mapped spectra.
        molecule_embeds: (B, D) molecules, when given.
    """

    loss: torch.Tensor | None = None
    alignment_loss: torch.Tensor | None = None
    orthogonality_loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    spectrum_embeds: torch.Tensor | None = None
    molecule_embeds: torch.Tensor | None = None
