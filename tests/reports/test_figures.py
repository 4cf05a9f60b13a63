"""Picture files: drawn from plain arrays, saved as asked, with a clear word if matplotlib is missing."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from msformers.reports.analysis_plot import plot_hardness, plot_margin, plot_pool_size
from msformers.reports.figures import FigureError, PlotLibraryError, new_figure, save_figure
from msformers.reports.spectrum_figure import annotation_figure, file_stem, save_plots, spectrum_figure

from . import answers

pytest.importorskip("matplotlib")


def test_every_readable_spectrum_gets_a_picture_and_the_answers_pass_through(tmp_path: Path) -> None:
    found = [answers.answer(0, "scan=1"), answers.unreadable(1), answers.answer(2, "../../etc/passwd $x$")]
    assert list(save_plots(found, tmp_path / "plots")) == found
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == ["00000_scan_1.png", "00002_etc_passwd_x.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "plots").iterdir())


def test_svg_holds_the_labels_as_text(tmp_path: Path) -> None:
    list(save_plots([answers.answer(0)], tmp_path, "svg"))
    root = ET.parse(tmp_path / "00000_scan_1.svg").getroot()
    words = {"".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("text")}
    assert {"138.0662", "195.0877", "1. Caffeine  0.810"} <= words


def test_spectra_without_candidates_precursor_or_peaks_are_drawn() -> None:
    none = annotation_figure(answers.answer(candidates=[], reason="no molecule within 10 ppm"))
    assert any("no molecule within 10 ppm" in text.get_text() for text in none.axes[1].texts)
    empty = answers.spectrum(mz=np.array([]), intensity=np.array([], dtype=np.float32), precursor_mz=None)
    assert [text.get_text() for text in spectrum_figure(empty).axes[0].texts] == ["no peaks"]


def test_file_names_are_safe() -> None:
    assert file_stem(answers.answer(7, "CON: <a|b>?*")) == "00007_CON_a_b"
    assert file_stem(answers.answer(7, "///")) == "00007"


def test_margin_separates_right_from_wrong() -> None:
    figure = plot_margin([0.3, 0.2, -0.1, np.inf], [True, True, False, True])
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["right: n = 2, median 0.250", "wrong: n = 1, median -0.100", "no rival: 1"]


def test_pool_size_draws_a_line_per_k() -> None:
    figure = plot_pool_size([2, 4, 8], [[0.9, 1.0], [0.8, 0.9], [0.7, 0.8]], ks=(1, 5), random=False)
    first, second = figure.axes[0].get_lines()
    assert first.get_ydata().tolist() == [90.0, 80.0, 70.0] and second.get_label() == "Recall@5"
    assert len(plot_pool_size([2, 4], [0.9, 0.8]).axes[0].get_lines()) == 3


def test_hardness_bins_by_similarity() -> None:
    figure = plot_hardness([0.1, 0.1, 0.9, 0.9], [0, 1, 1, 1], bins=(0.0, 0.5, 1.0))
    (line,) = figure.axes[0].get_lines()
    assert line.get_xdata().tolist() == [0.25, 0.75] and line.get_ydata().tolist() == [50.0, 100.0]
    assert [bar.get_height() for bar in figure.axes[1].patches] == [2, 2]


def test_wrong_arrays_are_named() -> None:
    with pytest.raises(FigureError, match="equally long"):
        plot_margin([1.0, 2.0], [True])
    with pytest.raises(FigureError, match="none of 1 margins"):
        plot_margin([np.inf], [True])
    with pytest.raises(FigureError, match=r"shape \(2, 1\)"):
        plot_pool_size([2, 4, 8], [0.5, 0.4])
    with pytest.raises(FigureError, match="Recall@1"):
        plot_hardness([0.1, 0.2], [1])


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_figures_are_saved_reproducibly(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        save_figure(plot_pool_size([2, 4], [0.9, 0.8]), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_errors_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FigureError, match=r"use \.png"):
        save_figure(new_figure(1, 1), tmp_path / "a.docx")
    with pytest.raises(FigureError, match="none of png, svg, pdf"):
        save_plots([], tmp_path, "jpg")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotLibraryError, match=r'pip install "msformers\[plot\]"'):
        save_plots([], tmp_path)
