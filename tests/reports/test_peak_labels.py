"""Labels never overlap, and the peaks that matter have one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msformers.reports.peak_labels import (
    Label,
    TextSize,
    axis_range,
    mz_decimals,
    place_labels,
    precursor_peak,
    ticks,
)

SIZE = TextSize(char=6.0, line=11.0)


def box(label: Label) -> tuple[float, float, float, float]:
    half = SIZE.char * len(label.text) / 2.0
    return label.x - half, label.y - SIZE.line, label.x + half, label.y


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(50, 600), st.floats(20, 290)), min_size=1, max_size=60),
    st.integers(1, 30),
)
def test_no_label_touches_another_or_a_stick(peaks: list[tuple[float, float]], limit: int) -> None:
    xs, tops = np.array(peaks).T
    labels = place_labels(xs, tops, ["123.4567"] * len(xs), SIZE, (40.0, 630.0), limit=limit)
    assert len(labels) <= limit
    for number, label in enumerate(labels):
        left, top, right, bottom = box(label)
        assert left >= 40.0 and right <= 630.0
        for other in labels[number + 1 :]:
            b = box(other)
            assert not (left < b[2] and b[0] < right and top < b[3] and b[1] < bottom)
        crossing = (xs > left) & (xs < right) & (tops < bottom)
        crossing[label.peak] = False
        assert not crossing.any()


def test_tallest_and_wanted_peaks_come_first() -> None:
    xs, tops = np.array([100.0, 300.0, 500.0]), np.array([200.0, 30.0, 290.0])
    texts = ["a", "b", "c"]
    assert [label.peak for label in place_labels(xs, tops, texts, SIZE, (0.0, 640.0))] == [1, 0, 2]
    wanted = place_labels(xs, tops, texts, SIZE, (0.0, 640.0), first=(2,), limit=2)
    assert [label.peak for label in wanted] == [2, 1]


def test_a_label_moves_aside_if_its_place_is_taken() -> None:
    xs, tops = np.array([300.0, 310.0]), np.array([50.0, 52.0])
    first, second = place_labels(xs, tops, ["300.0000", "310.0000"], SIZE, (0.0, 640.0))
    assert first.x == 300.0
    assert second.x > 310.0


def test_peaks_that_look_like_one_line_get_one_label() -> None:
    xs, tops = np.array([300.0, 301.5, 330.0]), np.array([200.0, 50.0, 52.0])
    placed = place_labels(xs, tops, ["300.0000", "301.5000", "330.0000"], SIZE, (0.0, 640.0))
    assert [label.peak for label in placed] == [1, 2]


@pytest.mark.parametrize(
    ("mz", "decimals"),
    [
        ([100.0, 200.1], 1),
        ([100.25], 2),
        ([100.123], 3),
        ([100.12345], 4),
        ([100.0, 100.0627], 4),
        ([50.0], 1),
        ([], 1),
    ],
)
def test_labels_show_the_precision_of_the_file(mz: list[float], decimals: int) -> None:
    assert mz_decimals(np.array(mz)) == decimals


def test_precursor_peak() -> None:
    mz = np.array([100.0, 195.088, 300.0])
    assert precursor_peak(mz, 195.0877) == 1
    assert precursor_peak(mz, 195.2) is None
    assert precursor_peak(mz, None) is None
    assert precursor_peak(np.array([]), 195.0) is None


def test_axis_holds_everything() -> None:
    low, high = axis_range(np.array([50.0, 180.0]), 400.0)
    assert low < 50.0 and high > 400.0
    low, high = axis_range(np.array([100.0]), 100.0)
    assert high - low >= 20.0
    assert axis_range(np.array([]), None)[1] > 100.0


@given(st.floats(0, 1000), st.floats(1, 3000))
def test_ticks_are_round_inside_and_not_too_many(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 11
    assert all(low - 1e-6 <= tick <= low + width + 1e-6 for tick in found)
    assert np.allclose(np.diff(found), found[1] - found[0])
