"""MS2Prop: molecular properties straight from a spectrum, as LSM1-MS2 rebuilt it for its comparisons.

Voronov et al., bioRxiv 2022. A peak is the vector of its m/z bin of 0.1 Th and its intensity as a number; nothing tells
the attention where a token stands; the precursor, token 0, is the spectrum's vector.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils.output_capturing import capture_outputs

from .base import SpectrumPreTrainedModel
from .heads import PropertyConfig, PropertyHead, SpectrumPropertyModel
from .layers import BiasedSelfAttention, PreNormLayer
from .outputs import SpectrumEncoderOutput
from .registry import register_head, register_model
from .token_encoder import PreNormEncoder, initialize_encoder, is_recorded, real_tokens

# a model for tests: the whole look-up table, narrow
TINY: dict[str, Any] = {
    "lookup_size": 23,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 48,
    "n_highest_peaks": 12,
}


class MS2PropConfig(PropertyConfig):
    """Architecture of MS2Prop; the defaults are the size that LSM1-MS2 compares itself with.

    Attributes:
        num_mz_bins: rows of the look-up table, bins of 0.1 Th.
        lookup_size: width of a bin's vector; the intensity is one number more.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act: the encoder, pre-norm.
        hidden_dropout, attention_dropout: probabilities.
        n_highest_peaks: preparation the weights expect.
        initializer_range: standard deviation of the look-up table at the start.
    """

    model_type = "msf_ms2prop"

    num_mz_bins: int = 10001
    lookup_size: int = 511
    hidden_size: int = 512
    num_hidden_layers: int = 6
    num_attention_heads: int = 32
    intermediate_size: int = 2048
    hidden_act: str = "relu"
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_eps: float = 1e-5
    n_highest_peaks: int = 64
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size = {self.hidden_size} is not divisible by num_attention_heads = {self.num_attention_heads}"
            )
        super().__post_init__(**kwargs)


class MS2PropEmbeddings(nn.Module):
    """The vector of the m/z bin and the intensity, joined, and one linear layer."""

    def __init__(self, config: MS2PropConfig) -> None:
        super().__init__()
        self.lookup = nn.Embedding(config.num_mz_bins, config.lookup_size)
        self.projection = nn.Linear(config.lookup_size + 1, config.hidden_size)

    def forward(self, token_ids: torch.Tensor, intensity: torch.Tensor) -> torch.Tensor:
        """(batch, tokens) int64 and (batch, tokens) relative intensity to (batch, tokens, d)."""
        vectors = self.lookup(token_ids)
        return self.projection(torch.cat([vectors, intensity.to(vectors.dtype).unsqueeze(-1)], dim=-1))


class MS2PropPreTrainedModel(SpectrumPreTrainedModel):
    """Initialisation and loading shared by the MS2Prop classes."""

    config: MS2PropConfig
    config_class = MS2PropConfig
    _no_split_modules: ClassVar[list[str]] = ["MS2PropEmbeddings", "PreNormLayer"]
    _can_record_outputs: ClassVar[dict[str, Any]] = {
        "hidden_states": PreNormLayer,
        "attentions": BiasedSelfAttention,
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
        else:
            initialize_encoder(module, self.config.num_hidden_layers)


@register_model(
    "ms2prop",
    kind="spectrum-encoder",
    paper="Voronov et al., bioRxiv 2022, https://doi.org/10.1101/2022.10.09.511482",
    licence="Apache-2.0 (own code; weights are not published)",
    lora=("q_proj", "v_proj"),
    tiny=TINY,
    extractor="tokenization.ms2prop:MS2PropFeatureExtractor",
)
class MS2PropModel(MS2PropPreTrainedModel):
    """The encoder: 24,260,847 parameters at the published size."""

    def __init__(self, config: MS2PropConfig) -> None:
        super().__init__(config)
        self.embeddings = MS2PropEmbeddings(config)
        self.encoder = PreNormEncoder(config)
        self.post_init()

    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        peaks: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SpectrumEncoderOutput:
        """Encode.

        Args:
            peaks: (batch, tokens, 2) float32: m/z in Th (read from `token_ids`) and relative intensity; token 0 is the
                precursor.
            attention_mask: (batch, tokens), 1 = real token, 0 = padding; None takes tokens of m/z 0 for padding.
            token_ids: (batch, tokens) int64 of `MS2PropFeatureExtractor`.
            kwargs: `output_hidden_states`, `output_attentions` (eager attention), `return_dict`.

        Returns:
            `SpectrumEncoderOutput`; `pooler_output` (batch, d) is the precursor token. The last of `hidden_states` is the
            stream before the final norm.

        Raises:
            ValueError: `token_ids` are missing, or `peaks` are not float (batch, tokens, 2).
        """
        peaks = self.check_peaks(peaks)
        if token_ids is None:
            raise ValueError("MS2Prop reads token_ids; prepare with MS2PropFeatureExtractor")
        tokens = self.embeddings(token_ids, peaks[..., 1])
        real = real_tokens(peaks, attention_mask)
        hidden_states = self.encoder(tokens, real, recorded=is_recorded(self.config, kwargs))
        return SpectrumEncoderOutput(last_hidden_state=hidden_states, pooler_output=hidden_states[:, 0])


@register_head("ms2prop", "AutoModelForMolecularPropertyPrediction")
class MS2PropForPropertyPrediction(SpectrumPropertyModel, MS2PropPreTrainedModel):
    """209 molecular descriptors from the precursor token; arguments and scale as in `SpectrumPropertyModel`."""

    config: MS2PropConfig
    config_class = MS2PropConfig

    def __init__(self, config: MS2PropConfig) -> None:
        super().__init__(config)
        self.model = MS2PropModel(config)
        self.property_head = PropertyHead(config)
        self.post_init()
