"""Morgan encoder: a molecule as the frozen, weighted vector of its circular substructures.

The molecular space in which the small checkpoints rank. It has no learned weights to forget, does not see how a SMILES is
written, and two molecules are close in it when they share substructures (Rogers & Hahn, J Chem Inf Model 2010).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .base import MsFormersConfig
from .registry import register_model


class MorganConfig(MsFormersConfig):
    """Configuration of `MorganModel`.

    Args:
        hidden_size: bits of the fingerprint, D; token i + n_special of the tokenizer is bit i.
        n_special: leading tokens that are no bit (filler, unknown).
    """

    model_type = "msf_morgan"

    hidden_size: int = 2048
    n_special: int = 2


@register_model(
    "morgan",
    kind="molecule-encoder",
    paper="Rogers & Hahn, J. Chem. Inf. Model. 2010, 50, 742",
    licence="Apache-2.0",
    tiny={"hidden_size": 64},
    tokenizer="tokenization.morgan:MorganTokenizer",
)
class MorganModel(PreTrainedModel):
    """Tokens of `MorganTokenizer` to a vector (B, D) that holds each present bit's weight."""

    config: MorganConfig
    config_class = MorganConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    accepts_loss_kwargs = False
    is_custom_code = classmethod(lambda cls: False)

    def __init__(self, config: MorganConfig) -> None:
        super().__init__(config)
        self.bit_weight = nn.Parameter(torch.ones(config.hidden_size))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, MorganModel):
            init.ones_(module.bit_weight)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        return_dict: bool | None = None,
        **unused: Any,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Embed molecules.

        Args:
            input_ids: int64 (B, L), bits present in each molecule, shifted by `n_special`.
            attention_mask: int64 (B, L), 1 = token.
            return_dict: False returns a tuple.

        Returns:
            `pooler_output` (B, D); `last_hidden_state` (B, 1, D) is the same.
        """
        vector = multi_hot(input_ids, attention_mask, self.config.hidden_size, self.config.n_special)
        vector = vector.to(self.bit_weight.dtype) * self.bit_weight
        output = BaseModelOutputWithPooling(last_hidden_state=vector[:, None], pooler_output=vector)
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return output if use_dict else output.to_tuple()


def multi_hot(input_ids: Tensor, attention_mask: Tensor | None, size: int, n_special: int) -> Tensor:
    """Tokens of `MorganTokenizer` to bits.

    Args:
        input_ids: int64 (B, L), bits present, shifted by `n_special`. attention_mask: int64 (B, L), 1 = token.
        size: bits, D.

    Returns:
        float32 (B, D), 0 or 1.
    """
    bits = input_ids - n_special
    present = bits >= 0 if attention_mask is None else (bits >= 0) & attention_mask.bool()
    # filler is written to one column more, which is cut off
    place = torch.where(present, bits, size)
    return torch.zeros(len(input_ids), size + 1, device=input_ids.device).scatter(1, place, 1.0)[:, :-1]
