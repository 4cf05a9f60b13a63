"""Formula bag: a spectrum as a weighted bag of bins, fragment formulas and neutral losses, mixed by a residual MLP.

Ours, for small training sets: what a peak can be made of is looked up before the network (tokenization), so a few
thousand molecules are enough to learn from, where a transformer on bare m/z memorises them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from .base import MsFormersConfig, SpectrumPreTrainedModel
from .outputs import SpectrumEncoderOutput
from .registry import register_model


class FormulaBagConfig(MsFormersConfig):
    """Configuration of `FormulaBagModel`.

    Args:
        vocab_size: tokens of the extractor, filler included (`FormulaBagFeatureExtractor.vocab_size`).
        hidden_size: width of the bag and of its layers.
        num_hidden_layers: residual layers after the bag.
        dropout: after each activation.
        n_highest_peaks: peaks the extractor keeps.
        initializer_range: standard deviation of token vectors at the start.
    """

    model_type = "msf_formula_bag"

    vocab_size: int = 2091
    hidden_size: int = 768
    num_hidden_layers: int = 1
    dropout: float = 0.5
    n_highest_peaks: int = 60
    initializer_range: float = 0.02


class FormulaBagLayer(nn.Module):
    """Residual layer x + dropout(ReLU(Wx)), then LayerNorm."""

    def __init__(self, config: FormulaBagConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, hidden) to (B, hidden)."""
        return self.norm(hidden + self.dropout(F.relu(self.dense(hidden))))


@register_model(
    "formula-bag",
    kind="spectrum-encoder",
    paper="msformers; after the subformula annotation of MIST (Goldman et al., Nat Mach Intell 2023)",
    licence="Apache-2.0",
    lora=("dense",),
    tiny={"hidden_size": 16},
    extractor="tokenization.formula_bag:FormulaBagFeatureExtractor",
)
class FormulaBagModel(SpectrumPreTrainedModel):
    """Bag of weighted tokens, LayerNorm, residual layers; `pooler_output` (B, hidden) is the spectrum's vector."""

    config: FormulaBagConfig
    config_class = FormulaBagConfig
    supports_gradient_checkpointing = False
    _supports_sdpa = False
    _supports_attention_backend = False

    def __init__(self, config: FormulaBagConfig) -> None:
        super().__init__(config)
        self.bag = nn.EmbeddingBag(config.vocab_size, config.hidden_size, mode="sum", padding_idx=0)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(FormulaBagLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.EmbeddingBag):
            init.normal_(module.weight, std=self.config.initializer_range)

    def forward(
        self,
        peaks: Tensor,
        attention_mask: Tensor | None = None,
        token_ids: Tensor | None = None,
        token_weights: Tensor | None = None,
        return_dict: bool | None = None,
        **unused: Any,
    ) -> SpectrumEncoderOutput | tuple[Any, ...]:
        """Embed spectra.

        Args:
            peaks: float32 (B, N, 2), m/z in Th and relative intensity; only its shape is checked, the tokens say it all.
            attention_mask: (B, N), not needed.
            token_ids: int64 (B, T), 0 = filler. token_weights: float32 (B, T), 0 for filler.
            return_dict: False returns a tuple.

        Raises:
            ValueError: there are no tokens; use `FormulaBagFeatureExtractor`.
        """
        self.check_peaks(peaks)
        if token_ids is None or token_weights is None:
            raise ValueError(
                "FormulaBagModel reads token_ids and token_weights of FormulaBagFeatureExtractor"
            )
        weights = token_weights.to(self.bag.weight.dtype)
        hidden = self.dropout(F.relu(self.norm(self.bag(token_ids, per_sample_weights=weights))))
        for layer in self.layers:
            hidden = layer(hidden)
        output = SpectrumEncoderOutput(last_hidden_state=hidden[:, None], pooler_output=hidden)
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return output if use_dict else output.to_tuple()
