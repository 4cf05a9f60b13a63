"""Whatever a user calls a spectrum, as `Spectrum` or as the `Problem` that says why it is none."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import fields
from os import PathLike
from typing import Any

import numpy as np

from ..spectra.adducts import AdductError, parse_adduct
from ..spectra.read import read
from ..spectra.spectrum import IonMode, Problem, Spectrum
from ..tokenization.spectrum import as_peak_list, relative

_TEXT = ("native_id", "adduct", "formula", "name", "smiles", "inchikey", "instrument_type", "path")
_NUMBER = ("precursor_mz", "collision_energy", "retention_time")
_INTEGER = ("charge", "ms_level", "line", "index")


def as_spectrum(item: Any, position: int = 0) -> Spectrum | Problem:
    """Read one spectrum of any accepted form.

    Args:
        item: a `Spectrum` or `Problem`, a row of `load_spectra`, a mapping with mz and intensity and any other field
            of `Spectrum`, or a `matchms.Spectrum`.
        position: its place in the input; becomes `index` where the item states none.
    """
    if isinstance(item, Spectrum | Problem):
        return item
    given = item if isinstance(item, Mapping) else getattr(item, "metadata", {})
    try:
        peaks = as_peak_list(item, position)
    except (TypeError, ValueError) as error:
        native_id = str(given.get("native_id") or "") if isinstance(given, Mapping) else ""
        return Problem(position, None, native_id, "", "", str(error))
    order = np.argsort(peaks.mz, kind="stable")
    values = _fields(dict(given), position)
    values["precursor_mz"] = peaks.precursor_mz
    return Spectrum(
        mz=peaks.mz[order], intensity=relative(peaks.intensity[order]).astype(np.float32), **values
    )


def why(problem: Problem) -> str:
    """What is wrong with a record and what to do, in one line; where it is stands in the other columns."""
    parts = (problem.field, repr(problem.value) if problem.value else "", problem.reason)
    text = " ".join(part for part in parts if part)
    return f"{text}; {problem.remedy}" if problem.remedy else text


def as_spectra(inputs: Any) -> list[Spectrum | Problem] | Generator[Spectrum | Problem] | None:
    """Read all spectra of whatever holds several.

    Args:
        inputs: the path of a file or folder, a list or tuple, a `datasets.Dataset` (also streaming), a slice of one (a
            mapping of columns), a dataset of torch, or any other iterable. Items as in `as_spectrum`.

    Returns:
        a list; a generator, which reads nothing ahead, for datasets of torch and for what can only be iterated over, such
        as a streaming dataset; None if `inputs` is a single spectrum, or nothing of the kind.

    Raises:
        FileNotFoundError: there is nothing at the path.
    """
    if isinstance(inputs, str | PathLike):
        return list(read(inputs))
    if isinstance(inputs, Spectrum | Problem | bytes) or hasattr(inputs, "peaks"):
        return None
    rows, several = inputs, isinstance(inputs, list | tuple) or _is_table(inputs)
    if isinstance(inputs, Mapping):
        if not _holds_columns(inputs):
            return None
        rows, several = (
            (dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)),
            True,
        )
    elif not isinstance(inputs, Iterable):
        if not (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")):
            return None
        rows = (inputs[row] for row in range(len(inputs)))
    records = (as_spectrum(item, position) for position, item in enumerate(rows))
    return list(records) if several else records


def _is_table(inputs: Any) -> bool:
    """Whether it is a `datasets.Dataset` in memory or on disk, and not a streaming one."""
    return hasattr(inputs, "column_names") and hasattr(inputs, "__len__")


def _holds_columns(given: Mapping[Any, Any]) -> bool:
    mz: Any = given.get("mz")
    return hasattr(mz, "__len__") and not isinstance(mz, str) and len(mz) > 0 and np.ndim(mz[0]) == 1


def _fields(given: dict[str, Any], position: int) -> dict[str, Any]:
    """The fields of `Spectrum` but the peaks, from a mapping; what cannot be read stays unknown."""
    given.setdefault("ion_mode", given.get("ionmode"))
    given.setdefault("native_id", given.get("spectrum_id") or given.get("title"))
    known = {field.name for field in fields(Spectrum)}
    values: dict[str, Any] = {"index": position}
    for names, convert in ((_TEXT, str), (_NUMBER, float), (_INTEGER, int)):
        for name in names:
            value = given.get(name)
            if name in known and value is not None and value != "":
                try:
                    values[name] = convert(value)
                except (TypeError, ValueError, OverflowError):
                    continue
    values["ion_mode"] = _mode(given.get("ion_mode"), values.get("adduct"))
    return values


def _mode(text: Any, adduct: str | None) -> IonMode | None:
    stated = str(text or "").strip().lower()[:3]
    if stated in ("pos", "neg"):
        return "positive" if stated == "pos" else "negative"
    try:
        return parse_adduct(adduct).ion_mode if adduct else None
    except AdductError:
        return None
