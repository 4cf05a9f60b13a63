from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msformers.spectra.peaks import PeakError, clean_peaks, parse_lines, parse_regular

finite = st.floats(0.001, 1e5, allow_nan=False)


def test_regular_texts() -> None:
    one, two = parse_regular(["80.5 10\n100.25\t20", "50 1"])
    assert one is not None and two is not None
    assert one[0].tolist() == [80.5, 100.25] and one[1].tolist() == [0.5, 1.0]
    assert two[0].tolist() == [50.0] and two[1].tolist() == [1.0]
    assert one[0].dtype == np.float64 and one[1].dtype == np.float32 and one[0].base is None


@pytest.mark.parametrize(
    "bad",
    [
        "80.5",
        "80.5 10 3",
        "80.5 10 3\n90",
        "a b",
        "80.5 nan",
        "inf 3",
        "90 1\n80 1",
        "80 1\n80 2",
        "0 5",
        "80 0",
    ]
    + ["80 -1", "80 1\n\n90 1", "1e7 5", "80 inf", "80,5 3", "80 1e-50\n90 1", "80 1_0"],
)
def test_irregular_is_left_to_the_careful_way(bad: str) -> None:
    """One bad list among good ones is found, and only it."""
    result = parse_regular(["50 1"] * 5 + [bad] + ["50 1\n60 2"] * 4)
    assert [pair is None for pair in result] == [False] * 5 + [True] + [False] * 4


@given(st.lists(st.lists(st.tuples(finite, finite), min_size=1, max_size=8), min_size=1, max_size=6))
def test_both_ways_agree(records: list[list[tuple[float, float]]]) -> None:
    texts = ["\n".join(f"{mz!r} {height!r}" for mz, height in peaks) for peaks in records]
    for text, quick in zip(texts, parse_regular(texts), strict=True):
        mz, intensity, _ = parse_lines(text)
        slow = clean_peaks(mz, intensity)
        if quick is not None:
            assert np.array_equal(quick[0], slow[0]) and np.array_equal(quick[1], slow[1])


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=20))
def test_clean_peaks_keeps_the_promise(peaks: list[tuple[float, float]]) -> None:
    mz, intensity = [peak[0] for peak in peaks], [peak[1] for peak in peaks]
    try:
        clean_mz, clean_intensity, notes = clean_peaks(mz, intensity)
    except PeakError as error:
        assert not any(0 < m <= 1e6 and 0 < i < np.inf for m, i in peaks), error
        return
    assert len(clean_mz) == len(clean_intensity) > 0
    assert (np.diff(clean_mz) > 0).all() and clean_mz[0] > 0
    assert clean_intensity.max() == 1 and clean_intensity.min() > 0
    assert bool(notes) or len(clean_mz) == len(peaks)


def test_lines_with_more_columns_and_commas() -> None:
    mz, intensity, notes = parse_lines('80.5 10 "x"\n# comment\n\n90,5 3,5\n100.5:7\n110.5, 8')
    assert mz == [80.5, 90.5, 100.5, 110.5] and intensity == [10, 3.5, 7, 8]
    assert notes == ["decimal commas in peaks"]


def test_a_bad_line_is_named() -> None:
    with pytest.raises(PeakError) as caught:
        parse_lines("80 1\n90 x")
    assert (caught.value.offset, caught.value.value) == (1, "90 x")
    assert "m/z intensity" in caught.value.remedy


def test_strongest_of_equal_mz_stays() -> None:
    mz, intensity, notes = clean_peaks([80, 70, 80], [1, 2, 4])
    assert mz.tolist() == [70, 80] and intensity.tolist() == [0.5, 1.0]
    assert len(notes) == 2
