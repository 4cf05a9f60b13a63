"""MS-Numpress decoding (Teleman et al. 2014, doi:10.1074/mcp.O114.037879): linear, pic and slof."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt


def decode_numpress(data: bytes, method: str, length: int) -> npt.NDArray[np.float64]:
    """The values of one array.

    Args:
        data: bytes as the file holds them after base64 (and zlib).
        method: "linear" (m/z), "pic" (ion counts) or "slof" (logarithms of counts).
        length: number of values expected; decoding stops there.

    Returns:
        float64 (n,), n <= length + 1.

    Raises:
        ValueError: the bytes are not of this method.
    """
    if method == "slof":
        return _slof(data)
    return _linear(data, length) if method == "linear" else _pic(data, length)


def _fixed_point(data: bytes) -> float:
    (scale,) = struct.unpack(">d", data[:8]) if len(data) >= 8 else (0.0,)
    if not 0 < scale < float("inf"):
        raise ValueError("data has no valid scale")
    return float(scale)


def _slof(data: bytes) -> npt.NDArray[np.float64]:
    scale = _fixed_point(data)
    if len(data) % 2:
        raise ValueError("slof data is not a whole number of values")
    logs = np.frombuffer(data, dtype="<u2", offset=8).astype(np.float64)
    with np.errstate(over="ignore"):
        return np.exp(logs / scale) - 1.0


def _linear(data: bytes, length: int) -> npt.NDArray[np.float64]:
    """Each value is extrapolated from the two before it; stored are the differences."""
    scale = _fixed_point(data)
    if len(data) == 8:
        return np.zeros(0)
    values = [int(start) for start in np.frombuffer(data[8 : 8 + (len(data) - 8) // 4 * 4][:8], dtype="<u4")]
    if not values:
        raise ValueError("linear data is cut off")
    for difference in _half_byte_integers(data[16:], max(0, length + 1 - len(values))):
        values.append(2 * values[-1] - values[-2] + difference)
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float64) / scale


def _pic(data: bytes, length: int) -> npt.NDArray[np.float64]:
    return np.array(_half_byte_integers(data, length + 1), dtype=np.float64)


def _half_byte_integers(data: bytes, limit: int) -> list[int]:
    """Integers of 1 to 9 half bytes: the first counts leading zero (0-8) or, less 8, leading 0xF half bytes."""
    pairs = np.frombuffer(data[: (9 * limit + 1) // 2 + 1], dtype=np.uint8)
    halves = np.column_stack([pairs >> 4, pairs & 15]).tobytes()
    numbers: list[int] = []
    position, end = 0, len(halves)
    while position < end and len(numbers) < limit:
        head = halves[position]
        if position == end - 1 and head != 8:  # the other half of the last byte is filler
            break
        leading = head if head <= 8 else head - 8
        number = 0 if head <= 8 else (0xFFFFFFFF << (4 * (8 - leading))) & 0xFFFFFFFF
        digits = halves[position + 1 : position + 9 - leading]
        if len(digits) != 8 - leading:
            raise ValueError("data is cut off")
        for shift, digit in enumerate(digits):
            number |= digit << (4 * shift)
        numbers.append(number - 2**32 if number >= 2**31 else number)
        position += 9 - leading
    return numbers
