"""Spectra to embeddings, one row for every record of the input."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ..spectra.spectrum import Problem, Spectrum
from .encode import embed_spectra, runtime
from .inputs import as_spectrum, why

logger = logging.getLogger(__name__)

STATUSES = {
    "ok": "embedded; `reason` says what the spectrum lacks that the model would have used",
    "unreadable": "the record is no spectrum",
    "no_peaks": "there is nothing to embed",
    "failed": "the model cannot read this spectrum",
}
NO_PRECURSOR = "precursor m/z is missing; embedded by its peaks alone"


@dataclass(slots=True)
class Embedding:
    """Embedding of one record, float32 (D,), or None with another `status` of `STATUSES` and the `reason`."""

    index: int
    native_id: str
    status: str
    reason: str
    embedding: npt.NDArray[np.float32] | None


def embed(
    spectra: Iterable[Any], model: Any, processor: Any, *, batch_size: int = 64, block: int = 1024
) -> Iterator[Embedding]:
    """Embed every spectrum, in input order; a record that fails has a status and no embedding.

    Args:
        spectra: `Spectrum`, `Problem`, rows of `load_spectra`, mappings or matchms spectra.
        model: retrieval model or spectrum encoder on its device.
        processor: its feature extractor.
        batch_size: spectra per forward pass.
        block: spectra read ahead, so that those of similar length share a batch.
    """
    seconds, count, stream = 0.0, 0, iter(spectra)
    logger.info("embedding with %s, %s", type(model).__name__, runtime(model))
    while records := list(islice(stream, block)):
        start = time.perf_counter()
        read = [as_spectrum(record, count + i) for i, record in enumerate(records)]
        good = [item for item in read if isinstance(item, Spectrum) and len(item)]
        vectors, failed = embed_spectra(good, model, processor, batch_size)
        # reading the file and writing the answers are not counted
        seconds += time.perf_counter() - start
        place = {id(item): i for i, item in enumerate(good)}
        for item in read:
            row = place.get(id(item))
            yield _answer(
                item, None if row is None else vectors[row], None if row is None else failed.get(row)
            )
        count += len(records)
    logger.info("%d spectra in %.1f s, %.1f spectra/s", count, seconds, count / max(seconds, 1e-9))


def _answer(
    item: Spectrum | Problem, vector: npt.NDArray[np.float32] | None, failure: str | None
) -> Embedding:
    """The row of one record: its vector, or why it has none."""
    if isinstance(item, Problem):
        status, reason = "unreadable", why(item)
    elif vector is None:
        status, reason = "no_peaks", "the spectrum has no peak"
    elif failure is not None:
        status, reason = "failed", failure
    else:
        status, reason = "ok", "" if item.precursor_mz is not None else NO_PRECURSOR
    return Embedding(item.index, item.native_id, status, reason, vector if status == "ok" else None)
