"""A BERT of SELFIES whose mean vector, and means of windows of tokens, stand for a molecule (LSM1-MS2, lsm1.md §6.2).

The layers are those of transformers' RoBERTa; own is what a decoder reads of it. One mean vector is what the paper passes
on; the means of successive windows keep what a single mean of this size cannot.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import MaskedLMOutput
from transformers.models.roberta.modeling_roberta import RobertaLMHead, RobertaModel, RobertaPreTrainedModel

from .base import MsFormersConfig
from .registry import register_head, register_model
from .sinusoid import wavelength_terms


class SelfiesBertConfig(MsFormersConfig):
    """Size of the encoder and of the windows that a decoder reads.

    Attributes:
        vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size: as in RoBERTa.
        max_position_embeddings: longest input + pad_token_id + 1.
        context_window: tokens per context vector behind the mean; 0 = the mean vector alone, as published.
    """

    model_type = "msf_selfies_bert"

    vocab_size: int = 128
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 260
    type_vocab_size: int = 1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    is_decoder: bool = False
    add_cross_attention: bool = False
    use_cache: bool = False
    tie_word_embeddings: bool = True
    context_window: int = 0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.context_window < 0:
            raise ValueError(
                f"context_window must be 0 (mean vector alone) or more, got {self.context_window}"
            )


TINY = {
    "vocab_size": 128,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 132,
    "context_window": 4,
}


_PLACES = 4.0, 400.0
"""Wavelengths, in windows, of the code of a window's place."""


def place_codes(count: int, size: int, device: torch.device | None = None) -> Tensor:
    """Sines, then cosines of the places 0 … `count` − 1, (count, size) float32."""
    terms = wavelength_terms(size // 2, *_PLACES)
    angles = torch.arange(count, dtype=torch.float32)[:, None] / terms
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(device)


class MeanPooling(nn.Module):
    """Means of token vectors: of all tokens, or of windows of them."""

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, L, d) and (B, L), 1 = token, to (B, d)."""
        weights = mask.to(hidden.dtype)[..., None]
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)

    @staticmethod
    def windows(hidden: Tensor, mask: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Means of successive `size` tokens: (B, ⌈L / size⌉, d) and (B, ⌈L / size⌉), True = holds a token."""
        short = -hidden.shape[1] % size
        weights = F.pad(mask, (0, short)).to(hidden.dtype).unflatten(1, (-1, size))
        summed = (F.pad(hidden, (0, 0, 0, short)).unflatten(1, (-1, size)) * weights[..., None]).sum(2)
        counts = weights.sum(2)
        return summed / counts.clamp(min=1)[..., None], counts > 0


@register_model(
    "selfies-bert",
    kind="molecule-encoder",
    paper="LSM1-MS2, de novo generation; RoBERTa, arXiv 1907.11692",
    licence="Apache-2.0",
    lora=("query", "value"),
    tiny=TINY,
)
class SelfiesBertModel(RobertaModel):
    """Encoder of SELFIES tokens; `pooler_output` (B, d) is the mean over all tokens, the two end tokens included.

    Inputs are `input_ids` and `attention_mask`, int64 (B, L), of `msformers.tokenization.selfies`. State-dict keys are
    those of transformers' `RobertaModel`, so its checkpoints load.
    """

    config: SelfiesBertConfig
    config_class = SelfiesBertConfig
    main_input_name = "input_ids"
    accepts_loss_kwargs = False
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"^lm_head\."]

    def __init__(self, config: SelfiesBertConfig) -> None:
        super().__init__(config, add_pooling_layer=False)
        self.pooling = MeanPooling()

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """Encode.

        Args:
            input_ids: int64 (B, L).
            attention_mask: int64 (B, L), 1 = token; None takes every token that is not ``<pad>``.
            kwargs: of transformers' `RobertaModel` (`output_hidden_states`, `return_dict`, …).
        """
        mask = self._mask(input_ids, attention_mask)
        wants_dict = kwargs.pop("return_dict", None)
        output = super().forward(input_ids, attention_mask=mask, return_dict=True, **kwargs)
        output["pooler_output"] = self.pooling(output.last_hidden_state, mask)
        use_dict = self.config.return_dict if wants_dict is None else wants_dict
        return output if use_dict else output.to_tuple()

    def context(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, window: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """What a decoder reads of a molecule.

        Args:
            input_ids, attention_mask: as in `forward`.
            window: tokens per vector behind the mean; None takes the configuration's, 0 the mean alone.

        Returns:
            Vectors (B, K, d), K = 1 + ⌈L / window⌉, the mean of all tokens first; and their mask (B, K), True = real.
            A sinusoid of its number is added to each window, which the mean has not: that tells a decoder their order.
        """
        mask = self._mask(input_ids, attention_mask)
        output = self(input_ids, attention_mask=mask, return_dict=True)
        mean = output.pooler_output[:, None]
        size = self.config.context_window if window is None else window
        if size == 0:
            return mean, torch.ones_like(mean[..., 0], dtype=torch.bool)
        means, real = self.pooling.windows(output.last_hidden_state, mask, size)
        means = means + place_codes(means.shape[1], means.shape[2], means.device).to(means.dtype)
        return torch.cat([mean, means], dim=1), F.pad(real, (1, 0), value=True)

    def _mask(self, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        if attention_mask is not None:
            return attention_mask
        if input_ids is None:
            raise ValueError("give input_ids; token vectors alone (inputs_embeds) also need attention_mask")
        return input_ids.ne(self.config.pad_token_id or 0).long()


@register_head("selfies-bert", "AutoModelForMaskedLM", "AutoModelForPreTraining")
class SelfiesBertForMaskedLM(RobertaPreTrainedModel):
    """Masked-token prediction on SELFIES."""

    config: SelfiesBertConfig
    config_class = SelfiesBertConfig
    main_input_name = "input_ids"
    accepts_loss_kwargs = False
    _tied_weights_keys: ClassVar[dict[str, str]] = {
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }

    def __init__(self, config: SelfiesBertConfig) -> None:
        super().__init__(config)
        self.roberta = SelfiesBertModel(config)
        self.lm_head = RobertaLMHead(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """The token decoder, tied to the word embeddings."""
        return self.lm_head.decoder

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the token decoder."""
        self.lm_head.decoder = new_embeddings

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput | tuple[Any, ...]:
        """Predict tokens, and with labels score.

        Args:
            input_ids: int64 (B, L), masked tokens already replaced by ``<mask>``.
            attention_mask: int64 (B, L), 1 = token.
            labels: int64 (B, L), the true token where masked, −100 elsewhere; the loss is their mean cross-entropy.
            return_dict: False returns a tuple.
            kwargs: passed to the encoder (`output_hidden_states`, …).
        """
        hidden = self.roberta(input_ids, attention_mask=attention_mask, return_dict=True, **kwargs)
        logits = self.lm_head(hidden.last_hidden_state)
        loss = None
        if labels is not None:
            summed = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="sum")
            loss = summed / (labels != -100).sum().clamp(min=1)
        output = MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=hidden.hidden_states, attentions=hidden.attentions
        )
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return output if use_dict else output.to_tuple()
