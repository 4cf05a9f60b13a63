"""Peak lists: text to arrays, many records at once where they are regular, line by line where they are not."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .fields import MAX_MZ

Mz = npt.NDArray[np.float64]
Intensity = npt.NDArray[np.float32]

_COMMENT = ("#", ";", "!", "/")
_COMMA_NUMBER = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")
_PAIR = re.compile(r"([^\s,:]*\.[^\s,:]*|[^\s,:]+)\s*[,:]\s*([^\s,:]*\.[^\s,:]*|[^\s,:]+)")
_SMALLEST = 1e-37


class PeakError(ValueError):
    """A peak list that cannot be read: the line's offset in the list, its text, why, and what to do."""

    def __init__(self, offset: int | None, value: str, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.offset = offset
        self.value = value
        self.reason = reason
        self.remedy = remedy


def parse_regular(texts: Sequence[str]) -> list[tuple[Mz, Intensity] | None]:
    """Parse the peak lists of many records in one go.

    Args:
        texts: one text per record, lines of ``m/z intensity`` separated by spaces or tabs, without blank lines.

    Returns:
        per record (m/z, relative intensity), or None where the list is not perfectly regular: two finite
        positive numbers on every line, m/z strictly ascending. Such a list goes through `parse_lines`.
    """
    if not texts:
        return []
    try:
        values = _numbers("\n".join(texts))
    except (pa.ArrowException, ValueError):
        if len(texts) == 1:
            return [None]
        middle = len(texts) // 2
        return parse_regular(texts[:middle]) + parse_regular(texts[middle:])
    mz, intensity = values[0::2], values[1::2]
    counts = np.fromiter((text.count("\n") + 1 for text in texts), np.int64, len(texts))
    ends = np.cumsum(counts)
    starts = ends - counts
    rises = np.empty(len(mz), bool)
    rises[1:] = mz[1:] > mz[:-1]
    rises[starts] = mz[starts] > 0
    lowest, highest = np.minimum.reduceat(intensity, starts), np.maximum.reduceat(intensity, starts)
    good = (
        np.logical_and.reduceat(rises, starts) & (lowest > 0) & (highest < np.inf) & (mz[ends - 1] <= MAX_MZ)
    )
    good &= lowest > highest * _SMALLEST
    with np.errstate(all="ignore"):
        relative = (intensity / np.repeat(highest, counts)).astype(np.float32)
    rows = zip(good.tolist(), starts.tolist(), ends.tolist(), strict=True)
    return [(mz[a:b].copy(), relative[a:b].copy()) if fine else None for fine, a, b in rows]


def _numbers(text: str) -> npt.NDArray[np.float64]:
    """All numbers of a text of two columns; ValueError if a line has not exactly two.

    Arrow's buffers are taken as they are: its conversions to and from Python import pandas, a quarter of a second.
    """
    data = text.encode("ascii")
    ends = pa.py_buffer(np.array([0, len(data)], np.int32))
    lines = pc.split_pattern(pa.StringArray.from_buffers(1, ends, pa.py_buffer(data)), "\n").values
    columns = pc.ascii_split_whitespace(lines)
    if not _two_each(columns):
        columns = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(lines))
        if not _two_each(columns):
            raise ValueError("a line has not two columns")
    numbers = pc.cast(columns.values, pa.float64())
    return np.frombuffer(numbers.buffers()[1], np.float64, len(numbers), numbers.offset * 8)


def _two_each(columns: pa.ListArray) -> bool:
    """Whether every list has two values."""
    offsets = np.frombuffer(columns.buffers()[1], np.int32, len(columns) + 1, columns.offset * 4)
    return bool((np.diff(offsets) == 2).all())


def parse_lines(text: str) -> tuple[list[float], list[float], list[str]]:
    """Parse one peak list line by line: further columns, comments, decimal commas, ``mz,intensity``.

    Returns:
        m/z values, intensities, notes on what was guessed.

    Raises:
        PeakError: a line is not a peak.
    """
    mz: list[float] = []
    intensity: list[float] = []
    commas = False
    for offset, line in enumerate(text.split("\n")):
        bare = line.strip()
        if not bare or bare.startswith(_COMMENT):
            continue
        try:
            first, second, comma = _parse_line(bare)
        except ValueError as error:
            raise PeakError(
                offset, bare[:80], str(error), "write each peak as 'm/z intensity', or remove the line"
            ) from None
        commas = commas or comma
        mz.append(first)
        intensity.append(second)
    return mz, intensity, ["decimal commas in peaks"] if commas else []


def _parse_line(line: str) -> tuple[float, float, bool]:
    tokens = line.split()
    if len(tokens) >= 2:
        try:
            return _float(tokens[0]), _float(tokens[1]), False
        except ValueError:
            pair = [token.rstrip(";") for token in tokens[:2]]
            commas = [_COMMA_NUMBER.fullmatch(token) is not None for token in pair]
            if any(commas):
                first, second = (
                    token.replace(",", ".") if comma else token
                    for token, comma in zip(pair, commas, strict=True)
                )
                return _float(first), _float(second), True
    match = _PAIR.fullmatch(line.split('"')[0].strip())
    if match is not None and not (_COMMA_NUMBER.fullmatch(line) and "." not in line):
        return _float(match[1]), _float(match[2]), False
    if len(tokens) < 2:
        raise ValueError("has one column where m/z and intensity are expected")
    raise ValueError("is not 'm/z intensity'")


def _float(token: str) -> float:
    try:
        if "_" in token:
            raise ValueError
        return float(token)
    except ValueError:
        raise ValueError("is not 'm/z intensity'") from None


def clean_peaks(
    mz: npt.ArrayLike, intensity: npt.ArrayLike, dtype: type = np.float64
) -> tuple[Mz, Intensity, list[str]]:
    """Make any two arrays a peak list as `Spectrum` promises it.

    Args:
        mz: m/z in Th, any order, shape (n,).
        intensity: intensities in any unit, shape (n,).
        dtype: the precision to read them in.

    Returns:
        m/z ascending (n',) float64, relative intensity (n',) float32, notes on dropped, sorted or merged peaks.

    Raises:
        PeakError: the arrays have different lengths, or no peak is valid.
    """
    try:
        masses = np.asarray(mz, dtype=dtype).astype(np.float64).reshape(-1)
        heights = np.asarray(intensity, dtype=dtype).astype(np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise PeakError(None, "", f"are not numbers: {error}"[:120]) from None
    if len(masses) != len(heights):
        raise PeakError(
            None,
            f"{len(masses)} m/z, {len(heights)} intensities",
            "have different numbers",
            "repair the record",
        )
    if not len(masses):
        raise PeakError(None, "", "are missing", "a record needs at least one peak")
    notes: list[str] = []
    valid = _valid(masses, heights, notes)
    masses, heights = masses[valid], heights[valid]
    if not len(masses):
        raise PeakError(None, f"{len(valid)} peaks", f"hold no valid one ({notes[0]})", "repair the record")
    if not (masses[1:] > masses[:-1]).all():
        masses, heights = _sort(masses, heights, notes)
    relative = (heights / heights.max()).astype(np.float32)
    kept = relative > 0
    if not kept.all():
        notes.append(f"dropped {int((~kept).sum())} peaks too small beside the base peak")
        masses, relative = masses[kept], relative[kept]
    return masses, relative, notes


def _valid(mz: Mz, intensity: npt.NDArray[np.float64], notes: list[str]) -> npt.NDArray[np.bool_]:
    infinite = ~np.isfinite(mz) | ~np.isfinite(intensity)
    outside = ~infinite & ((mz <= 0) | (mz > MAX_MZ))
    empty = ~infinite & ~outside & (intensity <= 0)
    kinds = (
        (infinite, "NaN or infinite"),
        (outside, "with m/z out of range"),
        (empty, "of intensity 0 or below"),
    )
    found = [f"{int(mask.sum())} {word}" for mask, word in kinds if mask.any()]
    if found:
        notes.append(f"dropped of {len(mz)} peaks: {', '.join(found)}")
    return ~(infinite | outside | empty)


def _sort(mz: Mz, intensity: npt.NDArray[np.float64], notes: list[str]) -> tuple[Mz, npt.NDArray[np.float64]]:
    """Ascending m/z; of peaks at the very same m/z the most intense stays."""
    order = np.lexsort((-intensity, mz))
    if (mz[1:] < mz[:-1]).any():
        notes.append("peaks were not sorted by m/z")
    mz, intensity = mz[order], intensity[order]
    first = np.ones(len(mz), bool)
    first[1:] = mz[1:] != mz[:-1]
    if not first.all():
        notes.append(f"dropped {int((~first).sum())} peaks at the m/z of a stronger one")
    return mz[first], intensity[first]
