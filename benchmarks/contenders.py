"""What the LSM1 benchmarks share: the test folds as the paper names them, contenders by NAME=FOLDER, their outputs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from data import (
    OPEN_LICENCES,
    SPECTRA_FILE,
    SpectrumDataset,
    SpectrumTable,
    load_spectra_table,
    table_path,
)
from tqdm import tqdm
from transformers import AutoFeatureExtractor

from msformers import resolve_checkpoint

logger = logging.getLogger("msformers.benchmark")
FOLDS = {"Known": "known_test", "Unknown": "test"}
"""Known: molecules of the training fold by spectra that it lacks. Unknown: molecules that it does not have."""
LICENCES = ("all", "open")
MAX_PRECURSOR = 1000.0
"""LSM1 and MS2Prop read no further (lsm1.md §1, §9); spectra beyond are left out for every contender."""

Floats = npt.NDArray[np.float64]


def training_table(data: Path, limit: int | None = None) -> SpectrumTable:
    """The training fold of all licences, `limit` random spectra of it; precursors up to `MAX_PRECURSOR`."""
    return load_spectra_table(data, ["train"], "all", limit=limit, max_precursor_mz=MAX_PRECURSOR)


def query_table(data: Path, fold: str, limit: int | None = None) -> SpectrumTable:
    """A test fold of all licences, by its name in `FOLDS`; otherwise as `training_table`."""
    return load_spectra_table(data, [FOLDS[fold]], "all", limit=limit, max_precursor_mz=MAX_PRECURSOR)


def licensed(table: SpectrumTable, licences: str) -> npt.NDArray[np.int64]:
    """Places of the spectra of `LICENCES`: "all", or "open", which shipped weights are trained on."""
    if licences == "all":
        return np.arange(len(table))
    return np.flatnonzero(np.isin(table.rows["license"], OPEN_LICENCES))


def seen_places(data: Path, table: SpectrumTable) -> npt.NDArray[np.int64]:
    """Places of the spectra whose molecule some open-licence training spectrum shows.

    The Known fold was drawn among molecules of all licences; to weights trained on open ones a sixth of it is unknown.
    """
    columns = pq.read_table(table_path(data, SPECTRA_FILE), columns=["inchikey14", "fold", "license"])
    open_train = pc.and_(
        pc.equal(columns["fold"], "train"), pc.is_in(columns["license"], pa.array(OPEN_LICENCES))
    )
    seen = columns.filter(open_train)["inchikey14"].unique().to_pylist()
    return np.flatnonzero(np.isin(table.rows["inchikey14"], seen))


def parse_contenders(entries: Sequence[str]) -> dict[str, str]:
    """``NAME=FOLDER`` to folders with a checkpoint; FOLDER may be a training run, a checkpoint, or a shipped name.

    Raises:
        SystemExit: an entry is not of that form, or a name occurs twice.
    """
    pairs = [entry.partition("=") for entry in entries]
    broken = [entry for entry, pair in zip(entries, pairs, strict=True) if not (pair[0] and pair[2])]
    names = [pair[0] for pair in pairs]
    if broken or len(set(names)) < len(names):
        raise SystemExit(
            f"--models {' '.join(broken or names)}: give different NAME=FOLDER, such as lsm1=runs/a"
        )
    return {name: checkpoint(folder) for name, _, folder in pairs}


def checkpoint(folder: str) -> str:
    """The checkpoint of a training run (its folder ``model``), else what `resolve_checkpoint` makes of the name."""
    inner = Path(folder) / "model"
    return str(inner) if (inner / "config.json").is_file() else resolve_checkpoint(folder)


def load(auto: Any, folder: str) -> tuple[Any, Any]:
    """Model in float32, ready for inference, and its feature extractor."""
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    logger.info("%s: %d parameters on %s", folder, sum(p.numel() for p in model.parameters()), device)
    return model.to(device), AutoFeatureExtractor.from_pretrained(folder)


@torch.inference_mode()
def outputs(model: Any, extractor: Any, table: SpectrumTable, field: str, batch_size: int = 128) -> Floats:
    """One field of the model's output for every spectrum, (n, D) float64 in the order of the table.

    Args:
        field: such as "properties" or "embeddings".
        batch_size: spectra per forward pass; those with similar numbers of peaks share one.
    """
    dataset = SpectrumDataset(table)
    order = np.argsort(table.n_peaks, kind="stable")
    parts = []
    for start in tqdm(range(0, len(order), batch_size), desc=field, unit="batch", leave=False):
        rows = [dataset[int(place)] for place in order[start : start + batch_size]]
        batch = {key: value.to(model.device) for key, value in extractor(rows, return_tensors="pt").items()}
        parts.append(getattr(model(**batch), field).double().cpu().numpy())
    found: Floats = np.empty((len(table), parts[0].shape[1]))
    found[order] = np.concatenate(parts)
    return found
