"""Hostile mzML and mzXML: each gives a report that names the place, in bounded memory, and spares the other spectra.

Every file is read in a child process that may not take more than `ROOM` bytes of address space over what it has after
the imports; its peak resident memory is measured too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attacks import build

import msformers.spectra

ROOM = 300 * 2**20
HOME = str(Path(msformers.spectra.__file__).parents[1])
# The child makes the package by hand: its front door would load torch, seconds for every file.
CHILD = """
import json, resource, sys, types

package = types.ModuleType("msformers")
package.__path__ = [sys.argv[3]]
sys.modules["msformers"] = package
from msformers.spectra.read_mzml import read_mzml
from msformers.spectra.read_mzxml import read_mzxml
from msformers.spectra.source import Source
from msformers.spectra.spectrum import Problem

def size(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key + ":"))

path, room = sys.argv[1], int(sys.argv[2])
before = size("VmRSS")
resource.setrlimit(resource.RLIMIT_AS, (size("VmSize") + room, resource.RLIM_INFINITY))
read = read_mzxml if path.endswith("mzXML") else read_mzml
items = [
    {"line": x.line, "id": x.native_id, "field": x.field, "reason": x.reason, "path": x.path, "remedy": x.remedy}
    if isinstance(x, Problem) else {"spectrum": x.native_id, "peaks": len(x)}
    for x in read(Source(path))
]
print(json.dumps({"items": items, "grown": size("VmHWM") - before}))
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and RLIMIT_AS")


def attack(path: Path, data: str | bytes | None = None, grown: int = 120 * 2**20) -> list[dict[str, Any]]:
    """What the child read from the file, having grown by at most `grown` bytes."""
    if data is not None:
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(ROOM), HOME],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    answer = json.loads(run.stdout.splitlines()[-1])
    assert answer["grown"] < grown
    for item in answer["items"]:
        if "reason" in item:
            assert item["path"] == str(path)
            assert item["line"] is not None
            assert item["reason"]
    items: list[dict[str, Any]] = answer["items"]
    return items


def spared(items: list[dict[str, Any]]) -> dict[str, Any]:
    """The problem in the middle, whose two neighbours were read."""
    before, found, after = items
    assert before == {"spectrum": "scan=1", "peaks": 3}
    assert after == {"spectrum": "scan=3", "peaks": 3}
    assert found["id"] == "scan=2"
    return found


def refused(items: list[dict[str, Any]], field: str, reason: str) -> dict[str, Any]:
    """The one problem that stands for the whole rest of the file."""
    assert len(items) == 1
    assert items[0]["field"] == field
    assert reason in items[0]["reason"]
    return items[0]


def middle(spectrum: str) -> str:
    return build.mzml([build.spectrum(1), spectrum, build.spectrum(3)])


HEIGHTS = build.array("intensity array", build.packed([1.0, 2.0, 3.0], 32), 32)


def test_a_zlib_bomb_with_a_lying_length_is_not_inflated(tmp_path: Path) -> None:
    bomb = build.array("m/z array", build.zeros(2**29))
    assert len(bomb) < 2**20
    found = spared(attack(tmp_path / "bomb.mzML", middle(build.spectrum(2, binary=bomb + HEIGHTS))))
    assert found["field"] == "m/z array"
    assert "more" in found["reason"]


def test_a_small_zlib_bomb_within_the_text_limit_is_not_inflated(tmp_path: Path) -> None:
    bomb = build.array("m/z array", build.zeros(2 * 2**20))
    found = spared(attack(tmp_path / "bomb.mzML", middle(build.spectrum(2, binary=bomb + HEIGHTS))))
    assert "expands to more than the declared 24 bytes" in found["reason"]


def test_many_bombs_cost_no_more_than_one(tmp_path: Path) -> None:
    bomb = build.array("m/z array", build.zeros(2 * 2**20)) + HEIGHTS
    spectra = [build.spectrum(number, binary=bomb) for number in range(1, 301)]
    items = attack(tmp_path / "bombs.mzML", build.mzml([*spectra, build.spectrum(301)]))
    assert len(items) == 301
    assert all("expands" in item["reason"] for item in items[:300])
    assert items[300] == {"spectrum": "scan=301", "peaks": 3}


@pytest.mark.parametrize("length", [1_250_000_000, 10**18, 10**30])
def test_a_claimed_array_of_10_gb_is_not_allocated(tmp_path: Path, length: int) -> None:
    found = spared(attack(tmp_path / "claim.mzML", middle(build.spectrum(2, length=length))))
    assert found["field"] in ("m/z array", "defaultArrayLength")
    assert str(length) in found["reason"] or "not a number" in found["reason"]


def test_a_true_bomb_that_declares_its_size_is_refused_by_the_peak_cap(tmp_path: Path) -> None:
    bomb = build.array("m/z array", build.zeros(400 * 2**20)) + build.array("intensity array", build.zeros(8))
    found = spared(attack(tmp_path / "true.mzML", middle(build.spectrum(2, binary=bomb, length=50 * 2**20))))
    assert "at most" in found["reason"]


@pytest.mark.parametrize("suffix", ["mzML", "mzXML"])
def test_billion_laughs_are_refused(tmp_path: Path, suffix: str) -> None:
    laugh = "<binary>&a11;</binary>"
    text = build.mzml([build.spectrum(1) + laugh], doctype=build.LAUGHS)
    if suffix == "mzXML":
        text = build.mzxml([build.scan(1) + laugh], doctype=build.LAUGHS.replace("mzML", "mzXML"))
    found = refused(attack(tmp_path / f"laughs.{suffix}", text), "DOCTYPE", "entity")
    assert found["line"] == 2
    assert found["remedy"]


def test_an_external_entity_is_refused_and_the_file_not_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("AAAAAAAASUA=")
    doctype = f'<!DOCTYPE mzML [<!ENTITY x SYSTEM "{secret.as_uri()}">]>\n'
    text = build.mzml([build.spectrum(1).replace("<binary>", "<binary>&x;")], doctype=doctype)
    refused(attack(tmp_path / "entity.mzML", text), "DOCTYPE", "refused")
    undeclared = build.mzml([build.spectrum(1), build.spectrum(2).replace("<binary>", "<binary>&x;")])
    first, second = attack(tmp_path / "undeclared.mzML", undeclared)
    assert first == {"spectrum": "scan=1", "peaks": 3}
    assert "undefined entity" in second["reason"]


def test_an_external_document_type_is_refused(tmp_path: Path) -> None:
    text = build.mzml([build.spectrum(1)], doctype='<!DOCTYPE mzML SYSTEM "http://127.0.0.1:9/evil.dtd">\n')
    refused(attack(tmp_path / "dtd.mzML", text), "DOCTYPE", "refused")


@pytest.mark.parametrize("suffix", ["mzML", "mzXML"])
def test_a_gzip_bomb_stops_at_the_cap(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bomb.{suffix}"
    start = (
        build.mzml([build.spectrum(1)], tail=False)
        if suffix == "mzML"
        else build.mzxml([build.scan(1)], tail=False)
    )
    build.gzip_bomb(path, start.encode(), b" ", 2**29)
    first, last = attack(path)
    assert first == {"spectrum": "scan=1", "peaks": 3}
    assert "expands to more than" in last["reason"]


def test_a_gzip_bomb_of_base64_stops_too(tmp_path: Path) -> None:
    path = tmp_path / "bomb.mzML"
    start = build.mzml([build.spectrum(1), build.spectrum(2).split("<binary>")[0] + "<binary>"], tail=False)
    build.gzip_bomb(path, start.encode(), b"A" * 64, 2**29)
    first, last = attack(path)
    assert first == {"spectrum": "scan=1", "peaks": 3}
    assert last["id"] == "scan=2"


@pytest.mark.parametrize("filler", ["<a>", "<scan>", "<precursor>", "<spectrum>"])
def test_deep_nesting_is_refused(tmp_path: Path, filler: str) -> None:
    text = build.mzml([build.spectrum(1)], tail=False) + filler * 1_000_000
    *_, last = attack(tmp_path / "deep.mzML", text)
    assert "nested more than" in last["reason"]
    *_, last = attack(tmp_path / "deep.mzXML", text)
    assert "nested more than" in last["reason"]


@pytest.mark.parametrize("start", ["<spectrum id='", "<!-- ", "<?pi ", "<aaaa"])
def test_one_endless_tag_is_refused(tmp_path: Path, start: str) -> None:
    path = tmp_path / "tag.mzML"
    with path.open("wb") as stream:
        stream.write((build.mzml([build.spectrum(1)], tail=False) + start).encode())
        for _ in range(20):
            stream.write(b"a" * 2**20)
    first, last = attack(path)
    assert first == {"spectrum": "scan=1", "peaks": 3}
    assert "longer than" in last["reason"]


def test_endless_lists_in_one_spectrum_do_not_pile_up(tmp_path: Path) -> None:
    one = build.precursor(100.5)
    energies = build.param("collision energy", "9" * 50) * 100_000
    parts = "".join([one * 20_000, one.replace("<activation>", "<activation>" + energies)])
    before, found, after = attack(tmp_path / "lists.mzML", middle(build.spectrum(2, precursors=parts)))
    assert found == {"spectrum": "scan=2", "peaks": 3}
    assert (before["peaks"], after["peaks"]) == (3, 3)


def test_endless_groups_are_refused(tmp_path: Path) -> None:
    groups = "".join(f'<referenceableParamGroup id="{number}"/>' for number in range(120_000))
    refused(
        attack(tmp_path / "groups.mzML", build.mzml([build.spectrum(1)], head=groups)),
        "referenceableParamGroup",
        "more",
    )


def test_mzxml_bombs_and_claims(tmp_path: Path) -> None:
    for scan in (
        build.scan(2, data=build.zeros(2**29)),
        build.scan(2, data=build.zeros(2**21)),
        build.scan(2, count=10**10),
    ):
        found = spared(attack(tmp_path / "bomb.mzXML", build.mzxml([build.scan(1), scan, build.scan(3)])))
        assert found["field"] == "peaks"


def test_truncated_xml_keeps_what_was_complete(tmp_path: Path) -> None:
    text = build.mzml([build.spectrum(1), build.spectrum(2)])
    first, last = attack(tmp_path / "cut.mzML", text[: text.rindex("</binary>")])
    assert first == {"spectrum": "scan=1", "peaks": 3}
    assert (last["id"], last["field"]) == ("scan=2", "XML")
    assert "cut off" in last["reason"]


def test_the_limit_is_real(tmp_path: Path) -> None:
    """A child that takes more than the room dies, so the tests above can fail."""
    child = CHILD.replace("read = read_mzxml", "room = bytes(2 * room)\nread = read_mzxml")
    (tmp_path / "x.mzML").write_text(build.mzml([build.spectrum(1)]))
    run = subprocess.run(
        [sys.executable, "-c", child, str(tmp_path / "x.mzML"), str(ROOM), HOME],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "MemoryError" in run.stderr
