"""DreaMS: a self-supervised transformer on peaks (Bushuiev et al., Nature Biotechnology 2025; code MIT).

A spectrum is its precursor token followed by peaks, completed with (0, 0) tokens to a fixed number. In the published
model every token, real or padding, attends to padding, so the padding is part of the function. All padding tokens of a
spectrum are equal in every layer; `token_counts` lets one of them stand for all: a key that counts n times is a key
with log n added to its score. The numbers are the same, the cost is that of the real peaks.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .base import SpectrumPreTrainedModel
from .dreams_config import TINY, DreamsConfig
from .encodings import FourierFrequencies
from .layers import BiasedSelfAttention, FeedForward, Mlp, Packing, PreNormLayer, counted_key_mask
from .losses import IGNORED, cosine_triplet_loss, focal_cross_entropy, mean_over_sides, retention_order_loss
from .outputs import SpectrumEmbeddingOutput, SpectrumEncoderOutput, SpectrumPreTrainingOutput
from .registry import register_head, register_model


class DreamsEmbeddings(nn.Module):
    """Peaks to tokens, and the key bias that the m/z differences amount to."""

    def __init__(self, config: DreamsConfig) -> None:
        super().__init__()
        self.max_mz = config.max_mz
        # first, so that `model.dtype` is not read off the frequencies, which are always float32
        self.peak_mlp = Mlp([2, config.peak_size], config.hidden_dropout)
        self.fourier = FourierFrequencies(config.fourier_min_period, config.fourier_max_period)
        n_features = 2 * self.fourier.frequencies.numel()
        hidden = [config.fourier_hidden_size] * (config.fourier_depth - 1)
        self.fourier_mlp = Mlp([n_features, *hidden, config.fourier_size], config.hidden_dropout)

    def forward(self, peaks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Peaks (batch, tokens, 2) float32 to tokens (batch, tokens, d) and key bias (batch, tokens) float32.

        The published pair bias is ``sum_d (f_i - f_j)_d`` over the Fourier part f. Softmax ignores what is constant in
        a row, so it equals the key bias ``-sum_d f_jd``.
        """
        dtype = next(self.peak_mlp.parameters()).dtype
        mz, intensity = peaks.unbind(-1)
        # in parts: the features of 512 tokens are 25 MB, which the allocator reuses instead of asking the system
        parts = [self.fourier_mlp(self.fourier(part).to(dtype)) for part in mz.flatten().split(512)]
        fourier = torch.cat(parts).unflatten(0, mz.shape)
        peak = self.peak_mlp(torch.stack([mz / self.max_mz, intensity], dim=-1).to(dtype))
        return torch.cat([peak, fourier], dim=-1), -fourier.sum(-1, dtype=torch.float32)


class DreamsPreTrainedModel(SpectrumPreTrainedModel):
    """Initialisation and loading shared by the DreaMS classes."""

    config: DreamsConfig
    config_class = DreamsConfig
    _no_split_modules: ClassVar[list[str]] = ["DreamsEmbeddings", "PreNormLayer"]
    _can_record_outputs: ClassVar[dict[str, Any]] = {
        "hidden_states": PreNormLayer,
        "attentions": BiasedSelfAttention,
    }
    _keep_in_fp32_modules_strict: ClassVar[set[str]] = {"fourier.frequencies"}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, FourierFrequencies):
            module.initialize()
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, BiasedSelfAttention | FeedForward):
            for parameter in module.parameters():
                init.normal_(parameter, std=math.sqrt(2 / (5 * self.config.hidden_size)))
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = 1 / math.sqrt(module.in_features)
                init.uniform_(module.bias, -bound, bound)


@register_model(
    "dreams",
    kind="spectrum-encoder",
    paper="Bushuiev et al., Nature Biotechnology 2025, https://doi.org/10.1038/s41587-025-02663-3",
    licence="MIT (published code and weights)",
    lora=("q_proj", "v_proj"),
    tiny=TINY,
    extractor="tokenization.dreams:DreamsFeatureExtractor",
)
class DreamsModel(DreamsPreTrainedModel):
    """The encoder: 95,549,381 parameters at the published size, 5,997 of them fixed frequencies."""

    def __init__(self, config: DreamsConfig) -> None:
        super().__init__(config)
        self.embeddings = DreamsEmbeddings(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(PreNormLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        peaks: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_counts: torch.Tensor | None = None,
        pooled_only: bool = False,
        **kwargs: Any,
    ) -> SpectrumEncoderOutput:
        """Encode.

        Args:
            peaks: (batch, tokens, 2) float32: m/z in Th and relative intensity; token 0 is the precursor.
            attention_mask: (batch, tokens), 1 = real token, 0 = padding; None takes tokens of m/z 0 for padding.
            token_counts: (batch, tokens) how often a token counts as a key: 1 for a real one, n for a padding token
                that stands for n, 0 for filler of the batch. None: every given token counts once (the published
                behaviour on spectra padded to full length), or, with `mask_padded_keys`, only the real ones.
            pooled_only: compute `pooler_output` alone; the last layer then works for the precursor token only.
            kwargs: `output_hidden_states`, `output_attentions` (eager attention), `return_dict`.

        Returns:
            `SpectrumEncoderOutput`; `pooler_output` (batch, d) is the precursor token after the final norm. The last
            of `hidden_states` is the stream before the final norm.
        """
        peaks = self.check_peaks(peaks)
        recorded = any(
            kwargs.get(key, getattr(self.config, key))
            for key in ("output_hidden_states", "output_attentions")
        )
        pooled_only = pooled_only and not recorded
        padding = peaks[..., 0] == 0 if attention_mask is None else attention_mask == 0
        if token_counts is None:
            token_counts = (~padding if self.config.mask_padded_keys else torch.ones_like(padding)).float()
        packing = None if recorded or torch.compiler.is_compiling() else Packing.of(token_counts)
        hidden_states, key_bias = self.embeddings(peaks if packing is None else packing.pack(peaks))
        if packing is not None:
            key_bias = packing.pad(key_bias.unsqueeze(-1)).squeeze(-1)
        mask = counted_key_mask(key_bias, padding, token_counts, hidden_states.dtype)
        hidden_states = self.dropout(hidden_states)
        for layer in self.layers[:-1]:
            hidden_states = layer(hidden_states, mask, padding, False, packing)
        if pooled_only:
            mask, padding = mask[:, :, :1], padding[:, :1]
        hidden_states = self.norm(self.layers[-1](hidden_states, mask, padding, pooled_only, packing))
        if packing is not None:
            hidden_states = (
                hidden_states.transpose(0, 1) if pooled_only else packing.pad_with_zeros(hidden_states)
            )
        return SpectrumEncoderOutput(
            last_hidden_state=None if pooled_only else hidden_states, pooler_output=hidden_states[:, 0]
        )


@register_head("dreams", "AutoModelForSpectrumPreTraining", "AutoModelForPreTraining")
class DreamsForPreTraining(DreamsPreTrainedModel):
    """Masked m/z bins and retention order on the encoder: 116,051,429 parameters at the published size."""

    def __init__(self, config: DreamsConfig) -> None:
        super().__init__(config)
        self.model = DreamsModel(config)
        self.mz_head, self.order_head = _pretraining_heads(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        peaks: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_counts: torch.Tensor | None = None,
        mz_labels: torch.Tensor | None = None,
        order_pairs: torch.Tensor | None = None,
        order_labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SpectrumPreTrainingOutput:
        """Encode masked spectra and score both objectives.

        Args:
            peaks: (batch, tokens, 2), m/z of masked peaks replaced by `config.mask_value`; and
            attention_mask, token_counts: as in `DreamsModel`.
            mz_labels: (batch, tokens) int64, m/z bin of each masked peak, -100 elsewhere.
            order_pairs: (pairs, 2) int64, rows of the batch that were measured in one run.
            order_labels: (pairs,) 1 if the first eluted before the second, 0 if after, -100 if unknown.
            kwargs: as in `DreamsModel`.

        Returns:
            `SpectrumPreTrainingOutput`. With pairs, the m/z loss is the mean of the two sides' means and the loss is
            ``(1 - w) mask_loss + w order_loss``, w = `order_loss_weight` (DreaMS, Methods, "Pre-training").
        """
        encoded = self.model(peaks, attention_mask=attention_mask, token_counts=token_counts, **kwargs)
        hidden_states, pooled = encoded.last_hidden_state, encoded.pooler_output
        output = SpectrumPreTrainingOutput(
            pooler_output=pooled, hidden_states=encoded.hidden_states, attentions=encoded.attentions
        )
        if mz_labels is None:
            output.mz_logits = self.mz_head(hidden_states)
        else:
            masked = mz_labels != IGNORED
            output.mz_logits = self.mz_head(hidden_states[masked])
            losses = focal_cross_entropy(output.mz_logits, mz_labels[masked], self.config.focal_gamma)
            output.mask_loss = output.loss = mean_over_sides(losses, masked.nonzero()[:, 0], order_pairs)
        if order_pairs is not None:
            output.order_logits = self.order_head(pooled[order_pairs].flatten(1)).squeeze(-1)
            if order_labels is not None:
                output.order_loss = output.loss = retention_order_loss(output.order_logits, order_labels)
        if output.mask_loss is not None and output.order_loss is not None:
            weight = self.config.order_loss_weight
            output.loss = (1 - weight) * output.mask_loss + weight * output.order_loss
        return output


def _pretraining_heads(config: DreamsConfig) -> tuple[nn.Linear, nn.Linear]:
    return nn.Linear(config.hidden_size, config.num_mz_bins), nn.Linear(2 * config.hidden_size, 1, bias=False)


@register_head("dreams", "AutoModelForSpectrumEmbedding")
class DreamsForSpectrumEmbedding(DreamsPreTrainedModel):
    """Contrastive head on the precursor token: 117,101,029 parameters at the published size.

    20,502,048 of them are the frozen pre-training heads; without `keep_pretraining_heads` 96,598,981 remain.
    """

    def __init__(self, config: DreamsConfig) -> None:
        super().__init__(config)
        self.model = DreamsModel(config)
        self.head = nn.Linear(config.hidden_size, config.embedding_size or config.hidden_size)
        if config.keep_pretraining_heads:
            self.mz_head, self.order_head = _pretraining_heads(config)
        self.freeze_constants()
        self.post_init()

    def freeze_constants(self) -> None:
        """Keep the unused pre-training heads out of training."""
        if self.config.keep_pretraining_heads:
            self.mz_head.requires_grad_(False)
            self.order_head.requires_grad_(False)

    @can_return_tuple
    def forward(
        self,
        peaks: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_counts: torch.Tensor | None = None,
        triplets: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SpectrumEmbeddingOutput:
        """Embed.

        Args:
            peaks: (batch, tokens, 2), m/z in Th and relative intensity; and
            attention_mask, token_counts: as in `DreamsModel`.
            triplets: (n, 3) int64, rows of the batch: anchor, positive, negative. Gives the contrastive loss.
            kwargs: as in `DreamsModel`.

        Returns:
            `SpectrumEmbeddingOutput`; `embeddings` (batch, d) are not normalised, compare them by cosine.
        """
        encoded = self.model(
            peaks, attention_mask=attention_mask, token_counts=token_counts, pooled_only=True, **kwargs
        )
        embeddings = self.head(encoded.pooler_output)
        loss = None
        if triplets is not None:
            anchor, positive, negative = embeddings[triplets].unbind(1)
            loss = cosine_triplet_loss(anchor, positive, negative, margin=self.config.triplet_margin)
        return SpectrumEmbeddingOutput(
            loss=loss,
            embeddings=embeddings,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
