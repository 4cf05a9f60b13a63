from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from msformers.spectra.profile import centroid, duration_seconds, is_normalised_energy


def test_a_gaussian_peak_is_found_at_its_centre() -> None:
    mz = np.linspace(199.9, 200.1, 81)
    (found,), (height,) = centroid(mz, np.exp(-(((mz - 200.0123) / 0.01) ** 2)))
    assert found == pytest.approx(200.0123, abs=0.0015)
    assert height == pytest.approx(1.0, abs=0.02)


def test_order_does_not_matter_and_a_plateau_counts_once() -> None:
    mz, intensity = np.array([3.0, 1.0, 2.0, 4.0, 5.0]), np.array([5.0, 0.0, 5.0, 0.0, 1.0])
    places, heights = centroid(mz, intensity)
    assert places.tolist() == [2.5, 5.0]
    assert heights.tolist() == [5.0, 1.0]


@given(
    arrays.arrays(
        np.float64, st.integers(0, 40), elements=st.floats(allow_nan=True, allow_infinity=True, width=32)
    )
)
def test_any_profile_gives_peaks_between_its_points(intensity: np.ndarray) -> None:
    mz = 100.0 + np.arange(len(intensity))
    places, heights = centroid(mz, intensity)
    assert len(places) == len(heights)
    assert (heights > 0).all()
    assert np.isfinite(places).all()
    assert (np.diff(places) > 0).all()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT12.3S", "12.3"),
        ("PT1M2.5S", "62.5"),
        ("PT1H", "3600.0"),
        ("12.3", "12.3"),
        ("PT", "PT"),
        ("PT1.2.3S", "PT1.2.3S"),
    ],
)
def test_durations(text: str, seconds: str) -> None:
    assert duration_seconds(text) == seconds


def test_only_the_energy_of_a_thermo_filter_is_normalised() -> None:
    line = "FTMS + p ESI d Full ms2 250.00@hcd30.00 [50-260]"
    assert is_normalised_energy(line, "30")
    assert not is_normalised_energy(line, "31")
    assert not is_normalised_energy(line, "")
    assert not is_normalised_energy("TOF MS2 @hcd30.00", "30")
