from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msformers.spectra.masses import (
    ELECTRON_MASS,
    PROTON_MASS,
    FormulaError,
    formula_mass,
    hill,
    isotopes,
    monoisotopic_masses,
    parse_formula,
    ppm_error,
    ppm_window,
)


@pytest.mark.parametrize(
    ("formula", "mass"),
    [
        ("H2O", 18.0105646837),
        ("C8H10N4O2", 194.0803755805),
        ("C6H12O6", 180.0633881022),
        ("C17H19NO3", 285.1364935),
        ("NaCl", 57.95862),
        ("[13C]C5H12O6", 181.0667429),
        ("D2O", 20.0231181752),
        ("Ca(OH)2", 73.9680697),
        ("C6H12O6.H2O", 198.0739528),
        ("C5H14NO+", 104.1075391),
        ("[C5H14NO]+", 104.1075391),
        ("C12H14N2+2", 186.1156985),
        ("[C12H14N2]2+", 186.1156985),
        ("C9H16ClN4+", 215.1063492),
    ],
)
def test_masses_of_known_formulas(formula: str, mass: float) -> None:
    assert formula_mass(formula) == pytest.approx(mass, abs=2e-6)


def test_proton_and_electron_make_hydrogen_but_for_the_binding_energy() -> None:
    assert PROTON_MASS + ELECTRON_MASS - monoisotopic_masses()["H"] == pytest.approx(
        13.6057 / 931.494102e6, abs=1e-9
    )


def test_the_first_isotope_is_the_most_abundant_and_abundances_sum_to_one() -> None:
    for symbol, found in isotopes().items():
        total = sum(isotope.abundance for isotope in found)
        assert total == pytest.approx(1.0, abs=1e-3) or total == 0.0, symbol
        assert found[0].abundance == max(isotope.abundance for isotope in found), symbol


def test_masses_agree_with_rdkit() -> None:
    chem = pytest.importorskip("rdkit.Chem")
    table = chem.GetPeriodicTable()
    for symbol, found in isotopes().items():
        assert found[0].mass == pytest.approx(table.GetMostCommonIsotopeMass(symbol), abs=1e-5), symbol


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "c6h12",
        "C6H12O6)",
        "(C6H12",
        "Xx2",
        "6",
        "C9999999",
        "(C9999)9999",
        "C6,H12",
        "H" * 600,
        "(" * 400,
    ],
)
def test_no_formula_is_an_error_that_says_so(text: str) -> None:
    with pytest.raises(FormulaError, match=r"formula|atoms"):
        parse_formula(text)


@given(
    st.dictionaries(
        st.sampled_from(["C", "H", "N", "O", "S", "Cl", "Br", "Na", "[13C]", "D"]),
        st.integers(1, 400),
        min_size=1,
    )
)
def test_hill_and_parse_are_inverse(counts: dict[str, int]) -> None:
    assert parse_formula(hill(counts)) == counts


def test_hill_order() -> None:
    assert hill(parse_formula("O2H4C2Br")) == "C2H4BrO2"
    assert hill({"S": 1, "O": 4, "H": 2, "N": 0}) == "H2O4S"


def test_ppm() -> None:
    assert ppm_error(500.005, 500.0) == pytest.approx(10.0)
    assert np.allclose(ppm_error(np.array([100.0, 200.0002]), np.array([100.0, 200.0])), [0.0, 1.0])
    low, high = ppm_window(500.0, 10.0)
    assert (low, high) == pytest.approx((499.995, 500.005))
