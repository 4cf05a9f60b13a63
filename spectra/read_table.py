"""Parquet and Arrow: this project's own schema, and tables of others with a peak list in every row."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .clean import finish
from .peaks import PeakError, clean_peaks
from .read_json import record_of
from .record import Dialect, Fault, Record
from .source import GZIP_MAGIC, Source, SourceError
from .spectrum import Problem, Spectrum
from .write_table import SCHEMA

DIALECT = Dialect("table", lambda line: None)
_ROWS = 1024
_MAX_UNZIPPED = 2 * 2**30
_PEAK_COLUMNS = ("mz", "mzs", "m/z", "peaks", "peaks_json", "peaks_mz", "spectrum")
_PLAIN = [name for name in SCHEMA.names if name not in ("mz", "intensity", "metadata", "notes")]


def read_table(source: Source, start_index: int = 0) -> Iterator[Spectrum | Problem]:
    """Read a Parquet file, an Arrow file or an Arrow stream, a thousand rows at a time.

    A table of other software needs m/z and intensity columns (lists, or numbers in a text), or a column of peaks;
    its other columns are understood by the same names as the keys of MGF and MSP.

    Raises:
        SourceError: no column holds peaks.
        pyarrow.ArrowException: the file is damaged.
    """
    index = start_index
    for batch in _batches(source):
        names = batch.schema.names
        if set(SCHEMA.names) <= set(names):
            for row in _rows(batch):
                yield _own(row, source.path, index)
                index += 1
            continue
        if not any(name.lower() in _PEAK_COLUMNS for name in names):
            raise SourceError(
                f"has no column of peaks among {', '.join(names)[:200]}", "name two columns mz and intensity"
            )
        records = (_record(row) for row in _rows(batch))
        for item in finish(records, source.path, index, DIALECT):
            yield item
            index += 1


def _batches(source: Source) -> Iterator[pa.RecordBatch]:
    with open(source.path, "rb") as stream:
        zipped = stream.read(2) == GZIP_MAGIC
    handle: Any = source.path
    if zipped:
        with source.binary() as unzipped:
            data = unzipped.read(_MAX_UNZIPPED + 1)
        if len(data) > _MAX_UNZIPPED:
            raise SourceError("is a gzipped table of more than 2 GB", "decompress it first")
        handle = io.BytesIO(data)
    head = source.head()
    if head.startswith(b"PAR1"):
        with pq.ParquetFile(handle) as table:
            yield from table.iter_batches(batch_size=_ROWS)
        return
    with handle if zipped else pa.memory_map(handle) as mapped:
        if head.startswith(b"ARROW1"):
            reader = pa.ipc.open_file(mapped)
            batches: Iterator[pa.RecordBatch] = map(reader.get_batch, range(reader.num_record_batches))
        else:
            batches = iter(pa.ipc.open_stream(mapped))
        for batch in batches:
            for start in range(0, batch.num_rows, _ROWS):
                yield batch.slice(start, _ROWS)


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Rows as dicts, lists of numbers as arrays."""
    columns = [_cells(column) for column in batch.columns]
    for cells in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, cells, strict=True))


def _cells(column: pa.Array) -> list[Any]:
    kind = column.type
    if isinstance(column, pa.DictionaryArray):
        return list(column.dictionary_decode().to_pylist())
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not lists or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        return list(column.to_pylist())
    values = column.values.to_numpy(zero_copy_only=False)
    offsets = column.offsets.to_numpy()
    missing = column.is_null().to_pylist()
    pairs = zip(missing, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    return [None if gone else values[start:end] for gone, start, end in pairs]


def _record(row: Mapping[str, Any]) -> Record:
    row = {
        key: _numbers(value) if key.lower() in ("mz", "mzs", "intensity", "intensities") else value
        for key, value in row.items()
    }
    if all(row.get(key) is None for key in row if key.lower() in _PEAK_COLUMNS):
        return Record(None, record_of(row, None).fields, ([], []))
    return record_of(row, None)


def _numbers(value: Any) -> Any:
    """A text of numbers (``[1, 2]``, ``1,2`` or ``1 2``) to a list of them; anything else as it is."""
    if not isinstance(value, str):
        return value
    return value.strip("[]() ").replace(",", " ").split()


def _own(row: Mapping[str, Any], path: str, index: int) -> Spectrum | Problem:
    native_id = row["native_id"] or f"index={index}"
    try:
        spectrum = spectrum_from_row(row)
    except PeakError as error:
        return Problem(index, None, native_id, "peaks", error.value, error.reason, path, error.remedy)
    except (ValueError, TypeError) as error:
        fault = Fault(
            "metadata", str(row["metadata"])[:80], f"is not a JSON object: {error}", "repair the row"
        )
        return Problem(index, None, native_id, fault.field, fault.value, fault.reason, path, fault.remedy)
    spectrum.index, spectrum.native_id, spectrum.path, spectrum.line = index, native_id, path, None
    return spectrum


def spectrum_from_row(row: Mapping[str, Any]) -> Spectrum:
    """The `Spectrum` of one row of `load_spectra` (or of any mapping with `SCHEMA`'s names; absent ones are None).

    Raises:
        PeakError: a ValueError; no valid peaks.
        ValueError: `metadata` is not a JSON object.
    """
    mz, intensity = np.asarray(row["mz"], np.float64), np.asarray(row["intensity"], np.float32)
    said = row.get("notes")
    notes = () if said is None else tuple(map(str, said))
    if not _is_clean(mz, intensity):
        mz, intensity, repairs = clean_peaks(mz, intensity)
        notes += tuple(repairs)
    metadata = json.loads(row.get("metadata") or "{}")
    if not isinstance(metadata, dict):
        raise ValueError("not an object")
    plain: dict[str, Any] = {name: row.get(name) for name in _PLAIN}
    plain["index"], plain["native_id"] = plain["index"] or 0, plain["native_id"] or ""
    return Spectrum(mz, intensity, **plain, metadata=metadata, notes=notes)


def _plain(value: Any) -> Any:
    """A Python value of what a formatted dataset gives: scalars of arrays out of them, NaN (a null) to None."""
    value = value.item() if hasattr(value, "item") else value
    return None if value != value else value


def _is_clean(mz: np.ndarray, intensity: np.ndarray) -> bool:
    if mz.ndim != 1 or mz.shape != intensity.shape or not len(mz):
        return False
    rising = bool((mz[1:] > mz[:-1]).all()) and mz[0] > 0 and bool(np.isfinite(mz[-1]))
    return rising and bool(intensity.min() > 0) and bool(intensity.max() == 1)
