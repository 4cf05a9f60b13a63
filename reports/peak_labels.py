"""What a peak plot shows: which peaks carry their m/z as text, where that text stands, and where the axis has ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MAX_DECIMALS = 4
PRECURSOR_TOLERANCE = 0.01
"""Within this distance in Th (or 20 ppm, if wider) a peak is shown as the precursor."""
TRIES = 6
"""Peaks looked at for every label that may be placed; keeps spectra of thousands of peaks fast."""
SAME_LINE = 3.0
"""Peaks closer than this in pixels look like one line, which gets one label: that of the taller."""


@dataclass(frozen=True, slots=True)
class Label:
    """The m/z of one peak as text, centred at `x` with its baseline at `y`, in pixels (y grows downwards)."""

    peak: int
    text: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class TextSize:
    """Size of label text in pixels: width of one character, height of a line."""

    char: float
    line: float


def mz_decimals(mz: Floats) -> int:
    """Decimals that tell all m/z of a spectrum as its file gives them, at most `MAX_DECIMALS`, at least 1."""
    for decimals in range(1, MAX_DECIMALS):
        if np.abs(np.round(mz, decimals) - mz).max(initial=0.0) < 0.5 * 10.0**-MAX_DECIMALS:
            return decimals
    return MAX_DECIMALS


def precursor_peak(mz: Floats, precursor_mz: float | None) -> int | None:
    """The peak of the unfragmented precursor, if the spectrum has one."""
    if precursor_mz is None or not len(mz):
        return None
    nearest = int(np.abs(mz - precursor_mz).argmin())
    near = abs(float(mz[nearest]) - precursor_mz) <= max(PRECURSOR_TOLERANCE, 20e-6 * precursor_mz)
    return nearest if near else None


def axis_range(mz: Floats, precursor_mz: float | None) -> tuple[float, float]:
    """Lowest and highest m/z to draw: all peaks and the precursor with a margin, at least 20 Th wide."""
    ends = [*mz[[0, -1]], *([precursor_mz] if precursor_mz else [])] if len(mz) else [precursor_mz or 100.0]
    low, high = float(min(ends)), float(max(ends))
    margin = max(0.08 * (high - low), 10.0 - (high - low) / 2.0, 4.0)
    return max(0.0, low - margin), high + margin


def ticks(low: float, high: float, wanted: int = 8) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) between two ends, about as many as wanted."""
    rough = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def place_labels(
    xs: Floats,
    tops: Floats,
    texts: list[str],
    size: TextSize,
    bounds: tuple[float, float],
    *,
    first: tuple[int, ...] = (),
    limit: int = 24,
) -> list[Label]:
    """Choose and place labels so that no text touches another, a peak, or the ends of the plot.

    The tallest peaks are served first; a peak whose text fits nowhere stays without.

    Args:
        xs, tops: pixel of every peak, shape (n,); y grows downwards, so the tallest peak has the smallest `tops`.
        texts: the text of every peak.
        size: of the text.
        bounds: left and right end in pixels.
        first: peaks to serve before all others.
        limit: most labels.
    """
    order = [*first, *(int(i) for i in np.argsort(tops, kind="stable") if i not in first)]
    placed: list[Label] = []
    boxes: list[tuple[float, float, float, float]] = []
    for peak in order[: TRIES * limit]:
        if len(placed) >= limit:
            break
        if any(abs(xs[label.peak] - xs[peak]) < SAME_LINE for label in placed):
            continue
        half = size.char * len(texts[peak]) / 2.0
        aside, line = half + 4.0, size.line
        above = [(0.0, 0.0), (half / 2.0, 0.0), (-half / 2.0, 0.0)]
        for shift, drop in [*above, (aside, line / 2), (-aside, line / 2), (aside, line), (-aside, line)]:
            x, y = float(xs[peak]) + shift, float(tops[peak]) - 4.0 + drop
            box = (x - half - 1.0, y - size.line, x + half + 1.0, y + 1.0)
            if (
                box[0] < bounds[0]
                or box[2] > bounds[1]
                or _blocked(box, boxes, xs, tops, -1 if drop else peak)
            ):
                continue
            placed.append(Label(peak, texts[peak], x, y))
            boxes.append(box)
            break
    return placed


def _blocked(
    box: tuple[float, float, float, float],
    boxes: list[tuple[float, float, float, float]],
    xs: Floats,
    tops: Floats,
    own: int,
) -> bool:
    """Whether a box overlaps a placed one or is crossed by a peak other than `own`."""
    left, top, right, bottom = box
    if any(left < b[2] and b[0] < right and top < b[3] and b[1] < bottom for b in boxes):
        return True
    crossing = (xs > left) & (xs < right) & (tops < bottom)
    if own >= 0:
        crossing[own] = False
    return bool(crossing.any())
