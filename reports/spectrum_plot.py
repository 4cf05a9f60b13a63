"""A peak plot as a small SVG, drawn without any library, for the HTML report."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from ..spectra.spectrum import Spectrum
from .peak_labels import Floats, Label, TextSize, axis_range, mz_decimals, place_labels, precursor_peak, ticks
from .wording import text

TEXT = TextSize(char=6.1, line=11.0)
LEFT, RIGHT, TOP, BOTTOM = 40.0, 10.0, 34.0, 36.0
BIN = 0.5
"""Peaks that fall into the same half pixel are drawn as the tallest of them."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where m/z and relative intensity (0 to 1) are on the drawing, in pixels."""

    width: float
    height: float
    low: float
    high: float

    def x(self, mz: Floats | float) -> Floats:
        """Pixel of an m/z, same shape."""
        span = self.width - LEFT - RIGHT
        return np.asarray(LEFT + (np.asarray(mz) - self.low) / (self.high - self.low) * span)

    def y(self, intensity: Floats | float) -> Floats:
        """Pixel of a relative intensity, same shape."""
        return np.asarray(self.base - np.asarray(intensity) * (self.base - TOP))

    @property
    def base(self) -> float:
        """Pixel of intensity 0."""
        return self.height - BOTTOM


def spectrum_svg(spectrum: Spectrum, uid: str, width: int = 640, height: int = 330) -> str:
    """The peaks of a spectrum as an SVG element; colours come from the page's style sheet, with fallbacks.

    Args:
        spectrum: mz in Th and relative intensity.
        uid: makes the ids of this drawing unique in its page; letters, digits, hyphens.
        width, height: in pixels.
    """
    mz = np.asarray(spectrum.mz, dtype=np.float64)
    intensity = np.asarray(spectrum.intensity, dtype=np.float64)
    frame = Frame(width, height, *axis_range(mz, spectrum.precursor_mz))
    precursor = precursor_peak(mz, spectrum.precursor_mz)
    parts = [
        f'<svg class="peaks" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{escape(uid)}-t" '
        f'font-size="11" xmlns="http://www.w3.org/2000/svg">',
        f'<title id="{escape(uid)}-t">{escape(_description(spectrum))}</title>',
        *_axes(frame),
        *_precursor_marker(frame, spectrum.precursor_mz),
        *_sticks(frame, mz, intensity, precursor),
        *_labels(frame, mz, intensity, precursor),
        "</svg>",
    ]
    return "".join(parts)


def _description(spectrum: Spectrum) -> str:
    """What the picture shows, for those who cannot see it."""
    if not len(spectrum):
        return f"Spectrum {text(spectrum.native_id)} has no peaks"
    top = np.argsort(-np.asarray(spectrum.intensity), kind="stable")[:5]
    peaks = ", ".join(f"{spectrum.mz[i]:.4f} ({100 * spectrum.intensity[i]:.0f} %)" for i in top)
    return f"Spectrum {text(spectrum.native_id)}: {len(spectrum)} peaks, the tallest at m/z {peaks}"


def _n(value: float | Floats) -> str:
    """A pixel with at most one decimal."""
    return f"{float(value):.1f}".removesuffix(".0")


def _axes(frame: Frame) -> list[str]:
    right, base = _n(frame.width - RIGHT), _n(frame.base)
    parts = []
    for level in (0.25, 0.5, 0.75, 1.0):
        y = _n(frame.y(level))
        parts.append(f'<path class="grid" d="M{_n(LEFT)} {y}H{right}" stroke="#e3e6ea" fill="none"/>')
    for level in (0.0, 0.5, 1.0):
        y = _n(frame.y(level) + 4.0)
        parts.append(f'<text class="tick" x="{_n(LEFT - 6)}" y="{y}" text-anchor="end">{level:.0%}</text>')
    marks = []
    for value in ticks(frame.low, frame.high):
        x = _n(frame.x(value))
        marks.append(f"M{x} {base}v4")
        parts.append(
            f'<text class="tick" x="{x}" y="{_n(frame.base + 16)}" text-anchor="middle">{value:g}</text>'
        )
    middle = _n((LEFT + frame.width - RIGHT) / 2)
    parts.append(
        f'<path class="axis" d="M{_n(LEFT)} {base}H{right}{"".join(marks)}" stroke="#7b8794" fill="none"/>'
        f'<text class="tick" x="{middle}" y="{_n(frame.height - 4)}" text-anchor="middle" font-style="italic">m/z</text>'
    )
    return parts


def _precursor_marker(frame: Frame, precursor_mz: float | None) -> list[str]:
    """A dashed line with a flag above the plot, so that it never hides a peak's label."""
    if precursor_mz is None:
        return []
    x = float(frame.x(precursor_mz))
    flag = f"precursor {precursor_mz:.4f}"
    half = TEXT.char * len(flag) / 2.0
    centre = min(max(x, LEFT + half), frame.width - RIGHT - half)
    return [
        f'<path class="precursor" d="M{_n(x)} 15V{_n(frame.base)}" stroke="#b4541a" stroke-dasharray="3 3" fill="none"/>',
        f'<path class="precursor flag" d="M{_n(x - 4)} 14h8l-4 6z" fill="#b4541a"/>',
        f'<text class="precursor flag" x="{_n(centre)}" y="10" text-anchor="middle" fill="#b4541a">{flag}</text>',
    ]


def _sticks(frame: Frame, mz: Floats, intensity: Floats, precursor: int | None) -> list[str]:
    """All peaks as one path, the precursor's own peak as another."""
    if not len(mz):
        middle = _n((LEFT + frame.width - RIGHT) / 2)
        return [
            f'<text class="tick" x="{middle}" y="{_n(frame.height / 2)}" text-anchor="middle">no peaks</text>'
        ]
    tallest: dict[int, int] = {}
    xs, tops = frame.x(mz), frame.y(intensity)
    for peak in np.argsort(intensity, kind="stable"):
        if peak != precursor:
            tallest[round(float(xs[peak]) / BIN)] = int(peak)
    base = _n(frame.base)
    path = "".join(f"M{_n(xs[peak])} {base}V{_n(tops[peak])}" for peak in sorted(tallest.values()))
    parts = (
        [f'<path class="stick" d="{path}" stroke="#1f4e79" stroke-width="1.5" fill="none"/>'] if path else []
    )
    if precursor is not None:
        own = f"M{_n(xs[precursor])} {base}V{_n(tops[precursor])}"
        parts.append(f'<path class="stick own" d="{own}" stroke="#b4541a" stroke-width="2" fill="none"/>')
    return parts


def _labels(frame: Frame, mz: Floats, intensity: Floats, precursor: int | None) -> list[str]:
    if not len(mz):
        return []
    decimals = mz_decimals(mz)
    base_peak = int(intensity.argmax())
    shown = placed_labels(frame, mz, intensity, precursor)
    parts = []
    for label in shown:
        kind = "own" if label.peak == precursor else "base" if label.peak == base_peak else ""
        weight = ' font-weight="700"' if label.peak == base_peak else ""
        parts.append(
            f'<text class="label{" " + kind if kind else ""}" x="{_n(label.x)}" y="{_n(label.y)}" '
            f'text-anchor="middle"{weight}>{mz[label.peak]:.{decimals}f}</text>'
        )
    return parts


def placed_labels(frame: Frame, mz: Floats, intensity: Floats, precursor: int | None) -> list[Label]:
    """Labels of the peaks above 1 % that fit, the base peak and the precursor's own peak first."""
    decimals = mz_decimals(mz)
    base_peak = int(intensity.argmax())
    first = dict.fromkeys(peak for peak in (base_peak, precursor) if peak is not None)
    texts = [f"{value:.{decimals}f}" for value in mz]
    bounds = (LEFT, frame.width - RIGHT)
    found = place_labels(frame.x(mz), frame.y(intensity), texts, TEXT, bounds, first=tuple(first))
    return [label for label in found if intensity[label.peak] >= 0.01 or label.peak in first]
