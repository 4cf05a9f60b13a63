from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from msformers.inference.retrieval.precursor import ion_window, polarity, read_precursor
from msformers.spectra.adducts import load_adducts, parse_adduct
from msformers.spectra.masses import formula_mass
from msformers.spectra.spectrum import Spectrum

CAFFEINE = formula_mass("C8H10N4O2")


def spectrum(**fields: Any) -> Spectrum:
    return Spectrum(mz=np.array([100.0]), intensity=np.ones(1, np.float32), **fields)


@pytest.mark.parametrize("name", ["[M+H]+", "[M+2H]2+", "[2M+Na]+", "[M-H]-"])
def test_window_is_ppm_of_the_measured_mz(name: str) -> None:
    adduct = parse_adduct(name)
    mz = adduct.mz(CAFFEINE)
    ion = ion_window(adduct, mz, 10.0)
    assert ion.low < CAFFEINE < ion.high
    assert adduct.mz(ion.high) == pytest.approx(mz * (1 + 1e-5), rel=1e-9)
    assert adduct.mz(ion.low) == pytest.approx(mz * (1 - 1e-5), rel=1e-9)


def test_a_stated_adduct_is_used_and_nothing_needs_saying() -> None:
    mz = parse_adduct("[M+Na]+").mz(CAFFEINE)
    reading = read_precursor(spectrum(precursor_mz=mz, adduct="[M+Na]+", ion_mode="positive"))
    assert (reading.status, reading.reason) == ("ok", "")
    assert [ion.adduct.name for ion in reading.ions] == ["[M+Na]+"]
    assert reading.ions[0].low < CAFFEINE < reading.ions[0].high


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ion_mode": "positive"}, "[M+H]+"),
        ({"ion_mode": "negative"}, "[M-H]-"),
        ({"charge": -1}, "[M-H]-"),
        ({"charge": 2}, "[M+2H]2+"),
        ({"ion_mode": "positive", "charge": 3}, "[M+3H]3+"),
    ],
)
def test_a_missing_adduct_is_assumed_by_polarity_and_charge_and_said(fields: Any, expected: str) -> None:
    reading = read_precursor(spectrum(precursor_mz=200.0, **fields))
    assert reading.status == "assumed_adduct"
    assert [ion.adduct.name for ion in reading.ions] == [expected]
    assert expected in reading.reason


def test_unknown_polarity_is_assumed_positive_and_said() -> None:
    reading = read_precursor(spectrum(precursor_mz=200.0))
    assert reading.ions[0].adduct.name == "[M+H]+" and "positive assumed" in reading.reason


def test_policies_for_a_missing_adduct() -> None:
    negative = spectrum(precursor_mz=200.0, ion_mode="negative")
    common = read_precursor(negative, adducts="common")
    assert len(common.ions) > 3 and {ion.adduct.ion_mode for ion in common.ions} == {"negative"}
    assert read_precursor(negative, adducts="require").status == "no_adduct"
    assert read_precursor(negative, adducts="[M+Cl]-").ions[0].adduct.name == "[M+Cl]-"
    assert read_precursor(negative, adducts="[M+Na]+").status == "polarity_mismatch"


def test_polarity_is_never_mixed() -> None:
    reading = read_precursor(spectrum(precursor_mz=200.0, adduct="[M+H]+", ion_mode="negative"))
    assert reading.status == "polarity_mismatch" and reading.ions == ()
    assert "correct one" in reading.reason
    assert polarity(spectrum(charge=-2)) == "negative" and polarity(spectrum()) is None


def test_unknown_adducts_and_missing_precursors_say_what_to_do() -> None:
    unknown = read_precursor(spectrum(precursor_mz=200.0, adduct="[M+Foo]+"))
    assert unknown.status == "unknown_adduct" and "Foo" in unknown.reason
    missing = read_precursor(spectrum(adduct="[M+H]+"))
    assert missing.status == "no_precursor" and "PEPMASS" in missing.reason


def test_an_own_table_of_adducts(tmp_path: Any) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("name,multiplicity,charge,change\n[M+Blah]+,1,1,+C2H4O+H\n")
    query = spectrum(precursor_mz=200.0, adduct="[M+Blah]+")
    assert read_precursor(query).status == "unknown_adduct"
    assert read_precursor(query, table=load_adducts(table)).status == "ok"
