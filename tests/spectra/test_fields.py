from __future__ import annotations

from pathlib import Path

import pytest

from msformers.spectra.fields import (
    FieldError,
    nce_to_ev,
    parse_charge,
    parse_energy,
    parse_ion_mode,
    parse_ms_level,
    parse_precursor,
    parse_time,
    text_or_none,
    uses_nce,
)


@pytest.mark.parametrize(
    ("text", "mz"),
    [("441.5", 441.5), ("441.5 1e4", 441.5), ("441.5 1e4 2+", 441.5), ("245/227/166", 245), ("441,5", 441.5)]
    + [
        ("N/A", None),
        ("0.000", None),
        ("", None),
        ("m/z 441.5", 441.5),
        ("441.5 Da", 441.5),
        ("4.415e2", 441.5),
    ],
)
def test_precursor(text: str, mz: float | None) -> None:
    assert parse_precursor(text).mz == mz


def test_precursor_companions() -> None:
    parsed = parse_precursor("441.5 1000 2-")
    assert (parsed.intensity, parsed.charge) == ("1000", "2-")
    assert parse_precursor("245/227/166").last_stage == "166"


@pytest.mark.parametrize(
    "text", ["abc", "-5", "inf", "1e9", "1 2 3 4", "12,345.6", "441.5 high", "nanometre"]
)
def test_precursor_unreadable(text: str) -> None:
    with pytest.raises(FieldError):
        parse_precursor(text)


@pytest.mark.parametrize(
    ("text", "charge", "signed"),
    [("2+", 2, True), ("+2", 2, True), ("2-", -2, True), ("-1", -1, True), ("1", 1, False), ("++", 2, True)]
    + [("2.0", 2, False), ("0", None, False), ("0+", None, False), ("N/A", None, False), ("(3+)", 3, True)],
)
def test_charge(text: str, charge: int | None, signed: bool) -> None:
    assert parse_charge(text) == (charge, signed, None)


@pytest.mark.parametrize("text", ["two", "2+ and 3+", "1.5", "+-"])
def test_charge_unreadable_is_noted(text: str) -> None:
    charge, _, note = parse_charge(text)
    assert charge is None and note is not None and text in note


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("Positive", "positive"),
        ("POS", "positive"),
        ("P", "positive"),
        ("+", "positive"),
        ("ESI-", "negative"),
    ]
    + [("negative", "negative"), ("n", "negative"), ("N/A", None), ("-", "negative")],
)
def test_ion_mode(text: str, mode: str | None) -> None:
    assert parse_ion_mode(text) == (mode, None)


@pytest.mark.parametrize(
    ("text", "level"),
    [("2", 2), ("MS2", 2), ("MS", 1), ("MSn", 9), ("ms^3", 3), ("2.0", 2), ("x", None), ("0", None)],
)
def test_ms_level(text: str, level: int | None) -> None:
    assert parse_ms_level(text) == level


@pytest.mark.parametrize(
    ("text", "energy", "nce"),
    [("20 eV", 20, False), ("45V", 45, False), ("30 % (nominal)", 30, True), ("10(NCE)", 10, True)]
    + [("25,60,100% (stepped)", 185 / 3, True), ("Ramp 5-60 V", 32.5, False), ("6->10V", 8, False)]
    + [
        ("0.70/0.60", 0.6, False),
        ("NCE=35% 42eV", 42, False),
        ("-20", 20, False),
        ("75 (nominal)", 75, True),
    ],
)
def test_energy(text: str, energy: float, nce: bool) -> None:
    value, normalised = parse_energy(text, False)
    assert value == pytest.approx(energy) and normalised == nce


@pytest.mark.parametrize("text", ["20 kV", "15, 30 or 45", "scaled by m/z", "SORI CID", "160-0.41mz"])
def test_energy_unusable(text: str) -> None:
    assert parse_energy(text, True)[0] is None


def test_normalised_energy_rule() -> None:
    assert (
        uses_nce("LC-ESI-QFT")
        and uses_nce("LC-ESI-ITFT")
        and not uses_nce("LC-ESI-QTOF")
        and not uses_nce(None)
    )
    assert nce_to_ev(30, 500, 1) == 30
    assert nce_to_ev(30, 250, 2) == pytest.approx(13.5)
    assert nce_to_ev(30, 500, -6) == pytest.approx(22.5)
    assert nce_to_ev(30, None, 1) is None


@pytest.mark.parametrize(
    ("text", "factor", "seconds"),
    [
        ("61.5", 1, 61.5),
        ("1.5", 60, 90),
        ("10.8 min", 1, 648),
        ("30 sec", 60, 30),
        ("12.03 min (in paper: 12.2)", 60, 721.8),
    ]
    + [("N/A min", 60, None), ("PT90S", 60, 90), ("0,5 min", 1, 30), ("1500 ms", 1, 1.5)],
)
def test_time(text: str, factor: float, seconds: float | None) -> None:
    assert parse_time(text, factor) == (pytest.approx(seconds) if seconds else None, None)


def test_time_unreadable_is_noted() -> None:
    assert parse_time("soon", 1) == (None, "retention time 'soon' is not a time and is left out")


def test_missing_texts() -> None:
    assert [text_or_none(text) for text in (None, " N/A ", "", "CCO ", "null")] == [
        None,
        None,
        None,
        "CCO",
        None,
    ]


def test_energies_of_massbank(shared: Path) -> None:
    """All 77,626 recorded energies come out as the data's own column says, but for three odd texts."""
    import pyarrow.parquet as pq

    names = ["collision_energy_text", "collision_energy_ev", "precursor_mz_msn", "charge", "instrument_type"]
    table = pq.read_table(shared / "data" / "massbank_msms.parquet", columns=names)
    rows = [row for row in table.to_pylist() if row["collision_energy_text"]]
    wrong = 0
    for row in rows:
        value, nce = parse_energy(row["collision_energy_text"], uses_nce(row["instrument_type"]))
        if value is not None and nce:
            value = nce_to_ev(value, row["precursor_mz_msn"], row["charge"])
        expected = row["collision_energy_ev"]
        same = value is expected is None or (value is not None and value == pytest.approx(expected, rel=1e-5))
        wrong += not same
    assert len(rows) > 77_000
    assert wrong <= 3
