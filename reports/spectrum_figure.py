"""A spectrum with its best candidate as a picture file, by matplotlib (extra ``plot``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..spectra.spectrum import Spectrum
from .figures import BLUE, GREY, ORANGE, FigureError, new_figure, save_figure, style
from .molecule_plot import DrawingError, molecule_png
from .peak_labels import TextSize, axis_range, mz_decimals, place_labels, precursor_peak
from .records import AnnotationLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONT = 7.5
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.3}


def save_plots(
    annotations: Iterable[AnnotationLike], folder: str | Path, kind: str = "png"
) -> Iterator[AnnotationLike]:
    """Save a picture of every readable spectrum while the answers pass through.

    Args:
        annotations: one per record of the input.
        folder: made if it does not exist; the files are named ``00012_TITLE.png``.
        kind: "png", "svg" or "pdf".

    Yields:
        The annotations, unchanged, so that a table can be written in the same run.

    Raises:
        PlotLibraryError: matplotlib is not installed.
        FigureError: the kind is none of these.
    """
    if kind not in ("png", "svg", "pdf"):
        raise FigureError(f"plot kind {kind!r} is none of png, svg, pdf")
    new_figure(1.0, 1.0)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return _saving(annotations, folder, kind)


def _saving(annotations: Iterable[AnnotationLike], folder: Path, kind: str) -> Iterator[AnnotationLike]:
    for annotation in annotations:
        if annotation.spectrum is not None:
            save_figure(annotation_figure(annotation), folder / f"{file_stem(annotation)}.{kind}")
        yield annotation


def file_stem(annotation: AnnotationLike) -> str:
    """A file name that sorts by position, is unique, and is safe on every system."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "_", annotation.native_id).strip("._")[:60]
    return f"{annotation.index:05d}_{slug}" if slug else f"{annotation.index:05d}"


def annotation_figure(annotation: AnnotationLike) -> Figure:
    """The peaks of an annotation's spectrum beside its best candidate.

    Raises:
        FigureError: the annotation has no spectrum.
    """
    if annotation.spectrum is None:
        raise FigureError(
            f"record {annotation.index} {annotation.native_id!r} is no spectrum and cannot be drawn"
        )
    with style():
        figure = new_figure(9.5, 3.9)
        left, right = figure.subplots(1, 2, width_ratios=(3.0, 1.0))
        draw_peaks(left, annotation.spectrum)
        left.set_title(_title(annotation), loc="left", fontsize=9.5, parse_math=False)
        _draw_candidate(right, annotation)
        figure.canvas.draw()
        _write_labels(left, annotation.spectrum)
    return figure


def spectrum_figure(spectrum: Spectrum) -> Figure:
    """The peaks of one spectrum, with m/z labels that do not overlap."""
    with style():
        figure = new_figure(7.5, 3.6)
        axes = figure.subplots()
        draw_peaks(axes, spectrum)
        axes.set_title(spectrum.native_id, loc="left", fontsize=9.5, parse_math=False)
        figure.canvas.draw()
        _write_labels(axes, spectrum)
    return figure


def draw_peaks(axes: Any, spectrum: Spectrum) -> None:
    """Sticks, precursor marker and axes; labels need the final layout and are written afterwards."""
    own = precursor_peak(spectrum.mz, spectrum.precursor_mz)
    others = np.arange(len(spectrum)) != (-1 if own is None else own)
    axes.vlines(spectrum.mz[others], 0.0, 100.0 * spectrum.intensity[others], color=BLUE, linewidth=1.2)
    if own is not None:
        axes.vlines(spectrum.mz[own], 0.0, 100.0 * spectrum.intensity[own], color=ORANGE, linewidth=1.6)
    if spectrum.precursor_mz is not None:
        axes.axvline(spectrum.precursor_mz, color=ORANGE, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
        axes.plot([spectrum.precursor_mz], [114.0], marker="v", color=ORANGE, markersize=5, clip_on=False)
    if not len(spectrum):
        axes.text(0.5, 0.5, "no peaks", transform=axes.transAxes, ha="center", color=GREY)
    axes.set_xlim(*axis_range(spectrum.mz, spectrum.precursor_mz))
    axes.set_ylim(0.0, 114.0)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.set_xlabel("m/z", fontstyle="italic")
    axes.set_ylabel("relative intensity (%)")


def _write_labels(axes: Any, spectrum: Spectrum) -> None:
    if not len(spectrum):
        return
    scale = axes.figure.dpi / 72.0
    pixels = axes.transData.transform(np.column_stack([spectrum.mz, 100.0 * spectrum.intensity]))
    box = axes.get_window_extent()
    decimals = mz_decimals(spectrum.mz)
    texts = [f"{mz:.{decimals}f}" for mz in spectrum.mz]
    base, own = int(spectrum.intensity.argmax()), precursor_peak(spectrum.mz, spectrum.precursor_mz)
    first = tuple(dict.fromkeys(peak for peak in (base, own) if peak is not None))
    size = TextSize(char=0.62 * FONT * scale, line=1.25 * FONT * scale)
    placed = place_labels(pixels[:, 0], box.y1 - pixels[:, 1], texts, size, (box.x0, box.x1), first=first)
    for label in placed:
        if spectrum.intensity[label.peak] < 0.01 and label.peak not in first:
            continue
        x, y = axes.transData.inverted().transform((label.x, box.y1 - label.y))
        weight = "bold" if label.peak == base else "normal"
        colour = ORANGE if label.peak == own else "black"
        axes.text(
            x,
            y,
            label.text,
            fontsize=FONT,
            ha="center",
            va="baseline",
            color=colour,
            weight=weight,
            bbox=PAPER,
        )


def _title(annotation: AnnotationLike) -> str:
    mz = "unknown" if annotation.precursor_mz is None else f"{annotation.precursor_mz:.4f}"
    energy = annotation.spectrum.collision_energy if annotation.spectrum else None
    parts = [
        annotation.native_id or f"#{annotation.index}",
        f"precursor {mz}",
        annotation.adduct or "adduct not known",
    ]
    return "   ".join([*parts, f"{round(energy, 1):g} eV"] if energy is not None else parts)


def _draw_candidate(axes: Any, annotation: AnnotationLike) -> None:
    """The drawing of the best candidate, and in words the three best."""
    axes.axis("off")
    if not annotation.candidates:
        text = f"no candidate\n{annotation.reason}"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, wrap=True)
        return
    from matplotlib.image import imread

    try:
        axes.imshow(imread(BytesIO(molecule_png(annotation.candidates[0].smiles)), format="png"))
    except DrawingError as error:
        axes.text(0.5, 0.7, str(error), transform=axes.transAxes, ha="center", color=GREY, wrap=True)
    lines = [f"{c.rank}. {(c.name or c.formula)[:26]}  {c.score:.3f}" for c in annotation.candidates[:3]]
    axes.set_title(
        "\n".join(lines), fontsize=8.0, loc="left", y=-0.02, va="top", parse_math=False, color="black"
    )
