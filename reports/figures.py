"""What all matplotlib figures share: one look, no global state, and a clear word if matplotlib is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#1f4e79", "#b4541a", "#11703f", "#56616e"
SUFFIXES = (".png", ".svg", ".pdf")
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.edgecolor": "#7b8794",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "msformers",
}


class PlotLibraryError(ImportError):
    """Matplotlib is not installed; says how to get it."""


class FigureError(ValueError):
    """A figure that cannot be drawn or saved; names what is wrong and the remedy."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the house, in inches.

    Raises:
        PlotLibraryError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PlotLibraryError(
            'plots need matplotlib; install it with: pip install "msformers[plot]"'
        ) from None
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def style() -> Any:
    """Context in which matplotlib draws and saves in the look of the house."""
    try:
        from matplotlib import rc_context
    except ImportError:
        raise PlotLibraryError(
            'plots need matplotlib; install it with: pip install "msformers[plot]"'
        ) from None
    make: Any = rc_context
    return make(STYLE)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Save as the ending of the path says: .png, .svg or .pdf.

    Raises:
        FigureError: the ending is none of these, or the folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise FigureError(
            f"{path}: cannot save {path.suffix or 'a file without ending'!r}; use {', '.join(SUFFIXES)}"
        )
    if not path.parent.is_dir():
        raise FigureError(f"{path}: folder {str(path.parent)!r} does not exist; create it first")
    # no date in the file: the same figure gives the same bytes
    date = {".png": None, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[path.suffix.lower()]
    with style():
        figure.savefig(path, facecolor="white", metadata=date)
    return path
