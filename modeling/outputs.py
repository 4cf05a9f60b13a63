"""What models return: dataclasses, never bare tuples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

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
        embeddings: (batch, d), not normalised unless the model says so.
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


@dataclass
class MaskedPeakOutput(ModelOutput):
    """Output of models that reconstruct the classes of every peak, masked or not.

    Rows of the logits are the real peaks of the batch, precursors and padding left out, in row-major order.

    Attributes:
        loss: () weighted sum of the parts.
        loss_integer, loss_fraction, loss_intensity: () mean cross-entropy of each codebook, unweighted.
        logits_integer, logits_fraction, logits_intensity: (peaks, classes).
        pooler_output: (batch, d).
        hidden_states, attentions: as in `SpectrumEncoderOutput`.
    """

    loss: torch.Tensor | None = None
    loss_integer: torch.Tensor | None = None
    loss_fraction: torch.Tensor | None = None
    loss_intensity: torch.Tensor | None = None
    logits_integer: torch.Tensor | None = None
    logits_fraction: torch.Tensor | None = None
    logits_intensity: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class PeakErrors(NamedTuple):
    """How far the likeliest classes are from the true ones, one row per real peak of a batch (figure 2 of the paper).

    Attributes:
        mz: (peaks,) float64, absolute error in Th of integer + fraction / 1000.
        intensity: (peaks,) float64, absolute error relative to the base peak; times 1000 on the paper's scale.
        masked: (peaks,) bool, whether the model had to guess the peak.
    """

    mz: torch.Tensor
    intensity: torch.Tensor
    masked: torch.Tensor


@dataclass
class PropertyOutput(ModelOutput):
    """Output of models that predict molecular properties.

    Attributes:
        loss: () mean squared error of the scaled properties, when true values were given.
        scaled_properties: (batch, properties), 0 to 1 over the training molecules, not clipped.
        properties: (batch, properties) float32 in the properties' units.
        pooler_output: (batch, d).
        hidden_states, attentions: as in `SpectrumEncoderOutput`.
    """

    loss: torch.Tensor | None = None
    scaled_properties: torch.Tensor | None = None
    properties: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class PeptideSequencingOutput(ModelOutput):
    """Output of models that write a peptide, for given tokens (teacher forcing).

    Attributes:
        loss: () mean cross-entropy per token, when labels were given.
        logits: (batch, length + 1, vocabulary): row t scores token t, row 0 sees only the precursor.
        pooler_output: (batch, d), the vector of the spectrum.
        hidden_states, attentions: of the spectrum encoder, as in `SpectrumEncoderOutput`.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class PeptideSearchOutput(ModelOutput):
    """Peptides found by `generate`: one row per hypothesis, spectrum by spectrum, best first; a spectrum may have none.

    All tensors are on the CPU.

    Attributes:
        sequences: (n, length) int64, token ids in the order of the tokenizer (C- to N-terminus), without stop, 0 behind.
        lengths: (n,) int64, tokens of each peptide.
        spectrum_index: (n,) int64, row of the batch.
        rank: (n,) int64, 0 for the best of its spectrum.
        scores: (n,) float64, of the peptide.
        residue_scores: (n, length) float64, N- to C-terminus as peptides are written, NaN behind.
    """

    sequences: torch.Tensor | None = None
    lengths: torch.Tensor | None = None
    spectrum_index: torch.Tensor | None = None
    rank: torch.Tensor | None = None
    scores: torch.Tensor | None = None
    residue_scores: torch.Tensor | None = None


@dataclass
class SpectrumClassificationOutput(ModelOutput):
    """Output of spectrum classifiers.

    Attributes:
        loss: () mean binary cross-entropy over the known labels, when labels were given.
        logits: (batch, tasks); the probability is their sigmoid.
        pooler_output: (batch, d), the vector of the spectrum.
        hidden_states, attentions: as in `SpectrumEncoderOutput`.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class ContrastiveOutput(ModelOutput):
    """Output of contrastive pre-training.

    Attributes:
        loss: () InfoNCE, when two views were given.
        embeddings: (B, d) unit vectors.
        spread: () root mean variance of the embeddings times √d: 1 = widest, 0 = collapsed.
    """

    loss: torch.Tensor | None = None
    embeddings: torch.Tensor | None = None
    spread: torch.Tensor | None = None


@dataclass
class SpectrumEncoding(ModelOutput):
    """What NexaMass says of spectra.

    Attributes:
        embedding: (B, ssl_size) unit vectors. fingerprint: (B, bits) probabilities. query: (B, projection_size) unit vectors.
    """

    embedding: torch.Tensor | None = None
    fingerprint: torch.Tensor | None = None
    query: torch.Tensor | None = None


@dataclass
class StructurePredictionOutput(ModelOutput):
    """Output of `NexaMassForStructurePrediction`.

    Attributes:
        loss: () weighted sum, when fingerprints were given.
        logits: (B, bits). embeddings: (B, ssl_size) unit vectors. query_embeds: (B, projection_size) unit vectors.
        confidence_logits: (B,), where the layout has that head.
        pooler_output: (B, d) the encoder's vector.
        fingerprint_loss, retrieval_loss, match_loss, contrastive_loss: () the parts, unweighted, detached.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    embeddings: torch.Tensor | None = None
    query_embeds: torch.Tensor | None = None
    confidence_logits: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    fingerprint_loss: torch.Tensor | None = None
    retrieval_loss: torch.Tensor | None = None
    match_loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
