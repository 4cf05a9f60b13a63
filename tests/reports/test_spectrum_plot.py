"""The peak plot: well-formed SVG with the right marks, small however many peaks there are."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np

from msformers.reports.spectrum_plot import LEFT, spectrum_svg

from .answers import spectrum

SVG = "{http://www.w3.org/2000/svg}"


def of_class(root: ET.Element, name: str) -> list[ET.Element]:
    return [element for element in root.iter() if name in element.get("class", "").split()]


def test_peaks_precursor_and_base_peak_are_marked() -> None:
    root = ET.fromstring(spectrum_svg(spectrum(), "s1"))
    (sticks,) = [e for e in of_class(root, "stick") if "own" not in e.get("class", "")]
    assert sticks.get("d", "").count("M") == 6
    (own,) = [e for e in of_class(root, "stick") if "own" in e.get("class", "")]
    assert own.get("d", "").count("M") == 1
    (base,) = of_class(root, "base")
    assert base.text == "138.0662" and base.get("font-weight") == "700"
    flags = [e.text for e in of_class(root, "flag") if e.tag == f"{SVG}text"]
    assert flags == ["precursor 195.0877"]
    assert [e.text for e in of_class(root, "own") if e.tag == f"{SVG}text"] == ["195.0877"]


def test_sticks_stand_where_the_mz_says() -> None:
    root = ET.fromstring(spectrum_svg(spectrum(), "s1"))
    path = " ".join(e.get("d", "") for e in of_class(root, "stick"))
    xs = sorted(float(x) for x in re.findall(r"M([\d.]+) ", path))
    mz = spectrum().mz
    expected = (mz - mz[0]) / (mz[-1] - mz[0])
    assert np.allclose((np.array(xs) - xs[0]) / (xs[-1] - xs[0]), expected, atol=1e-3)
    assert xs[0] > LEFT


def test_the_picture_is_described() -> None:
    root = ET.fromstring(spectrum_svg(spectrum(native_id="<b>&"), "s7"))
    title = root.find(f"{SVG}title")
    assert title is not None and title.get("id") == root.get("aria-labelledby") == "s7-t"
    assert (title.text or "").startswith("Spectrum <b>&: 7 peaks, the tallest at m/z 138.0662 (100 %)")


def test_spectra_without_peaks_or_precursor_are_drawn() -> None:
    empty = spectrum(mz=np.array([]), intensity=np.array([], dtype=np.float32))
    assert "no peaks" in spectrum_svg(empty, "s1")
    bare = ET.fromstring(spectrum_svg(spectrum(precursor_mz=None), "s1"))
    assert of_class(bare, "precursor") == []
    one = spectrum(mz=np.array([195.0877]), intensity=np.array([1.0], dtype=np.float32))
    assert len(of_class(ET.fromstring(spectrum_svg(one, "s1")), "stick")) == 1


def test_many_peaks_stay_small_and_the_tallest_survive() -> None:
    rng = np.random.default_rng(0)
    mz = np.sort(rng.uniform(50, 900, 20_000))
    intensity = rng.uniform(0, 0.3, 20_000).astype(np.float32)
    intensity[12_345] = 1.0
    text = spectrum_svg(spectrum(mz=mz, intensity=intensity, precursor_mz=910.0), "s1")
    assert len(text) < 30_000
    assert f"{mz[12_345]:.4f}" in text
