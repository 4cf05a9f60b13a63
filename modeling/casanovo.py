"""Casanovo: a transformer on peptide spectra that writes the peptide (Yilmaz et al., ICML 2022, Nature Communications 2024).

Two published architectures, one switch (`CasanovoConfig.version`). Its encoder alone is the "foundation model for mass
spectrometry proteomics" (arXiv 2505.10848): a spectrum is a learned token followed by its peaks, without positions and
without the precursor, which only the decoder reads. Casanovo and depthcharge are Apache-2.0.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .base import SpectrumPreTrainedModel
from .casanovo_config import TINY, CasanovoConfig
from .casanovo_decoder import CasanovoDecoder
from .casanovo_layers import CasanovoAttention, CasanovoEmbeddings, CasanovoEncoderLayer, grouped
from .casanovo_rules import SearchRules
from .casanovo_search import BeamSearch
from .layers import key_mask
from .outputs import PeptideSearchOutput, PeptideSequencingOutput, SpectrumEncoderOutput
from .registry import register_head, register_model
from .sinusoid import Sinusoid

# of one pass through the layers on the CPU: larger intermediate results leave its cache
_TOKENS_AT_ONCE = 2048


class CasanovoPreTrainedModel(SpectrumPreTrainedModel):
    """Initialisation and loading shared by the Casanovo classes."""

    config: CasanovoConfig
    config_class = CasanovoConfig
    _no_split_modules: ClassVar[list[str]] = [
        "CasanovoEmbeddings",
        "CasanovoEncoderLayer",
        "CasanovoDecoderLayer",
    ]
    _can_record_outputs: ClassVar[dict[str, Any]] = {
        "hidden_states": CasanovoEncoderLayer,
        "attentions": CasanovoAttention,
    }
    _keep_in_fp32_modules_strict: ClassVar[set[str]] = {"terms"}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As the published program: PyTorch's own defaults."""
        if isinstance(module, Sinusoid):
            module.initialize()
        elif isinstance(module, CasanovoEmbeddings):
            init.normal_(module.spectrum)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
            if module.padding_idx is not None:
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, CasanovoAttention):
            # one matrix for queries, keys and values in the published program, hence the fan
            bound = math.sqrt(6 / (4 * self.config.hidden_size))
            for projection in (module.q_proj, module.k_proj, module.v_proj):
                init.uniform_(projection.weight, -bound, bound)
                init.zeros_(projection.bias)
            init.zeros_(module.o_proj.bias)
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = 1 / math.sqrt(module.in_features)
                init.uniform_(module.bias, -bound, bound)

    @staticmethod
    def check_precursors(precursors: Tensor | None, config: CasanovoConfig, batch: int) -> Tensor:
        """Return `precursors` as float32 (batch, 3) = neutral mass, charge, m/z.

        Raises:
            ValueError: they are missing, have another shape or dtype, or a charge is out of range.
        """
        if precursors is None:
            raise ValueError("precursors are missing: give (batch, 3) = neutral mass in Da, charge, m/z")
        if precursors.shape != (batch, 3) or precursors.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"precursors must be ({batch}, 3) float32 = neutral mass, charge, m/z; "
                f"got {tuple(precursors.shape)} {precursors.dtype}"
            )
        charge = precursors[:, 1]
        wrong = (charge < 1) | (charge > (config.max_charge or 0)) | (charge != charge.round())
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise ValueError(
                f"precursors[{row}] has charge {charge[row].item():g}; this model knows 1 to {config.max_charge}"
            )
        return precursors.float()


@register_model(
    "casanovo",
    kind="spectrum-encoder",
    paper="Yilmaz et al., Nature Communications 2024, https://doi.org/10.1038/s41467-024-49731-x; encoder: arXiv 2505.10848",
    licence="Apache-2.0 (published code and weights)",
    lora=("q_proj", "v_proj"),
    tiny=TINY,
    extractor="tokenization.casanovo:CasanovoFeatureExtractor",
    tokenizer="tokenization.peptides:PeptideTokenizer",
)
class CasanovoModel(CasanovoPreTrainedModel):
    """The encoder: 18,926,080 parameters in version 4 and 19,449,856 in version 5 at the published size."""

    def __init__(self, config: CasanovoConfig) -> None:
        super().__init__(config)
        self.embeddings = CasanovoEmbeddings(config)
        self.layers = nn.ModuleList(CasanovoEncoderLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        peaks: Tensor,
        attention_mask: Tensor | None = None,
        precursors: Tensor | None = None,
        **kwargs: Any,
    ) -> SpectrumEncoderOutput:
        """Encode.

        Args:
            peaks: (batch, peaks, 2) float32: m/z in Th and intensity, the intensities of a spectrum of norm 1.
            attention_mask: (batch, peaks), 1 = real peak; None takes peaks whose m/z and intensity sum to 0 for padding.
            precursors: taken and not used: the encoder is blind to the precursor.
            kwargs: `output_hidden_states`, `output_attentions` (eager attention), `return_dict`.

        Returns:
            `SpectrumEncoderOutput`; row 0 of `last_hidden_state` (batch, peaks + 1, d) is the spectrum token, padded rows
            are 0. `pooler_output` (batch, d) is that row, or the mean of the real peaks' rows, as `config.pooling` says.
        """
        peaks = functional.pad(self.check_peaks(peaks), (0, 0, 1, 0))
        if attention_mask is None:
            present = peaks.sum(-1) != 0
        else:
            present = functional.pad(attention_mask != 0, (1, 0))
        present[:, 0] = True
        recorded = any(
            kwargs.get(key, getattr(self.config, key))
            for key in ("output_hidden_states", "output_attentions")
        )
        spectrum_token = torch.zeros_like(present)
        spectrum_token[:, 0] = True
        if recorded or peaks.device.type != "cpu" or torch.compiler.is_compiling():
            states = self.encode(peaks, spectrum_token, key_mask(present, self.dtype))
            states = states.masked_fill(~present.unsqueeze(-1), 0.0)
        else:
            states = self.encode_ragged(peaks, spectrum_token, present)
        return SpectrumEncoderOutput(last_hidden_state=states, pooler_output=self.pool(states, present))

    def encode(
        self,
        peaks: Tensor,
        spectrum_token: Tensor,
        mask: Tensor | None = None,
        lengths: list[int] | None = None,
    ) -> Tensor:
        """Rows (batch, tokens, d) of peaks (batch, tokens, 2); arguments as in embeddings and layers."""
        states = self.embeddings(peaks, spectrum_token)
        for layer in self.layers:
            states = layer(states, mask, lengths)
        return states

    def encode_ragged(self, peaks: Tensor, spectrum_token: Tensor, present: Tensor) -> Tensor:
        """The same without padding, some thousand tokens at a time, which the processor's cache can hold.

        Arguments (batch, tokens, 2) and twice (batch, tokens). Attention is computed spectrum by spectrum.
        """
        lengths = present.sum(1).tolist()
        flat, token = peaks[present].unsqueeze(0), spectrum_token[present].unsqueeze(0)
        first, parts = 0, []
        for group in grouped(lengths, _TOKENS_AT_ONCE):
            last = first + sum(group)
            parts.append(self.encode(flat[:, first:last], token[:, first:last], lengths=group)[0])
            first = last
        states = torch.cat(parts)
        return states.new_zeros(*present.shape, states.shape[-1]).masked_scatter(
            present.unsqueeze(-1), states
        )

    def pool(self, states: Tensor, present: Tensor) -> Tensor:
        """Vectors (batch, d) of rows (batch, tokens, d) that are 0 where `present` (batch, tokens) is False."""
        if self.config.pooling == "global":
            return states[:, 0]
        count = present[:, 1:].sum(-1, keepdim=True).clamp_min(1)
        return (states[:, 1:].sum(1, dtype=torch.float32) / count).to(states.dtype)


@register_head("casanovo", "AutoModelForPeptideSequencing")
class CasanovoForPeptideSequencing(CasanovoPreTrainedModel):
    """Encoder and decoder: 47,350,813 parameters in version 4 and 47,871,517 in version 5 at the published size."""

    def __init__(self, config: CasanovoConfig) -> None:
        super().__init__(config)
        self.model = CasanovoModel(config)
        self.decoder = CasanovoDecoder(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        peaks: Tensor,
        attention_mask: Tensor | None = None,
        precursors: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> PeptideSequencingOutput:
        """Score given peptides.

        Args:
            peaks: (batch, peaks, 2) float32, m/z in Th and intensity; and
            attention_mask: as in `CasanovoModel`.
            precursors: (batch, 3) float32: neutral mass in Da, charge, m/z.
            labels: (batch, length) int64 of `PeptideTokenizer`: C- to N-terminus, stop, 0 = padding. None scores the
                first token only.
            kwargs: as in `CasanovoModel`.

        Returns:
            `PeptideSequencingOutput`; the loss has `config.label_smoothing` in training and none in evaluation.
        """
        encoded = self.model(peaks, attention_mask, **kwargs)
        memory = encoded.last_hidden_state
        precursors = self.check_precursors(precursors, self.config, len(memory))
        tokens = labels if labels is not None else memory.new_zeros(len(memory), 0, dtype=torch.long)
        logits = self.decoder(tokens, precursors, memory, _present(peaks, attention_mask))
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(
                logits[:, :-1].flatten(0, 1).float(),
                labels.flatten(),
                ignore_index=self.config.pad_token_id or 0,
                label_smoothing=self.config.label_smoothing if self.training else 0.0,
            )
        return PeptideSequencingOutput(
            loss=loss,
            logits=logits,
            pooler_output=encoded.pooler_output,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )

    @torch.no_grad()
    def generate(
        self,
        peaks: Tensor,
        attention_mask: Tensor | None = None,
        precursors: Tensor | None = None,
        *,
        num_beams: int = 1,
        num_return_sequences: int = 1,
        **options: Any,
    ) -> PeptideSearchOutput:
        """Write peptides by beam search.

        Args:
            peaks: (batch, peaks, 2) float32, attention_mask, precursors: as in `forward`.
            num_beams: beams per spectrum.
            num_return_sequences: peptides per spectrum at most, no more than `num_beams`.
            options: `min_length` (residues), `max_length` (tokens), `precursor_tolerance` (ppm, 0 = no filter), `isotopes`
                (first, last); None or left out = those of the configuration.

        Raises:
            ValueError: an option is out of range, or the filter is on and the configuration has no residue masses.
        """
        precursors = self.check_precursors(precursors, self.config, len(peaks))
        rules = SearchRules.of(self.config, **options)
        search = BeamSearch(self.decoder, rules, num_beams, num_return_sequences)
        memory = self.model(peaks, attention_mask).last_hidden_state
        return search(memory, _present(peaks, attention_mask), precursors)


def _present(peaks: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Mask (batch, peaks + 1) bool of the encoder's rows."""
    real = peaks.sum(-1) != 0 if attention_mask is None else attention_mask != 0
    return functional.pad(real, (1, 0), value=True)
