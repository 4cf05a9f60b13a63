"""A GPT-2 that writes SELFIES from one or several context vectors by cross-attention (LSM1-MS2, lsm1.md §6.3).

The layers are those of transformers' GPT-2; own is the projection of the context to their width.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import EncoderDecoderCache
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel, GPT2Model

from .base import MsFormersConfig, SpectrumPreTrainedModel
from .registry import register_head, register_model


class SelfiesGpt2Config(MsFormersConfig):
    """Size of the decoder; field names are those of transformers' GPT-2.

    Attributes:
        vocab_size, n_positions, n_embd, n_layer, n_head, n_inner, activation_function: as in GPT-2. The activation is
            GPT-2's own ("gelu_new") in its one-kernel form.
        context_size: width of the context vectors.
    """

    model_type = "msf_selfies_gpt2"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    }

    vocab_size: int = 128
    n_positions: int = 256
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_pytorch_tanh"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    reorder_and_upcast_attn: bool = False
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    add_cross_attention: bool = True
    tie_word_embeddings: bool = True
    context_size: int = 768


TINY = {
    "vocab_size": 128,
    "n_positions": 66,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": 48,
    "context_size": 32,
}


@register_model(
    "selfies-gpt2",
    kind="molecule-decoder",
    paper="LSM1-MS2, de novo generation; GPT-2",
    licence="Apache-2.0",
    lora=("c_attn", "q_attn"),
    tiny=TINY,
)
class SelfiesGpt2Model(GPT2Model):
    """GPT-2 layers with cross-attention on context vectors."""

    config: SelfiesGpt2Config
    config_class = SelfiesGpt2Config
    main_input_name = "input_ids"
    accepts_loss_kwargs = False
    is_custom_code = SpectrumPreTrainedModel.is_custom_code

    def __init__(self, config: SelfiesGpt2Config) -> None:
        super().__init__(config)
        self.context_proj = nn.Linear(config.context_size, config.n_embd)
        self.context_norm = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.post_init()

    def project_context(self, context: Tensor) -> Tensor:
        """Context vectors (B, K, context_size) to what the layers attend to, (B, K, n_embd)."""
        if context.shape[-1] != self.config.context_size:
            raise ValueError(
                f"context vectors have {context.shape[-1]} numbers, the decoder takes context_size={self.config.context_size}"
            )
        return self.context_norm(self.context_proj(context.to(self.context_proj.weight.dtype)))

    def forward(
        self,
        input_ids: Tensor | None = None,
        past_key_values: Any = None,
        encoder_hidden_states: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Decode.

        Args:
            input_ids: int64 (B, L), beginning with ``<s>``.
            past_key_values: cache of an earlier call.
            encoder_hidden_states: context vectors, (B, K, context_size); None for a molecule out of nothing.
            kwargs: of transformers' `GPT2Model`, such as `encoder_attention_mask` (B, K), 1 = real context vector.
        """
        if encoder_hidden_states is not None and not _has_context(past_key_values):
            encoder_hidden_states = self.project_context(encoder_hidden_states)
        return super().forward(
            input_ids, past_key_values=past_key_values, encoder_hidden_states=encoder_hidden_states, **kwargs
        )


def _has_context(cache: Any) -> bool:
    """Whether a cache holds the keys and values of the context, so that it is not read again."""
    return isinstance(cache, EncoderDecoderCache) and bool(cache.is_updated.get(0))


@register_head("selfies-gpt2", "AutoModelForCausalLM")
class SelfiesGpt2LMHeadModel(GPT2LMHeadModel):
    """The decoder with its token head; `generate` takes the context as `encoder_hidden_states`."""

    config: SelfiesGpt2Config
    config_class = SelfiesGpt2Config
    main_input_name = "input_ids"
    accepts_loss_kwargs = False
    is_custom_code = SpectrumPreTrainedModel.is_custom_code

    def __init__(self, config: SelfiesGpt2Config) -> None:
        super().__init__(config)
        self.transformer = SelfiesGpt2Model(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithCrossAttentions | tuple[Any, ...]:
        """Next-token logits and, with labels, their mean cross-entropy over the tokens of the batch.

        Args:
            input_ids: int64 (B, L), ``<s>`` … ``</s>``, padded at the right.
            past_key_values: cache of an earlier call.
            attention_mask: (B, L), 1 = token.
            encoder_hidden_states: context vectors, float (B, K, context_size).
            encoder_attention_mask: (B, K), 1 = real context vector.
            labels: int64 (B, L), the input ids, −100 where not to be scored; shifted inside.
            return_dict: False returns a tuple.
            kwargs: of transformers' `GPT2LMHeadModel`.
        """
        output = super().forward(
            input_ids=input_ids,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            return_dict=True,
            **kwargs,
        )
        if labels is not None:
            wanted = labels[:, 1:].flatten()
            logits = output.logits[:, :-1].flatten(0, 1).float()
            summed = F.cross_entropy(logits, wanted, reduction="sum")
            output["loss"] = summed / (wanted != -100).sum().clamp(min=1)
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return output if use_dict else output.to_tuple()
