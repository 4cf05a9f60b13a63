"""Hostile text files: a gzip bomb in each text format gives a report, and what stood before it survives."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from attacks import build

import msformers.spectra

ROOM = 400 * 2**20
HOME = str(Path(msformers.spectra.__file__).parents[1])
CHILD = """
import json, resource, sys, types

package = types.ModuleType("msformers")
package.__path__ = [sys.argv[3]]
sys.modules["msformers"] = package
from msformers.spectra.read import read
from msformers.spectra.spectrum import Problem

size = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize:"))
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[2]), resource.RLIM_INFINITY))
print(json.dumps([[type(item).__name__, item.path, str(item)[-300:]] for item in read(sys.argv[1])]))
"""
MGF = b"BEGIN IONS\nTITLE=one\nPEPMASS=195.0877\n138.066 100\n195.088 20\nEND IONS\n"
MSP = b"Name: one\nPrecursorMZ: 195.0877\nNum Peaks: 2\n138.066 100\n195.088 20\n\n"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and RLIMIT_AS")


def attack(path: Path) -> list[list[str]]:
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(ROOM), HOME],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    items: list[list[str]] = json.loads(run.stdout.splitlines()[-1])
    return items


@pytest.mark.parametrize(
    ("name", "start", "filler"),
    [
        ("lines.mgf.gz", MGF + b"BEGIN IONS\nTITLE=two\nPEPMASS=1\n", b"1.0 1.0\n"),
        ("one_line.mgf.gz", MGF + b"BEGIN IONS\nTITLE=", b"a" * 16),
        ("blank.mgf.gz", MGF, b" " * 63 + b"\n"),
        ("one_line.msp.gz", MSP + b"Name: ", b"a" * 16),
        ("peaks.msp.gz", MSP + b"Name: two\nNum Peaks: 9999999999\n", b"1.0 1.0\n"),
    ],
)
def test_a_gzip_bomb_of_text_is_reported(tmp_path: Path, name: str, start: bytes, filler: bytes) -> None:
    path = tmp_path / name
    build.gzip_bomb(path, start, filler, 2**27)
    first, *rest = attack(path)
    assert first[0] == "Spectrum"
    assert rest
    assert {kind for kind, _, _ in rest} == {"Problem"}
    assert all(place == str(path) for _, place, _ in rest)


def test_a_gzip_bomb_of_json_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "bomb.json.gz"
    build.gzip_bomb(path, b'[{"peaks_json": "', b"1" * 16, 2**27)
    items = attack(path)
    assert {kind for kind, _, _ in items} == {"Problem"}


def test_deeply_nested_json_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_bytes(b'[{"precursor_mz": ' + b"[" * 2_000_000)
    assert {kind for kind, _, _ in attack(path)} == {"Problem"}


def test_a_cut_gzip_file_keeps_what_was_complete(tmp_path: Path) -> None:
    path = tmp_path / "cut.mgf.gz"
    data = gzip.compress(MGF * 2000)
    path.write_bytes(data[: len(data) // 2])
    items = attack(path)
    assert items[0][0] == "Spectrum"
    assert items[-1][0] == "Problem"
