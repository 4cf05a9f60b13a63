"""LSM1-MS2: a self-supervised transformer on tokenised peaks (Matterworks; weights and code are not public).

A peak is three classes: integer m/z, fractional m/z, intensity. Their vectors are joined and projected to a token; the
precursor is token 0, peaks follow by m/z, and ALiBi tells the attention how far apart two tokens are in that order. The
mean of the tokens is the spectrum's vector. What the paper's text leaves open is in `Lsm1Config`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init
from transformers.utils import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .base import SpectrumPreTrainedModel
from .heads import PropertyHead, SpectrumPropertyModel
from .layers import BiasedSelfAttention, PreNormLayer
from .lsm1_config import TINY, Lsm1Config
from .outputs import MaskedPeakOutput, PeakErrors, SpectrumEmbeddingOutput, SpectrumEncoderOutput
from .registry import register_head, register_model
from .token_encoder import PreNormEncoder, alibi_bias, initialize_encoder, is_recorded, real_tokens

CLASSES = 1000
PRECURSOR_ID = 1000
NO_TOKENS = "LSM1 reads token_ids; prepare spectra with Lsm1FeatureExtractor"


class Lsm1Embeddings(nn.Module):
    """Three classes to one token: three codebooks, joined, and one linear layer."""

    def __init__(self, config: Lsm1Config) -> None:
        super().__init__()
        self.precursor_row = config.precursor_intensity_row
        rows = (config.vocab_integer, config.vocab_fraction, config.vocab_intensity)
        self.integer, self.fraction, self.intensity = (nn.Embedding(n, config.token_size) for n in rows)
        self.projection = nn.Linear(3 * config.token_size, config.hidden_size)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, 3) int64 to (batch, tokens, d)."""
        integer, fraction, intensity = token_ids.unbind(-1)
        intensity = intensity.masked_fill(intensity == PRECURSOR_ID, self.precursor_row)
        tables = (self.integer, self.fraction, self.intensity)
        ids = (integer, fraction, intensity)
        parts = [t(i.clamp_max(t.num_embeddings - 1)) for t, i in zip(tables, ids, strict=True)]
        return self.projection(torch.cat(parts, dim=-1))


class Lsm1PreTrainedModel(SpectrumPreTrainedModel):
    """Initialisation and loading shared by the LSM1 classes."""

    config: Lsm1Config
    config_class = Lsm1Config
    _no_split_modules: ClassVar[list[str]] = ["Lsm1Embeddings", "PreNormLayer"]
    _can_record_outputs: ClassVar[dict[str, Any]] = {
        "hidden_states": PreNormLayer,
        "attentions": BiasedSelfAttention,
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, Lsm1ForMaskedPeakModeling):
            init.normal_(module.mask_token, std=self.config.initializer_range)
        else:
            initialize_encoder(module, self.config.num_hidden_layers)


@register_model(
    "lsm1",
    kind="spectrum-encoder",
    paper="LSM1-MS2, a foundation model for MS/MS (Matterworks, ChemRxiv 2024)",
    licence="Apache-2.0 (no code or weights are published)",
    lora=("q_proj", "v_proj"),
    tiny=TINY,
    extractor="tokenization.lsm1:Lsm1FeatureExtractor",
)
class Lsm1Model(Lsm1PreTrainedModel):
    """The encoder: 26,345,984 parameters at the default size."""

    def __init__(self, config: Lsm1Config) -> None:
        super().__init__(config)
        self.embeddings = Lsm1Embeddings(config)
        self.encoder = PreNormEncoder(config)
        self.post_init()

    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        peaks: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SpectrumEncoderOutput:
        """Encode.

        Args:
            peaks: (batch, tokens, 2) float32: m/z in Th and relative intensity; token 0 is the precursor, peaks follow
                by m/z. The numbers are read from `token_ids`.
            attention_mask: (batch, tokens), 1 = real token, 0 = padding; None takes tokens of m/z 0 for padding.
            token_ids: (batch, tokens, 3) int64 of `Lsm1FeatureExtractor`.
            inputs_embeds: (batch, tokens, d), what `embeddings` gives, for callers that change it.
            kwargs: `output_hidden_states`, `output_attentions` (eager attention), `return_dict`.

        Returns:
            `SpectrumEncoderOutput`; `pooler_output` (batch, d) is the mean over all tokens but padding, the precursor
            included. The last of `hidden_states` is the stream before the final norm.

        Raises:
            ValueError: neither `token_ids` nor `inputs_embeds` is given, or `peaks` are not float (batch, tokens, 2).
        """
        peaks = self.check_peaks(peaks)
        if token_ids is None and inputs_embeds is None:
            raise ValueError(NO_TOKENS)
        real = real_tokens(peaks, attention_mask)
        tokens = self.embeddings(token_ids) if inputs_embeds is None else inputs_embeds
        config = self.config
        bias = alibi_bias(
            config.num_attention_heads, real.shape[1], config.alibi_exempt_precursor, real.device
        )
        hidden_states = self.encoder(tokens, real, bias, is_recorded(config, kwargs))
        weights = real.to(hidden_states.dtype).unsqueeze(-1)
        pooled = (hidden_states * weights).sum(1) / weights.sum(1).clamp_min(1)
        return SpectrumEncoderOutput(last_hidden_state=hidden_states, pooler_output=pooled)


@register_head("lsm1", "AutoModelForSpectrumPreTraining", "AutoModelForPreTraining")
class Lsm1ForMaskedPeakModeling(Lsm1PreTrainedModel):
    """Reconstruction of integer m/z, fractional m/z and intensity of every peak, a quarter of them masked."""

    def __init__(self, config: Lsm1Config) -> None:
        super().__init__(config)
        self.model = Lsm1Model(config)
        self.mask_token = nn.Parameter(torch.empty(config.hidden_size))
        self.integer_head, self.fraction_head, self.intensity_head = (
            nn.Linear(config.hidden_size, CLASSES) for _ in range(3)
        )
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        peaks: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_ids: torch.Tensor | None = None,
        peak_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MaskedPeakOutput:
        """Reconstruct.

        Args:
            peaks: (batch, tokens, 2), m/z in Th and relative intensity; and
            attention_mask, token_ids: as in `Lsm1Model`; the ids are input and target.
            peak_mask: (batch, tokens) bool of `Lsm1MaskingCollator`, tokens replaced by the mask vector; None for none.
            kwargs: as in `Lsm1Model`.

        Returns:
            `MaskedPeakOutput`. The loss is 100 integer + fraction + intensity, each the mean cross-entropy over all real
            peaks, masked or not (LSM1-MS2, Methods, "Pre-training"); the precursor is not counted.
        """
        if token_ids is None:
            raise ValueError(NO_TOKENS)
        embeds = self.model.embeddings(token_ids)
        if peak_mask is not None:
            embeds = torch.where(peak_mask.unsqueeze(-1), self.mask_token.to(embeds.dtype), embeds)
        encoded = self.model(peaks, attention_mask, token_ids, inputs_embeds=embeds, **kwargs)
        counted = real_peaks(peaks, attention_mask)
        hidden_states, targets = encoded.last_hidden_state[counted], token_ids[counted]
        logits = [h(hidden_states) for h in (self.integer_head, self.fraction_head, self.intensity_head)]
        losses = [_mean_cross_entropy(part, targets[:, k]) for k, part in enumerate(logits)]
        config = self.config
        weights = (config.weight_integer, config.weight_fraction, config.weight_intensity)
        return MaskedPeakOutput(
            torch.stack([weight * part for weight, part in zip(weights, losses, strict=True)]).sum(),
            *losses,
            *logits,
            pooler_output=encoded.pooler_output,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )

    @staticmethod
    def reconstruction_errors(output: MaskedPeakOutput, batch: Any) -> PeakErrors:
        """Absolute errors of each peak's likeliest m/z and intensity.

        Args:
            output: of `forward`.
            batch: the mapping `forward` was called with.
        """
        peak_mask, ids = batch.get("peak_mask"), batch["token_ids"]
        counted = real_peaks(batch["peaks"], batch.get("attention_mask"))
        parts = [output[f"logits_{name}"] for name in ("integer", "fraction", "intensity")]
        guessed = torch.stack([part.argmax(-1) for part in parts], dim=-1)
        error = (guessed - ids[counted]).double()
        masked = torch.zeros_like(counted) if peak_mask is None else peak_mask
        mz = (error[:, 0] + error[:, 1] / CLASSES).abs()
        return PeakErrors(mz, error[:, 2].abs() / (CLASSES - 1), masked[counted])


def real_peaks(peaks: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """Bool (batch, tokens): tokens that are neither precursor nor padding."""
    real = real_tokens(peaks, attention_mask)
    return real & (torch.arange(real.shape[1], device=real.device) > 0)


def _mean_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits.float(), targets, reduction="sum") / max(len(targets), 1)


@register_head("lsm1", "AutoModelForMolecularPropertyPrediction")
class Lsm1ForPropertyPrediction(SpectrumPropertyModel, Lsm1PreTrainedModel):
    """209 molecular descriptors from the mean token; arguments and scale as in `SpectrumPropertyModel`."""

    config: Lsm1Config
    config_class = Lsm1Config

    def __init__(self, config: Lsm1Config) -> None:
        super().__init__(config)
        self.model = Lsm1Model(config)
        self.property_head = PropertyHead(config)
        self.post_init()


@register_head("lsm1", "AutoModelForSpectrumSimilarity")
class Lsm1ForSpectrumSimilarity(Lsm1PreTrainedModel):
    """Vectors whose cosine estimates the Tanimoto similarity of two spectra's molecules."""

    def __init__(self, config: Lsm1Config) -> None:
        super().__init__(config)
        self.model = Lsm1Model(config)
        self.similarity_head = nn.Linear(config.hidden_size, config.similarity_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        peaks: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_ids: torch.Tensor | None = None,
        similarity: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SpectrumEmbeddingOutput:
        """Embed.

        Args:
            peaks: (batch, tokens, 2), m/z in Th and relative intensity; and
            attention_mask, token_ids: as in `Lsm1Model`.
            similarity: (pairs,) Tanimoto of row i and row pairs + i, for a batch of 2 pairs rows. Gives the loss, the
                mean squared error of the cosine (LSM1-MS2, Methods, "Spectral look-up").
            kwargs: as in `Lsm1Model`.

        Returns:
            `SpectrumEmbeddingOutput`; `embeddings` (batch, similarity_size) have unit length.

        Raises:
            ValueError: `similarity` does not have half as many entries as the batch has rows.
        """
        encoded = self.model(peaks, attention_mask, token_ids, **kwargs)
        embeddings = functional.normalize(self.similarity_head(encoded.pooler_output).float(), dim=-1)
        loss = None
        if similarity is not None:
            if similarity.dim() != 1 or 2 * len(similarity) != len(embeddings):
                raise ValueError(
                    f"similarity {tuple(similarity.shape)} does not pair the halves of {len(embeddings)} rows"
                )
            first, second = embeddings.chunk(2)
            loss = functional.mse_loss((first * second).sum(-1), similarity.float())
        return SpectrumEmbeddingOutput(
            loss=loss,
            embeddings=embeddings,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
