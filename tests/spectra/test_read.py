from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from msformers.spectra.read import UnknownFormatError, read, sniff
from msformers.spectra.source import Source
from msformers.spectra.spectrum import Problem, Spectrum

MGF = "BEGIN IONS\nTITLE={}\nPEPMASS=200.1\n80 1\nEND IONS\n"
TEXTS = {
    "mgf": "COM=x\n\n" + MGF.format("a"),
    "msp": "NAME: a\nACCESSION: b\nNum Peaks: 1\n80 1\n",
    "massbank": "ACCESSION: a\nPK$NUM_PEAK: 1\nPK$PEAK: m/z int. rel.int.\n  80 1 999\n//\n",
    "json": json.dumps([{"title": "a", "mz": [80], "intensity": [1]}]),
    "mzml": '<?xml version="1.0"?>\n<mzML></mzML>',
    "mzxml": '<?xml version="1.0"?>\n<mzXML><msRun/></mzXML>',
    "table": "PAR1",
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("packed", [False, True])
def test_format_by_content_not_by_suffix(tmp_path: Path, kind: str, packed: bool) -> None:
    path = tmp_path / "something.dat"
    data = TEXTS[kind].encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    assert sniff(Source(path)) == kind


def test_unknown_format_says_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello")
    with pytest.raises(UnknownFormatError, match="mzXML"):
        sniff(Source(tmp_path / "x"))


def test_folder_sorted_with_unknown_files_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.mgf").write_text(MGF.format("b"))
    (tmp_path / "a.dat").write_text(MGF.format("a"))
    (tmp_path / "sub" / "c.msp").write_text(TEXTS["msp"])
    (tmp_path / "readme.md").write_text("about")
    (tmp_path / ".hidden.mgf").write_text(MGF.format("hidden"))
    (tmp_path / "broken.mgf").write_bytes(b"PK\x03\x04")
    items = list(read(tmp_path))
    assert [(item.index, item.native_id) for item in items] == [(0, "a"), (1, "b"), (2, "index=2"), (3, "b")]
    assert isinstance(items[2], Problem) and "zip" in items[2].reason


def test_several_paths_share_one_index(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(MGF.format(name) * 2)
    items = list(read([tmp_path / "two", str(tmp_path / "one")]))
    assert [(item.index, item.native_id) for item in items] == [
        (0, "two"),
        (1, "two"),
        (2, "one"),
        (3, "one"),
    ]


def test_missing_path_raises_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path / "nowhere.mgf")


def test_lines_point_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mgf"
    path.write_text("# head\n\n" + MGF.format("a") + "\n" + MGF.format("b") + MGF.format("c"))
    lines = path.read_text().split("\n")
    for item in read(path):
        assert item.line is not None and lines[item.line - 1] == "BEGIN IONS"
        assert lines[item.line] == f"TITLE={item.native_id}"


def test_problem_reads_as_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.mgf"
    path.write_text(MGF.format("x").replace("200.1", "abc"))
    (problem,) = read(path)
    assert str(problem).startswith(f"{path}:3 (#0 x): PEPMASS 'abc' is not a number; ")


def test_records_across_blocks(tmp_path: Path) -> None:
    """Records of growing size cross the borders of the blocks that are read; none is lost or cut."""
    path = tmp_path / "a.mgf"
    with path.open("w") as sink:
        for number in range(1, 600):
            peaks = "".join(f"{100 + k / 7:.5f} {k + 1}\n" for k in range(number * 3))
            sink.write(f"BEGIN IONS\nTITLE={number}\nPEPMASS=200\n{peaks}END IONS\n\n")
    items = list(read(path))
    assert [(item.native_id, len(item)) for item in items if isinstance(item, Spectrum)] == [
        (str(number), number * 3) for number in range(1, 600)
    ]


def test_truncated_gzip_loses_only_the_end(tmp_path: Path) -> None:
    whole = "".join(MGF.format(f"{number}-{number * 7919 % 10007}") for number in range(20_000))
    path = tmp_path / "a.mgf.gz"
    path.write_bytes(gzip.compress(whole.encode())[:-4000])
    *spectra, cut, damaged = read(path)
    assert len(spectra) > 15_000 and all(isinstance(item, Spectrum) for item in spectra)
    assert isinstance(damaged, Problem) and "too early" in damaged.reason
    assert isinstance(cut, Problem) and cut.index == len(spectra) and cut.field == "END IONS"
