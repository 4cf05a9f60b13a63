"""The nearest molecule of a spectrum library, told to a decoder as SELFIES-BERT vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel
from transformers.utils import cached_file

from ...spectra.spectrum import Spectrum
from ...tokenization.selfies import encode_selfies
from ..encode import device_of, embed_spectra
from ..loading import Loaded
from .library import EMBEDDINGS, MANIFEST, SPECTRA, SpectrumLibrary
from .library_records import encoder_of


class LibraryCondition:
    """Makes the conditions `library_embeds`, `library_mask` and `library_similarity` of `SpectrumToMoleculeModel`.

    Args:
        library: of spectra, built with the encoder of `loaded`, or of fingerprints, if that encoder predicts some.
        loaded: the spectrum-to-molecule model with its feature extractor and SELFIES tokenizer.
        bert: the SELFIES BERT that reads the match; by default the one inside the model.
        batch_size: spectra per forward pass of the encoder.

    Raises:
        LibraryError: the library belongs to another encoder.
        ValueError: the model has no SELFIES BERT, and none is given.
    """

    def __init__(
        self, library: SpectrumLibrary, loaded: Loaded, bert: Any = None, batch_size: int = 64
    ) -> None:
        library.check_model(loaded.model)
        self.library, self.loaded, self.batch_size = library, loaded, batch_size
        found = getattr(loaded.model, "molecule_encoder", None) if bert is None else bert
        if found is None:
            raise ValueError(
                "the model holds no SELFIES BERT to read a library match; give the one it was trained with"
            )
        self.bert: Any = found

    @classmethod
    def load(cls, folder: str | Path, loaded: Loaded, bert: str | None = None) -> LibraryCondition:
        """From the folder of a library, and of a SELFIES BERT if the model holds none."""
        model = None if bert is None else AutoModel.from_pretrained(bert).eval().to(device_of(loaded.model))
        return cls(SpectrumLibrary.load(folder), loaded, model)

    @classmethod
    def of_checkpoint(cls, checkpoint: str, loaded: Loaded) -> LibraryCondition | None:
        """The library that lies in the folder or Hub repository of a model; None if there is none or the model reads none."""
        if not getattr(loaded.model.config, "library", False):
            return None
        quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors")}
        found = [cached_file(checkpoint, name, **quiet) for name in (SPECTRA, EMBEDDINGS, MANIFEST)]
        return None if found[-1] is None else cls.load(Path(found[-1]).parent, loaded)

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
        asked = (
            _Fingerprints(self.loaded.model)
            if self.library.of_fingerprints
            else encoder_of(self.loaded.model)
        )
        vectors, failed = embed_spectra(spectra, asked, self.loaded.processor, self.batch_size)
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
            batch = self.loaded.tokenizer(distinct, padding=True, truncation=True, return_tensors="pt")
            batch = {name: batch[name].to(device_of(self.bert)) for name in ("input_ids", "attention_mask")}
            context, real = self.bert.context(**batch)
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


class _Fingerprints:
    """The bits that a model's encoder predicts, as `embed_spectra` asks for them."""

    def __init__(self, model: Any) -> None:
        self.model, self.device = model, device_of(model)

    def get_spectrum_features(self, **inputs: Tensor) -> Tensor:
        """Probabilities (B, bits)."""
        return self.model.encode_spectra(**inputs)[1]


def _selfies(smiles: str) -> str:
    """The SELFIES of a molecule; "" if there is none, or if SELFIES cannot write it."""
    try:
        return encode_selfies(smiles) if smiles else ""
    except ValueError:
        return ""
