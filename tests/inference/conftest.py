"""A model small enough to reason about: spectra and molecules are bags of characters in one random space."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from msformers.spectra.spectrum import Spectrum
from msformers.tokenization.spectrum import SpectrumFeatureExtractor

MOLECULES = {
    "caffeine": "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "glucose": "OCC1OC(O)C(O)C(O)C1O",
    "fructose": "OCC(=O)C(O)C(O)C(O)CO",
    "alanine": "CC(N)C(=O)O",
    "sarcosine": "CNCC(=O)O",
    "choline": "C[N+](C)(C)CCO",
    "tryptophan": "NC(Cc1c[nH]c2ccccc12)C(=O)O",
}


class BagTokenizer:
    """SMILES to character codes."""

    pad_token_id = 0

    def __call__(self, smiles: Sequence[str], **_: Any) -> dict[str, torch.Tensor]:
        codes = [torch.tensor([ord(letter) for letter in text]) for text in smiles]
        ids = torch.nn.utils.rnn.pad_sequence(codes, batch_first=True)
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}


class BagModel(torch.nn.Module):
    """The sum of one random vector per character; a spectrum with those codes as m/z is the same vector."""

    def __init__(self, seed: int = 0, dim: int = 16) -> None:
        super().__init__()
        table = torch.randn(256, dim, generator=torch.Generator().manual_seed(seed))
        self.table = torch.nn.Parameter(table, requires_grad=False)
        self.config = SimpleNamespace(_name_or_path=f"bag-{seed}", _commit_hash=None)
        self.molecule_batches: list[tuple[int, int]] = []
        self.spectra_seen = 0

    @property
    def device(self) -> torch.device:
        return self.table.device

    @property
    def dtype(self) -> torch.dtype:
        return self.table.dtype

    def get_molecule_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        self.molecule_batches.append(tuple(input_ids.shape))
        return (self.table[input_ids] * attention_mask[..., None]).sum(1)

    def get_spectrum_features(self, peaks: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        self.spectra_seen += len(peaks)
        return 3.0 * (self.table[peaks[..., 0].round().long()] * attention_mask[..., None]).sum(1)


def spectrum_of(smiles: str, **fields: Any) -> Spectrum:
    """A spectrum that `BagModel` puts exactly where it puts the molecule."""
    mz = np.sort(np.array([ord(letter) for letter in smiles], dtype=np.float64))
    return Spectrum(mz=mz, intensity=np.ones(len(mz), np.float32), **fields)


@pytest.fixture
def model() -> BagModel:
    return BagModel()


@pytest.fixture
def tokenizer() -> BagTokenizer:
    return BagTokenizer()


@pytest.fixture
def extractor() -> SpectrumFeatureExtractor:
    return SpectrumFeatureExtractor()


@pytest.fixture
def molecules() -> dict[str, str]:
    return dict(MOLECULES)


@pytest.fixture
def make_spectrum() -> Any:
    return spectrum_of


@pytest.fixture
def bag_model() -> type[BagModel]:
    return BagModel


@pytest.fixture
def smi(tmp_path: Any) -> Any:
    path = tmp_path / "molecules.smi"
    path.write_text("".join(f"{smiles}\t{name}\n" for name, smiles in MOLECULES.items()))
    return path
