from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from msformers.spectra import source as module
from msformers.spectra.source import Source, SourceError


def write(folder: Path, data: bytes) -> Source:
    path = folder / "file"
    path.write_bytes(data)
    return Source(path)


@pytest.mark.parametrize(
    "data",
    [
        "a=µ\nb".encode(),
        b"\xef\xbb\xbf" + "a=µ\nb".encode(),
        "a=µ\r\nb\r\n".encode("latin-1"),
        "a=µ\rb".encode("utf-16"),
        "a=µ\nb".encode("utf-32"),
        gzip.compress("a=µ\nb".encode()),
        gzip.compress(b"a=") + gzip.compress("µ\nb".encode()),
    ],
)
def test_lines_of_any_encoding(tmp_path: Path, data: bytes) -> None:
    assert list(write(tmp_path, data).lines()) == ["a=µ", "b"]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf16_without_mark(tmp_path: Path, order: str) -> None:
    assert list(write(tmp_path, "BEGIN IONS\nEND IONS".encode(order)).lines()) == ["BEGIN IONS", "END IONS"]


def test_latin1_only_where_needed(tmp_path: Path) -> None:
    source = write(tmp_path, "β\n".encode() + b"\xb5\n")
    assert list(source.lines()) == ["β", "µ"]
    assert source.fell_back


@pytest.mark.parametrize("size", [module.BLOCK - 1, module.BLOCK, 2 * module.BLOCK + 1])
def test_a_character_across_blocks(tmp_path: Path, size: int) -> None:
    text = "x" * (size - 1) + "β\r\n" + "y" * 10
    assert list(write(tmp_path, text.encode()).lines()) == [text[:size], "y" * 10]


def test_truncated_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    source = write(tmp_path, gzip.compress(b"".join(b"line %d\n" % n for n in range(100_000)))[:-2000])
    lines = list(source.lines())
    assert len(lines) > 50_000 and lines[50_000] == "line 50000"
    assert source.fault is not None and "too early" in source.fault.reason


def test_gzip_bomb_stops_at_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as sink:
        for _ in range(200):
            sink.write(b"\n" * 2**20)
    source = Source(path, max_bytes=2**20)
    assert sum(len(text) for text in source.chunks()) <= module.BLOCK + 2**20
    assert source.fault is not None and "expands to more" in source.fault.reason
    with pytest.raises(SourceError, match="expands"):
        Source(path, max_bytes=2**20).binary().read()


def test_endless_line_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE", 1000)
    source = write(tmp_path, b"short\n" + b"x" * 2 * module.BLOCK)
    assert list(source.lines()) == ["short"]
    assert source.fault is not None and "a line has more" in source.fault.reason


def test_text_stream(tmp_path: Path) -> None:
    with write(tmp_path, b"a\xb5\r\nb").text() as stream:
        assert stream.read() == "aµ\nb"
