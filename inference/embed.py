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


@dataclass(slots=True)
class Embedding:
    """Embedding of one record, float32 (D,), or None with `status` ("unreadable", "failed") and `reason`."""

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
        rows = [i for i, item in enumerate(read) if isinstance(item, Spectrum)]
        good = [item for item in read if isinstance(item, Spectrum)]
        vectors, failed = embed_spectra(good, model, processor, batch_size)
        # reading the file and writing the answers are not counted
        seconds += time.perf_counter() - start
        place = {row: i for i, row in enumerate(rows)}
        for row, item in enumerate(read):
            if isinstance(item, Problem):
                yield Embedding(item.index, item.native_id, "unreadable", why(item), None)
            elif place[row] in failed:
                yield Embedding(item.index, item.native_id, "failed", failed[place[row]], None)
            else:
                yield Embedding(item.index, item.native_id, "ok", "", vectors[place[row]])
        count += len(records)
    logger.info("%d spectra in %.1f s, %.1f spectra/s", count, seconds, count / max(seconds, 1e-9))
