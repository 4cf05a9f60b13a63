"""NexaMass: a contrastive spectrum encoder on eight numbers per peak (Hugging Face AethronPhantom/NexaMass-V3-Struct).

The published code is not public; what the model card fixes, and what had to be chosen, is in `NexaMassConfig`. The heads
for molecular structure are in `nexamass_structure`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .alignment import same_group_mask, symmetric_info_nce
from .base import SpectrumPreTrainedModel
from .layers import BiasedSelfAttention, Packing, PreNormLayer, key_mask
from .mapper import Prior, Temperature
from .nexamass_config import TINY, NexaMassConfig
from .outputs import ContrastiveOutput, SpectrumEncoderOutput
from .registry import register_head, register_model
from .token_encoder import is_recorded


class NexaMassEmbeddings(nn.Module):
    """Features and annotations of peaks to tokens, a learned token in front."""

    def __init__(self, config: NexaMassConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.features = nn.Linear(config.n_features, size)
        self.cls_token = nn.Parameter(torch.zeros(size))
        self.mask_token = nn.Parameter(torch.zeros(size)) if config.mask_token else None
        self.positions = nn.Parameter(torch.zeros(config.n_positions, size)) if config.n_positions else None
        self.annotations: nn.EmbeddingBag | None = None
        width = config.path_width
        if config.annotation_size:
            self.annotations = nn.EmbeddingBag(config.annotation_size, width, mode="sum", padding_idx=0)
        self.context = nn.Embedding(config.context_size, width) if config.context_size else None
        self.narrow: nn.Module = nn.Linear(width, size, bias=False) if width != size else nn.Identity()

    def forward(
        self, features: Tensor, present: Tensor, peak_mask: Tensor | None, inputs: dict[str, Tensor | None]
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, 1 + N, d), and the additive path (B, path width): the sum of what the peaks can be, weighted by √intensity.

        Args:
            features: (B, N, 8). present: bool (B, N). peak_mask: bool (B, N), peaks to hide.
            inputs: annotation_ids, annotation_weights, context_ids of `NexaMassFeatureExtractor`.
        """
        dtype = self.features.weight.dtype
        tokens = self.features(features.to(dtype))
        first = self.cls_token.expand(len(tokens), 1, -1)
        path: Tensor | None = None
        if self.annotations is not None:
            annotated = self._annotated(inputs, features.shape[:2]).to(dtype)
            tokens = tokens + self.narrow(annotated)
            strength = (features[..., 3] * present).to(dtype)
            path = torch.einsum("bn,bnd->bd", strength, annotated)
        if self.context is not None and inputs["context_ids"] is not None:
            context = self.context(inputs["context_ids"]).sum(1)
            first = first + self.narrow(context)[:, None]
            path = context if path is None else path + context
        if peak_mask is not None:
            if self.mask_token is None:
                raise ValueError("this layout has no mask token; set mask_token in the configuration")
            tokens = torch.where(peak_mask[..., None], self.mask_token, tokens)
        tokens = torch.cat([first, tokens], dim=1)
        if self.positions is not None:
            if tokens.shape[1] > len(self.positions):
                raise ValueError(
                    f"{tokens.shape[1] - 1} peaks but positions for {len(self.positions) - 1}; keep fewer peaks"
                )
            tokens = tokens + self.positions[: tokens.shape[1]]
        return tokens, path

    def _annotated(self, inputs: dict[str, Tensor | None], shape: torch.Size) -> Tensor:
        ids, weights = inputs["annotation_ids"], inputs["annotation_weights"]
        if self.annotations is None or ids is None or weights is None:
            raise ValueError(
                "this model needs annotation_ids and annotation_weights; use the NexaMassFeatureExtractor it was saved with"
            )
        flat = weights.flatten(0, 1).to(self.annotations.weight.dtype)
        return self.annotations(ids.flatten(0, 1), per_sample_weights=flat).unflatten(0, shape)


class NexaMassPreTrainedModel(SpectrumPreTrainedModel):
    """Initialisation and loading shared by the NexaMass classes."""

    config: NexaMassConfig
    config_class = NexaMassConfig
    _no_split_modules: ClassVar[list[str]] = ["NexaMassEmbeddings", "PreNormLayer"]
    _can_record_outputs: ClassVar[dict[str, Any]] = {
        "hidden_states": PreNormLayer,
        "attentions": BiasedSelfAttention,
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
            init.normal_(module.weight, std=std)
        elif isinstance(module, NexaMassEmbeddings):
            for parameter in (module.cls_token, module.mask_token, module.positions):
                if parameter is not None:
                    init.normal_(parameter, std=std)
        elif isinstance(module, Temperature):
            init.constant_(module.log_tau, float(torch.tensor(module.initial).log()))
        elif isinstance(module, Prior):
            init.zeros_(module.log_odds)


@register_model(
    "nexamass",
    kind="spectrum-encoder",
    paper="model card AethronPhantom/NexaMass-V3-Struct",
    licence="Apache-2.0 (our code; the published weights have their own terms)",
    lora=("q_proj", "v_proj"),
    tiny=TINY,
    extractor="tokenization.nexamass:NexaMassFeatureExtractor",
    tokenizer="tokenization.morgan:MorganTokenizer",
)
class NexaMassModel(NexaMassPreTrainedModel):
    """The encoder: pre-norm transformer over peaks, `pooler_output` (B, d) is its first token after the final norm."""

    def __init__(self, config: NexaMassConfig) -> None:
        super().__init__(config)
        self.embeddings = NexaMassEmbeddings(config)
        self.layers = nn.ModuleList(PreNormLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.path_norm: nn.LayerNorm | None = None
        if config.additive_path:
            self.path_norm = nn.LayerNorm(config.path_width, eps=config.layer_norm_eps)
            self.widen = nn.Linear(config.hidden_size, config.path_width)
        self.post_init()

    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        peaks: Tensor,
        attention_mask: Tensor | None = None,
        features: Tensor | None = None,
        annotation_ids: Tensor | None = None,
        annotation_weights: Tensor | None = None,
        context_ids: Tensor | None = None,
        peak_mask: Tensor | None = None,
        pooled_only: bool = False,
        **kwargs: Any,
    ) -> SpectrumEncoderOutput:
        """Encode.

        Args:
            peaks: float32 (B, N, 2), m/z in Th and relative intensity.
            attention_mask: (B, N), 1 = peak; None takes peaks of m/z 0 for filler.
            features: float32 (B, N, 8) of `NexaMassFeatureExtractor`.
            annotation_ids, annotation_weights: (B, N, 8). context_ids: (B, 3). For models configured with them.
            peak_mask: bool (B, N), True = replaced by the mask token.
            pooled_only: compute `pooler_output` alone; the last layer then works for the first token only.
            kwargs: `output_hidden_states`, `output_attentions` (eager attention), `return_dict`.

        Raises:
            ValueError: the extractor's inputs are missing.
        """
        peaks = self.check_peaks(peaks)
        if features is None:
            raise ValueError("NexaMass reads the features of NexaMassFeatureExtractor; they are missing")
        recorded = is_recorded(self.config, kwargs)
        present = peaks[..., 0] > 0 if attention_mask is None else attention_mask.bool()
        extra = {
            "annotation_ids": annotation_ids,
            "annotation_weights": annotation_weights,
            "context_ids": context_ids,
        }
        first_only = pooled_only and not recorded
        tokens, path = self.embeddings(features, present, peak_mask, extra)
        hidden = self._encode(tokens, F.pad(present, (1, 0), value=True), first_only, recorded)
        pooled = hidden[:, 0]
        if self.path_norm is not None and path is not None:
            pooled = self.widen(pooled) + self.path_norm(path)
        return SpectrumEncoderOutput(last_hidden_state=None if first_only else hidden, pooler_output=pooled)

    def _encode(self, tokens: Tensor, visible: Tensor, first_only: bool, recorded: bool) -> Tensor:
        """Layers and norm, (B, 1 + N, d) to the same or, `first_only`, (B, 1, d); filler is left out where it can be."""
        mask = key_mask(visible, tokens.dtype)
        packing = None if recorded or torch.compiler.is_compiling() else Packing.of(visible)
        hidden = tokens if packing is None else packing.pack(tokens)
        for layer in self.layers[:-1]:
            hidden = layer(hidden, mask, packing=packing)
        hidden = self.norm(self.layers[-1](hidden, mask, pooled_only=first_only, packing=packing))
        if packing is None:
            return hidden
        return hidden.transpose(0, 1) if first_only else packing.pad_with_zeros(hidden)


class ProjectionMlp(nn.Module):
    """Linear, GELU, Linear with biases; without a hidden layer one Linear: (…, sizes[0]) to (…, sizes[-1])."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        widths = [width for width in sizes if width]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, hidden: Tensor) -> Tensor:
        """Project."""
        for layer in self.layers[:-1]:
            hidden = F.gelu(layer(hidden))
        return self.layers[-1](hidden)


def embedding_spread(embeddings: Tensor) -> Tensor:
    """Spread of unit vectors (B, d) against collapse: root mean variance over the batch times √d; 1 = widest, 0 = all equal.

    The card's "embedding std 0.0722" is 1 / √192, this figure at its largest.
    """
    return embeddings.float().var(0, unbiased=False).mean().sqrt() * embeddings.shape[-1] ** 0.5


@register_head(
    "nexamass", "AutoModelForSpectrumPreTraining", "AutoModelForPreTraining", "AutoModelForSpectrumEmbedding"
)
class NexaMassForContrastivePreTraining(NexaMassPreTrainedModel):
    """Two views of one spectrum together, other spectra apart, on unit vectors of 192 numbers."""

    def __init__(self, config: NexaMassConfig) -> None:
        super().__init__(config)
        self.model = NexaMassModel(config)
        self.ssl_head = ProjectionMlp(config.pooled_size, config.ssl_hidden, config.ssl_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        peaks: Tensor,
        attention_mask: Tensor | None = None,
        features: Tensor | None = None,
        views: int = 1,
        molecule_ids: Tensor | None = None,
        **inputs: Any,
    ) -> ContrastiveOutput:
        """Embed, and with `views` = 2 the contrastive loss.

        Args:
            peaks: float32 (B, N, 2), m/z in Th and relative intensity. attention_mask, features, inputs: as in `NexaMassModel`.
            views: 2 if the second half of the batch holds the second views of the first half, in order.
            molecule_ids: int (B / 2,), equal where two spectra are of one molecule: no negatives of each other.

        Raises:
            ValueError: two views in a batch of odd size.
        """
        pooled = self.model(
            peaks, attention_mask=attention_mask, features=features, pooled_only=True, **inputs
        ).pooler_output
        embeddings = F.normalize(self.ssl_head(pooled), dim=-1)
        loss = contrastive_loss(embeddings, self.config.temperature, molecule_ids) if views == 2 else None
        return ContrastiveOutput(loss=loss, embeddings=embeddings, spread=embedding_spread(embeddings))


def contrastive_loss(embeddings: Tensor, temperature: float, groups: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE between the halves of a batch (2P, d), scalar.

    Raises:
        ValueError: the batch cannot be halved.
    """
    if len(embeddings) % 2:
        raise ValueError(f"two views need an even batch, got {len(embeddings)} rows")
    first, second = embeddings.chunk(2)
    ignore = None if groups is None else same_group_mask(groups)
    return symmetric_info_nce(first, second, torch.tensor(temperature), ignore)
