"""MS-Numpress; the encoders here follow the paper, and the decoders were compared with pynumpress, bit for bit."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from attacks import build
from hypothesis import given
from hypothesis import strategies as st

from msformers.spectra.numpress import decode_numpress
from msformers.spectra.read_mzml import read_mzml
from msformers.spectra.source import Source
from msformers.spectra.spectrum import Spectrum


def numpress_slof(values: list[float], scale: float) -> bytes:
    return struct.pack(">d", scale) + b"".join(
        struct.pack("<H", round(math.log(v + 1) * scale)) for v in values
    )


def numpress_integers(numbers: list[int]) -> bytes:
    halves: list[int] = []
    for number in numbers:
        digits = [(number >> (4 * place)) & 15 for place in range(8)]
        filler = 15 if number < 0 else 0
        while digits and digits[-1] == filler and (filler == 0 or len(digits) > 1):
            digits.pop()
        halves += [(8 - len(digits)) + (8 if filler and len(digits) < 8 else 0), *digits]
    halves += [0] if len(halves) % 2 else []
    return bytes(high << 4 | low for high, low in zip(halves[0::2], halves[1::2], strict=True))


@pytest.mark.parametrize("zipped", [False, True])
def test_numpress_in_mzml(tmp_path: Path, zipped: bool) -> None:
    fixed = [1_000_000, 1_500_000, 1_500_007, 9_000_000, 9_000_001]
    second_differences = [c - (2 * b - a) for a, b, c in zip(fixed, fixed[1:], fixed[2:], strict=False)]
    linear = (
        struct.pack(">d", 10_000.0) + struct.pack("<II", *fixed[:2]) + numpress_integers(second_differences)
    )
    heights = [1000.0, 20.0, 3.0, 400.0, 1.0]
    method = "MS-Numpress linear zlib" if zipped else "MS-Numpress linear"
    first = build.array("m/z array", zlib.compress(linear) if zipped else linear, compression=method)
    slof = build.array("intensity array", numpress_slof(heights, 3000.0), compression="MS-Numpress slof")
    pic = build.array(
        "intensity array", numpress_integers([1000, 20, 3, 400, 1]), compression="MS-Numpress pic"
    )
    for second in (slof, pic):
        path = tmp_path / "file.mzML"
        path.write_text(build.mzml([build.spectrum(1, fixed, heights, binary=first + second)]))
        (spectrum,) = read_mzml(Source(path))
        assert isinstance(spectrum, Spectrum), str(spectrum)
        assert spectrum.mz.tolist() == [value / 10_000.0 for value in fixed]
        assert spectrum.intensity == pytest.approx(np.array(heights) / 1000.0, rel=1e-3)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=50))
def test_integers_of_any_size_survive(numbers: list[int]) -> None:
    assert decode_numpress(numpress_integers(numbers), "pic", len(numbers)).tolist() == numbers


@given(st.binary(max_size=60), st.sampled_from(["linear", "pic", "slof"]), st.integers(0, 100))
def test_any_bytes_are_numbers_or_a_value_error(data: bytes, method: str, length: int) -> None:
    try:
        values = decode_numpress(data, method, length)
    except ValueError as error:
        assert "data" in str(error)
        return
    assert values.dtype == np.float64
