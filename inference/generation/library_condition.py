"""The nearest molecule of a spectrum library, told to a decoder as SELFIES-BERT vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

from ...spectra.spectrum import Spectrum
from ...tokenization.selfies import encode_selfies
from ..encode import device_of, embed_spectra
from ..loading import Loaded
from .library import SpectrumLibrary, encoder_of


class LibraryCondition:
    """Makes the conditions `library_embeds`, `library_mask` and `library_similarity` of `SpectrumToMoleculeModel`.

    Args:
        library: built with the encoder of `loaded`.
        loaded: the spectrum-to-molecule model with its feature extractor.
        bert: a SELFIES BERT whose vectors the decoder was trained on. tokenizer: its SELFIES tokenizer.
        window: tokens per context vector; None takes the configuration of `bert`, 0 the mean vector alone.

    Raises:
        LibraryError: the library belongs to another encoder.
    """

    def __init__(
        self, library: SpectrumLibrary, loaded: Loaded, bert: Any, tokenizer: Any, window: int | None = None
    ) -> None:
        library.check_model(loaded.model)
        self.library, self.loaded, self.window = library, loaded, window
        self.bert, self.tokenizer = bert, tokenizer

    @classmethod
    def load(
        cls, folder: str | Path, loaded: Loaded, bert: str, window: int | None = None
    ) -> LibraryCondition:
        """From the folder of a library and the folder or Hub id of a SELFIES BERT."""
        model = AutoModel.from_pretrained(bert).eval().to(device_of(loaded.model))
        return cls(SpectrumLibrary.load(folder), loaded, model, AutoTokenizer.from_pretrained(bert), window)

    def __call__(
        self, spectra: Sequence[Spectrum], exclude: Sequence[str | None] | None = None
    ) -> dict[str, Tensor]:
        """Conditions of B spectra.

        Args:
            exclude: per spectrum the first InChIKey block of a molecule not to be told, as in `SpectrumLibrary.nearest`.

        Returns:
            `library_embeds` (B, S, d), `library_mask` (B, S), True = real, and `library_similarity` (B,), the cosine of
            the match. Without a match the mask is all False and the similarity NaN.
        """
        model = encoder_of(self.loaded.model)
        vectors, failed = embed_spectra(spectra, model, self.loaded.processor)
        found = self.library.nearest(vectors, exclude=exclude)
        texts = ["" if row in failed or not names else names[0] for row, names in enumerate(found.smiles)]
        return self.describe(texts, found.similarities[:, 0])

    @torch.inference_mode()
    def describe(self, smiles: Sequence[str], similarity: Any) -> dict[str, Tensor]:
        """The conditions for matches that are known already: B SMILES, "" for none, and their similarities (B,)."""
        written = [_selfies(text) for text in smiles]
        distinct = sorted(set(written) - {""})
        width = int(self.bert.config.hidden_size)
        embeds, mask = torch.zeros(len(smiles), 1, width), torch.zeros(len(smiles), 1, dtype=torch.bool)
        if distinct:
            batch = self.tokenizer(distinct, padding=True, truncation=True, return_tensors="pt")
            batch = {name: batch[name].to(device_of(self.bert)) for name in ("input_ids", "attention_mask")}
            context, real = self.bert.context(**batch, window=self.window)
            # an empty row at the end, for the spectra without a match
            context, real = (
                F.pad(context.float().cpu(), (0, 0, 0, 0, 0, 1)),
                F.pad(real.cpu(), (0, 0, 0, 1)),
            )
            place = {text: row for row, text in enumerate(distinct)}
            rows = torch.tensor([place.get(text, len(distinct)) for text in written])
            embeds, mask = context[rows], real[rows].bool()
        near = np.where([bool(text) for text in written], np.asarray(similarity, dtype=np.float32), np.nan)
        return {
            "library_embeds": embeds,
            "library_mask": mask,
            "library_similarity": torch.from_numpy(near.astype(np.float32)),
        }


def _selfies(smiles: str) -> str:
    """The SELFIES of a molecule; "" if there is none, or if SELFIES cannot write it."""
    try:
        return encode_selfies(smiles) if smiles else ""
    except ValueError:
        return ""
