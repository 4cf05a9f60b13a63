"""Spectra and molecules through a model, in batches of similar length, as unit vectors in NumPy."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..spectra.spectrum import Spectrum
from .retrieval.search import normalize

logger = logging.getLogger(__name__)
Floats = npt.NDArray[np.float32]
NOT_FINITE = "the model gave an embedding that is not finite"


class DecodeError(ValueError):
    """A path from spectra to molecules that a model does not have."""


def device_of(model: Any) -> torch.device:
    """Where the model's weights are; the CPU for an object without any."""
    return torch.device(getattr(model, "device", None) or "cpu")


def runtime(model: Any) -> str:
    """Device, dtype and threads in one line, such as "device cpu, dtype float32, 2 threads"."""
    dtype = str(getattr(model, "dtype", torch.float32)).removeprefix("torch.")
    return f"device {device_of(model)}, dtype {dtype}, {torch.get_num_threads()} threads"


def decode_path(model: Any, decode: str) -> str:
    """`decode`, if the model has that path; a model that says nothing has the path "fingerprint", its only space.

    Raises:
        DecodeError: it has not.
    """
    paths = getattr(model, "decode_paths", ("fingerprint",))
    if decode not in paths:
        name = type(model).__name__
        raise DecodeError(f"{name} has no path {decode!r}; use --decode {' or '.join(paths)}")
    return decode


def bit_probabilities(model: Any, features: Floats, decode: str = "fingerprint") -> Floats | None:
    """Chance of each fingerprint bit (B, D) from spectrum features (B, D); None if the features speak of no bits.

    A model with a `prior` gives log-odds against it, one that states its `decode_paths` gives probabilities.
    """
    prior = getattr(model, "prior", None)
    if decode != "fingerprint" or (prior is None and not hasattr(model, "decode_paths")):
        return None
    if prior is None:
        return features
    logits = features + prior.log_odds.detach().float().cpu().numpy()
    return np.asarray(1.0 / (1.0 + np.exp(-logits)), dtype=np.float32)


def embed_molecules(
    smiles: Sequence[str], model: Any, tokenizer: Any, batch_size: int = 256, decode: str = "fingerprint"
) -> Floats:
    """Embeddings of molecules in the space a retrieval model searches.

    Args:
        smiles: canonical SMILES, as `spectra.molecules` writes them.
        model: has ``get_molecule_features(input_ids, attention_mask) -> (B, D)``.
        tokenizer: the model's SMILES tokenizer.
        batch_size: molecules per forward pass; molecules of similar length share one.
        decode: the model's path; "projection" asks ``get_target_features`` instead.

    Raises:
        DecodeError: the model has no such path.

    Returns:
        (n, D) float32 in the order given, rows of unit length. A row that is not finite is zero.
    """
    projected = decode_path(model, decode) == "projection"
    features = model.get_target_features if projected else model.get_molecule_features

    def forward(rows: list[int]) -> torch.Tensor:
        batch = tokenizer([smiles[row] for row in rows], padding=True, truncation=True, return_tensors="pt")
        ids, mask = batch["input_ids"].to(device_of(model)), batch["attention_mask"].to(device_of(model))
        return features(input_ids=ids, attention_mask=mask)

    vectors = _by_length(forward, [len(text) for text in smiles], batch_size)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        logger.warning("%d molecules have no finite embedding and cannot be found", int((~finite).sum()))
        vectors[~finite] = 0.0
    return normalize(vectors)


def embed_spectra(
    spectra: Sequence[Spectrum],
    model: Any,
    processor: Any,
    batch_size: int = 64,
    decode: str = "fingerprint",
) -> tuple[Floats, dict[int, str]]:
    """Embeddings of spectra; one that fails costs only itself.

    Args:
        spectra: any number, held in memory together.
        model: a retrieval model (``get_spectrum_features``) or a spectrum encoder (`embeddings` or `pooler_output`).
        processor: the model's feature extractor.
        batch_size: spectra per forward pass; spectra with similar numbers of peaks share one.
        decode: as in `spectrum_features`.

    Returns:
        (n, D) float32 in the order given, as the model gives them; and the reasons of the rows that failed (zeros).
    """
    failed: dict[int, str] = {}

    def forward(rows: list[int]) -> torch.Tensor:
        batch = processor([spectra[row] for row in rows], return_tensors="pt")
        inputs = {key: value.to(device_of(model)) for key, value in batch.items()}
        return spectrum_features(model, inputs, decode)

    def forward_each(rows: list[int]) -> torch.Tensor:
        try:
            return forward(rows)
        except (ValueError, TypeError) as error:
            if len(rows) == 1:
                failed[rows[0]] = str(error)
                return torch.zeros(1, 0)
        return _stack([forward_each([row]) for row in rows])

    vectors = _by_length(forward_each, [len(spectrum) for spectrum in spectra], batch_size)
    for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
        failed.setdefault(row, NOT_FINITE)
        vectors[row] = 0.0
    return vectors, failed


def spectrum_features(
    model: Any, inputs: dict[str, torch.Tensor], decode: str = "fingerprint"
) -> torch.Tensor:
    """(B, D) spectrum embeddings of one batch, from a retrieval model or from a spectrum encoder.

    Args:
        decode: of a retrieval model, the path; "projection" asks ``get_query_features``.

    Raises:
        TypeError: the model has no output that is an embedding of the spectrum.
        DecodeError: the model has no such path.
    """
    if decode_path(model, decode) == "projection":
        return model.get_query_features(**inputs)
    if hasattr(model, "get_spectrum_features"):
        return model.get_spectrum_features(**inputs)
    output = model(**inputs)
    for name in ("embeddings", "spectrum_embeds", "pooler_output"):
        if getattr(output, name, None) is not None:
            return getattr(output, name)
    raise TypeError(
        f"{type(model).__name__} gives no spectrum embedding; load it with AutoModel or as retrieval model"
    )


def weights_sha256(model: Any) -> str:
    """SHA-256 of names, dtypes and bytes of all weights; "" for an object without `state_dict`."""
    if not hasattr(model, "state_dict"):
        return ""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _by_length(
    forward: Callable[[list[int]], torch.Tensor], lengths: Sequence[int], batch_size: int
) -> Floats:
    """Run `forward` on rows of similar length, longest first, and put the results back in order as (n, D)."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    parts = []
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            parts.append(forward(order[start : start + batch_size]).float().cpu())
    stacked = _stack(parts).numpy()
    vectors = np.zeros((len(lengths), stacked.shape[1]), dtype=np.float32)
    vectors[order] = stacked
    return vectors


def _stack(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack (n_i, D) parts; a part of width 0 stands for failed rows and becomes zeros."""
    width = max((part.shape[1] for part in parts), default=0)
    rows = [part if part.shape[1] == width else part.new_zeros(len(part), width) for part in parts]
    return torch.cat([row.to(rows[0]) for row in rows]) if rows else torch.zeros(0, 0)
