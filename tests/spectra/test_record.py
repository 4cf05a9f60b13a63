from __future__ import annotations

import pytest

from msformers.spectra.keys import CANONICAL, load_keys
from msformers.spectra.record import HeaderParser, add_field


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("PEPMASS", "precursor_mz"),
        ("Precursor m/z", "precursor_mz"),
        ("PRECURSORTYPE", "adduct"),
        ("Ion_Mode", "ion_mode"),
    ]
    + [("RTINSECONDS", "retention_time_s"), ("RETENTIONTIME", "retention_time_min"), ("DB#", "db_number")]
    + [("CH$NAME", "name"), ("  Title ", "title"), ("My Own-Key", "my_own_key"), ("# note", "")],
)
def test_keys(raw: str, key: str) -> None:
    assert CANONICAL[raw] == key


def test_canonical_keys_are_their_own_synonym() -> None:
    """What is written under a canonical key is read again as the same field."""
    for key in set(load_keys().values()):
        assert CANONICAL[key.upper()] == key


def test_header_parser_learns_and_refuses() -> None:
    parser = HeaderParser("=")
    for number in range(6):
        assert parser.parse(f"TITLE=a=b{number}\nPEPMASS= 5 \nK{number}=") == {
            "title": f"a=b{number}",
            "precursor_mz": "5",
            f"k{number}": "",
        }
    assert parser.parse("TITLE=x\nPEPMASS=5\nK0=z") == {"title": "x", "precursor_mz": "5", "k0": "z"}
    for header in ("TITLE", "TITLE=x\nname", "PEPMASS=1\nPRECURSOR_MZ=2", "# a=b\nTITLE=x", ""):
        assert parser.parse(header) is None


def test_fields_that_come_twice() -> None:
    fields: dict[str, str] = {}
    for key, value in [
        ("name", "N/A"),
        ("name", "a"),
        ("name", "b"),
        ("name", "a"),
        ("note", "x"),
        ("note", "y"),
    ]:
        add_field(fields, key, value)
    assert fields == {"name": "a", "other_name": "b", "note": "x; y"}
