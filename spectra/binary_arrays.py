"""Base64 peak arrays of mzML and mzXML to numbers, never decompressing more than the file declares."""

from __future__ import annotations

import binascii
import re
import zlib

import numpy as np
import numpy.typing as npt

from .numpress import decode_numpress
from .record import Fault

MAX_PEAKS = 5_000_000
"""Values allowed in one array; the largest profile spectra have about a million."""
WIDTHS = {"float64": "f8", "float32": "f4", "int64": "i8", "int32": "i4"}
NUMPRESS = ("linear", "pic", "slof")

_BLANK = re.compile(r"\s+")


class ArrayError(ValueError):
    """An array that cannot be decoded; `fault` says why."""

    def __init__(self, field: str, value: str, reason: str, remedy: str = "convert the file again") -> None:
        super().__init__(reason)
        self.fault = Fault(field, value, reason, remedy)


def text_limit(length: int) -> int:
    """Base64 characters that `length` values can need at most, line breaks included."""
    return 4096 + 2 * 8 * max(0, min(length, MAX_PEAKS))


def decode_array(
    text: str | None, field: str, *, length: int, dtype: str, compression: str, byteorder: str = "<"
) -> npt.NDArray[np.float64]:
    """The values of one array.

    Args:
        text: base64 text; None if there was more of it than `text_limit` allows.
        field: name of the array for messages.
        length: number of values the file declares.
        dtype: a key of `WIDTHS`.
        compression: "none", "zlib", "linear", "pic", "slof", or one of the latter three with "+zlib".
        byteorder: "<" or ">".

    Returns:
        float64 (length,), exactly the values of the file.

    Raises:
        ArrayError: the text is damaged, or holds not exactly the declared number of values.
    """
    if not 0 <= length <= MAX_PEAKS:
        raise ArrayError(field, str(length), f"declares {length} values; at most {MAX_PEAKS} are read")
    if text is None:
        raise ArrayError(field, str(length), f"holds more data than the declared {length} values can need")
    packed = _base64(text, field)
    method, _, second = compression.partition("+")
    if method in NUMPRESS:
        raw = _unzip(packed, field, 8 * length + 64, exact=False) if second == "zlib" else packed
        try:
            values = decode_numpress(raw, method, length)
        except ValueError as error:
            raise ArrayError(field, method, f"MS-Numpress {error}") from error
    elif method in ("none", "zlib"):
        width = np.dtype(WIDTHS[dtype]).itemsize
        raw = _unzip(packed, field, length * width) if method == "zlib" else packed
        if len(raw) % width:
            raise ArrayError(field, f"{len(raw)} bytes", f"is not a whole number of {width}-byte values")
        values = np.frombuffer(raw, dtype=byteorder + WIDTHS[dtype]).astype(np.float64)
    else:
        raise ArrayError(
            field, compression, "is compressed in a way this reader does not know", "convert with zlib"
        )
    if len(values) != length:
        raise ArrayError(field, str(len(values)), f"holds {len(values)} values, but {length} are declared")
    return values


def _base64(text: str, field: str) -> bytes:
    try:
        return binascii.a2b_base64(_BLANK.sub("", text), strict_mode=True) if text else b""
    except ValueError as error:
        raise ArrayError(field, text[:20], f"is not valid base64 ({error})") from error


def _unzip(packed: bytes, field: str, size: int, *, exact: bool = True) -> bytes:
    """At most `size` bytes; ArrayError if there are more, or, if `exact`, fewer."""
    if not packed and size == 0:
        return b""
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, size + 1)
        if len(raw) <= size and not inflater.eof:
            raw += inflater.decompress(inflater.unconsumed_tail, size + 1 - len(raw))
    except zlib.error as error:
        raise ArrayError(field, "", f"is not valid zlib data ({error})") from error
    if len(raw) > size:
        raise ArrayError(
            field, f"> {size} bytes", f"expands to more than the declared {size} bytes", "a zlib bomb?"
        )
    if not inflater.eof:
        raise ArrayError(field, f"{len(raw)} bytes", "holds a zlib stream that is cut off")
    if exact and len(raw) != size:
        raise ArrayError(field, f"{len(raw)} bytes", f"expands to {len(raw)} bytes, but {size} are declared")
    return raw
