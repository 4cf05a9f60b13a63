"""Opening a file as bytes or text: gzip with a cap, byte-order marks, UTF-16, latin-1, any line ending."""

from __future__ import annotations

import codecs
import gzip
import io
import logging
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

logger = logging.getLogger(__name__)

MAX_RATIO = 250
"""Decompressed bytes allowed per compressed byte; text spectra reach about 10, a gzip bomb 1,000."""
FREE_BYTES = 64 * 2**20
"""Decompressed bytes that are always allowed, whatever the ratio."""
MAX_BYTES = 2**40
"""Decompressed bytes allowed in all."""
MAX_LINE = 32 * 2**20
"""Characters allowed in one line."""
BLOCK = 2**18

GZIP_MAGIC = b"\x1f\x8b"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class SourceError(ValueError):
    """A file that cannot be read on, with the reason and what to do about it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


def _as_latin1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("msformers-latin1", _as_latin1)


class _Capped(io.RawIOBase):
    """A raw stream that stops with `SourceError` when the stream is damaged or gives more than `limit` bytes."""

    def __init__(self, inner: BinaryIO, limit: int, close: BinaryIO | None = None) -> None:
        self._inner = inner
        self._limit = limit
        self._close = close
        self._seen = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            data = cast(io.BufferedReader, self._inner).read1(min(len(buffer), BLOCK))
        except EOFError as error:
            raise SourceError(
                f"gzip stream ends too early, {self._seen} bytes in", "copy or download the file again"
            ) from error
        except (OSError, zlib.error) as error:
            raise SourceError(
                f"gzip stream is damaged {self._seen} bytes in: {error}", "copy or download the file again"
            ) from error
        self._seen += len(data)
        if self._seen > self._limit:
            raise SourceError(
                f"expands to more than {self._limit} bytes, {MAX_RATIO} times its size",
                "a gzip bomb? decompress the file yourself if you trust it",
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
            if self._close is not None:
                self._close.close()
        super().close()


class Source:
    """One file to read spectra from.

    Attributes:
        path: the path as text, as it stands in `Spectrum.path` and in messages.
        fault: why `lines` or `chunks` stopped before the end, or None.
        fell_back: whether some bytes were not UTF-8 and were read as latin-1.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> None:
        self.path = os.fspath(path)
        self.fault: SourceError | None = None
        self.fell_back = False
        self._max_bytes = max_bytes
        self._head: bytes | None = None

    def binary(self) -> io.BufferedReader:
        """A new buffered stream of the decompressed bytes.

        Raises:
            OSError: the file cannot be opened.
            SourceError: from its `read`, if the gzip stream is damaged or expands beyond the caps.
        """
        plain = open(self.path, "rb")  # noqa: SIM115 - the caller closes the stream
        if plain.peek(2)[:2] != GZIP_MAGIC:
            return plain
        size = Path(self.path).stat().st_size
        limit = min(self._max_bytes, max(FREE_BYTES, MAX_RATIO * size))
        unzipped = cast(BinaryIO, gzip.GzipFile(fileobj=plain))
        return io.BufferedReader(_Capped(unzipped, limit, plain), BLOCK)

    def head(self) -> bytes:
        """The first 64 KiB (decompressed), for telling formats and encodings apart."""
        if self._head is None:
            data = bytearray()
            with self.binary() as stream:
                try:
                    while len(data) < 65536 and (block := stream.read1(65536)):
                        data += block
                except SourceError as fault:
                    if not data:
                        raise
                    logger.debug("%s: %s", self.path, fault)
            self._head = bytes(data)
        return self._head

    def encoding(self) -> str:
        """The text encoding: from the byte-order mark, else UTF-16 by its zero bytes, else UTF-8."""
        head = self.head()
        for mark, name in _BOMS:
            if head.startswith(mark):
                return name
        sample = head[:4096]
        half = len(sample) // 2
        if half >= 8:
            even, odd = sample[0::2].count(0), sample[1::2].count(0)
            if odd > 0.4 * half and even < 0.05 * half:
                return "utf-16-le"
            if even > 0.4 * half and odd < 0.05 * half:
                return "utf-16-be"
        return "utf-8"

    def chunks(self) -> Iterator[str]:
        """Blocks of text, every line end a newline; ends early with `fault` set if the stream is damaged."""
        encoding = self.encoding()
        errors = "strict" if encoding.startswith("utf-8") else "replace"
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        newlines = io.IncrementalNewlineDecoder(None, translate=True)
        with self.binary() as stream:
            more = True
            while more:
                try:
                    block = stream.read1(BLOCK)
                except SourceError as fault:
                    self.fault = fault
                    block = b""
                more = bool(block)
                state = decoder.getstate()
                try:
                    text = decoder.decode(block, not more)
                except UnicodeDecodeError:
                    self._note_fallback()
                    decoder = codecs.getincrementaldecoder(encoding)("msformers-latin1")
                    decoder.setstate(state)
                    text = decoder.decode(block, not more)
                text = newlines.decode(text, not more)  # type: ignore[arg-type]
                if text:
                    yield text

    def lines(self) -> Iterator[str]:
        """Lines without their ends; ends early with `fault` set if the stream is damaged or a line too long."""
        rest = ""
        for text in self.chunks():
            first, *others = text.split("\n")
            rest += first
            if others:
                yield rest
                rest = others.pop()
                yield from others
            if len(rest) > MAX_LINE:
                self.fault = SourceError(
                    f"a line has more than {MAX_LINE} characters", "this is no text file of spectra"
                )
                return
        if rest:
            yield rest

    def text(self) -> io.TextIOWrapper:
        """A text stream of the file, undecodable bytes read as latin-1; raises `SourceError` as `binary` does."""
        encoding = self.encoding()
        errors = "msformers-latin1" if encoding.startswith("utf-8") else "replace"
        return io.TextIOWrapper(self.binary(), encoding=encoding, errors=errors)

    def _note_fallback(self) -> None:
        if not self.fell_back:
            logger.warning("%s: some bytes are not UTF-8 and are read as latin-1", self.path)
        self.fell_back = True
