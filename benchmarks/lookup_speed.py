"""Seconds per query of an open search: LSM1's vectors against matchms, pair by pair and with its fast index."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from contenders import outputs
from data import SpectrumTable
from neighbours import ModifiedCosineSearch, matchms_spectrum

logger = logging.getLogger("msformers.benchmark")
Floats = npt.NDArray[np.float64]


def race(
    models: dict[str, Any],
    library: dict[str, Floats],
    references: SpectrumTable,
    queries: SpectrumTable,
    count: int,
) -> list[dict[str, Any]]:
    """Time `count` random queries, one at a time on one processor; matchms pair by pair a quarter of them.

    A model's time is that of preparing and embedding the query and of its product with all vectors (float32). The fast
    index of matchms is made at every call; that part is subtracted by timing one query too.

    Args:
        models: model and extractor by name. library: vectors of the references by name.

    Returns:
        One row per contender: seconds on the wall and of the processor, which is the steadier clock on a shared machine;
        `times_first` is the processor's over that of the first model.
    """
    chosen = np.random.default_rng(0).permutation(len(queries))[:count].tolist()
    few = chosen[: max(1, len(chosen) // 4)]
    search = ModifiedCosineSearch(references)
    spectra = {place: matchms_spectrum(queries, place) for place in chosen}
    rows: list[tuple[str, Floats, int]] = []
    for name, (model, extractor) in models.items():
        vectors, model = torch.from_numpy(library[name]).float(), model.cpu()

        def ask(place: int, parts: Any = (model, extractor), vectors: torch.Tensor = vectors) -> int:
            embedded = outputs(*parts, queries.select([place]), "embeddings")
            return int((vectors @ torch.from_numpy(embedded[0]).float()).argmax())

        rows.append((name, _seconds(ask, chosen), len(chosen)))
    pairwise = _seconds(lambda place: search.brute_force(spectra[place]), few)
    rows.append(("matchms modified cosine, pair by pair", pairwise, len(few)))
    fast = _seconds(lambda _: search.all_scores(list(spectra.values())), [0])
    index = _seconds(lambda _: search.all_scores([spectra[chosen[0]]]), [0])
    each = (fast - index) / max(len(chosen) - 1, 1)
    rows.append(("matchms modified cosine, FlashSimilarity", each, len(chosen)))
    found = [
        {
            "contender": name,
            "references": len(references),
            "queries": timed,
            "seconds_per_query": round(float(clocks[0]), 6),
            "cpu_seconds_per_query": round(float(clocks[1]), 6),
            "times_first": round(float(clocks[1] / rows[0][1][1]), 1),
        }
        for name, clocks, timed in rows
    ]
    for row in found:
        logger.info("%s", row)
    return found


def _seconds(function: Callable[[int], Any], places: list[int]) -> Floats:
    """Mean seconds of a call, on the wall and of the processor, after one call that is not counted."""
    function(places[0])
    start = np.array([time.perf_counter(), time.process_time()])
    for place in places:
        function(place)
    return (np.array([time.perf_counter(), time.process_time()]) - start) / len(places)
