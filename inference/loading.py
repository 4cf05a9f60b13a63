"""A checkpoint's model with its feature extractor and tokenizer, on the device and in the dtype asked for."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer
from transformers.utils import logging as library_logging

from ..modeling.auto import (
    AutoModelForMoleculeGeneration,
    AutoModelForMoleculeRetrieval,
    AutoModelForPeptideSequencing,
    AutoModelForSpectrumEmbedding,
)
from .retrieval.confidence import Calibration
from .retrieval.evidence import FragmentEvidence

logger = logging.getLogger(__name__)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded for what it is asked to do; says what to do."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready for inference.

    `tokenizer` is None without a molecule side, `evidence` and `calibration` if the checkpoint has none.
    """

    model: Any
    processor: Any
    tokenizer: Any
    evidence: FragmentEvidence | None = None
    calibration: Calibration | None = None


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        CheckpointError: torch does not know the name, or the machine lacks the device.
    """
    if name == "auto":
        accelerator = torch.cuda.is_available() or torch.backends.mps.is_available()
        name = ("cuda" if torch.cuda.is_available() else "mps") if accelerator else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise CheckpointError(
            f"device {name!r} cannot be used ({str(error).splitlines()[0]}); try --device cpu"
        ) from error
    return device


def load_retrieval(name: str, device: str = "auto", dtype: str = "float32") -> Loaded:
    """A retrieval model (spectra and molecules in one space).

    Args:
        name: folder or Hub id.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: one of `DTYPES`.

    Raises:
        CheckpointError: nothing of that name, or it is no retrieval model.
        CalibrationError: its ``calibration.json`` is damaged.
    """
    model = _load(AutoModelForMoleculeRetrieval, name, device, dtype)
    with _explained(name, "has no SMILES tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(name)
    processor = _processor(name)
    evidence = FragmentEvidence.load(name, processor)
    return Loaded(model, processor, tokenizer, evidence, Calibration.load(name))


def load_embedder(name: str, device: str = "auto", dtype: str = "float32") -> Loaded:
    """A model that embeds spectra: a retrieval model, a model for spectrum embedding, or a bare spectrum encoder."""
    for auto in (AutoModelForMoleculeRetrieval, AutoModelForSpectrumEmbedding):
        with contextlib.suppress(CheckpointError):
            return Loaded(_load(auto, name, device, dtype), _processor(name), None)
    return Loaded(_load(AutoModel, name, device, dtype), _processor(name), None)


def load_sequencer(name: str, device: str = "auto", dtype: str = "float32") -> Loaded:
    """A model that reads peptides off spectra, with its peptide tokenizer; arguments and errors as in `load_retrieval`."""
    model = _load(AutoModelForPeptideSequencing, name, device, dtype)
    with _explained(name, "has no peptide tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(name)
    return Loaded(model, _processor(name), tokenizer)


def load_generator(name: str, device: str = "auto", dtype: str = "float32") -> Loaded:
    """A model that writes molecules from spectra, with its SELFIES tokenizer; arguments and errors as in `load_retrieval`."""
    model = _load(AutoModelForMoleculeGeneration, name, device, dtype)
    with _explained(name, "has no SELFIES tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(name)
    return Loaded(model, _processor(name), tokenizer)


def _load(auto: Any, name: str, device: str, dtype: str) -> Any:
    if dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}")
    where = pick_device(device)
    bars = library_logging.is_progress_bar_enabled()
    library_logging.disable_progress_bar()
    try:
        with _explained(name, f"is no checkpoint for {auto.__name__}"):
            model = auto.from_pretrained(name, dtype=DTYPES[dtype])
    finally:
        if bars:
            library_logging.enable_progress_bar()
    return model.eval().to(where)


def _processor(name: str) -> Any:
    with _explained(name, "has no feature extractor (preprocessor_config.json)"):
        return AutoFeatureExtractor.from_pretrained(name)


@contextlib.contextmanager
def _explained(name: str, what: str) -> Any:
    """Turn the library's errors about a missing or unfit checkpoint into a `CheckpointError`."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CheckpointError(
            f"{name}: {what} ({first}); give a folder or a Hub id of a checkpoint, `msformers info` lists those shipped"
        ) from error
