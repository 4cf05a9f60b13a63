"""Spectra as a `datasets.Dataset` with one fixed schema, and as `matchms.Spectrum` objects the other way in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from .clean import finish
from .read import PathLike, read
from .read_json import record_of
from .read_table import DIALECT, spectrum_from_row
from .record import Record
from .spectrum import Problem, Spectrum
from .write_table import SCHEMA, row_of, to_batches

__all__ = ["FEATURES", "SpectrumDataset", "from_objects", "load_spectra", "row_of", "spectrum_from_row"]

FEATURES = datasets.Features.from_arrow_schema(SCHEMA)
"""The one schema of spectra: the fields of `Spectrum`, `metadata` as the text of a JSON object."""


class SpectrumDataset(datasets.Dataset):
    """A dataset of spectra that also knows what could not be read.

    Attributes:
        problems: one `Problem` per record that gave no spectrum; together with the column ``index`` they account for
            every record of the input.
    """

    problems: list[Problem]


def load_spectra(
    source: PathLike | Iterable[PathLike] | Iterable[Any], cache_file: PathLike | None = None
) -> SpectrumDataset:
    """Load spectra from files, folders or objects.

    Args:
        source: a file or folder of any format `read` knows, several of them, or `Spectrum` objects, problems,
            `matchms.Spectrum` objects or mappings with ``mz`` and ``intensity``, also mixed.
        cache_file: an Arrow file to keep the spectra in, memory-mapped, for inputs larger than memory; written anew.

    Returns:
        one row per readable spectrum, in order, features `FEATURES`; `.problems` lists the rest.

    Raises:
        FileNotFoundError: a path does not exist.
        TypeError: an object is none of the above.
    """
    problems: list[Problem] = []
    batches = to_batches(_items(source), problems)
    if cache_file is not None:
        name = os.fspath(cache_file)
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
            for batch in batches:
                writer.write_batch(batch)
        table = datasets.table.MemoryMappedTable.from_file(name)
    else:
        table = datasets.table.InMemoryTable(pa.Table.from_batches(batches, schema=SCHEMA))
    dataset = SpectrumDataset(table, info=datasets.DatasetInfo(features=FEATURES))
    dataset.problems = problems
    return dataset


def _items(source: Any) -> Iterator[Spectrum | Problem]:
    if isinstance(source, (str, os.PathLike)):
        return read(source)
    if isinstance(source, Mapping) or hasattr(source, "peaks") or isinstance(source, (Spectrum, Problem)):
        return from_objects([source])
    if isinstance(source, datasets.Dataset):
        return from_objects(source)
    things = list(source)
    if things and all(isinstance(thing, (str, os.PathLike)) for thing in things):
        return read(Path(thing) for thing in things)
    return from_objects(things)


def from_objects(objects: Iterable[Any]) -> Iterator[Spectrum | Problem]:
    """Spectra of `Spectrum` and `matchms.Spectrum` objects and of mappings, cleaned as those of files are.

    Raises:
        TypeError: an object is none of these.
    """
    for index, item in enumerate(objects):
        if isinstance(item, (Spectrum, Problem)):
            yield item
        elif isinstance(item, Mapping) and set(SCHEMA.names) <= set(item):
            yield spectrum_from_row(item)
        else:
            yield from finish([_record(item, index)], None, index, DIALECT)


def _record(item: Any, index: int) -> Record:
    if isinstance(item, Mapping):
        return record_of(item, None)
    peaks = getattr(item, "peaks", None)
    metadata = getattr(item, "metadata", None)
    if peaks is None or not isinstance(metadata, Mapping):
        raise TypeError(
            f"item {index} is a {type(item).__name__}; give paths, Spectrum or matchms.Spectrum objects, or mappings"
        )
    record = record_of(metadata, None)
    record.fault = None
    record.peaks = (np.asarray(peaks.mz), np.asarray(peaks.intensities))
    return record
