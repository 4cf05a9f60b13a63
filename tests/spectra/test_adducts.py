from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msformers.spectra import adducts as module
from msformers.spectra.adducts import Adduct, AdductError, candidates_for, load_adducts, parse_adduct
from msformers.spectra.masses import ELECTRON_MASS, formula_mass, monoisotopic_masses

H = monoisotopic_masses()["H"]

SPELLINGS = {
    "[M+H]+": [
        "[M+H]+",
        "M+H",
        "M+H+",
        "(M+H)+",
        "[M+H]1+",
        "[M+H]+1",
        "[M+H",
        "M+H]+",
        " [M + H]+ ",
        "m+h",
        "MH+",
    ],
    "[M+2H]2+": ["[M+2H]2+", "[M+2H]++", "[M+2H]+2", "M+2H", "M+2H2+", "[M+2H]²⁺"],
    "[M-H2O+H]+": ["[M-H2O+H]+", "M-H2O+H", "[M+H-H2O]+", "[M-OH]+"],
    "[2M+Na]+": ["[2M+Na]+", "2M+Na", "[2M+Na]1+"],
    "[M-H]-": ["[M-H]-", "M-H", "M-H-", "[M−H]−", "[M-H]1-", "[M-H]-1"],
    "[M+HCOO]-": [
        "[M+HCOO]-",
        "[M+FA-H]-",
        "[M-H+FA]-",
        "[M+HCOOH-H]-",
        "[M+HCO2]-",
        "[M-H+CH2O2]-",
        "M+HCOO",
        "M+FA-H",
        "[M+CHOO]-",
    ],
    "[M+CH3COO]-": ["[M+CH3COO]-", "[M+Hac-H]-", "M+HAc-H", "[M+OAc]-", "[M+CH3COOH-H]-", "M+C2H3O2"],
    "[M+NH4]+": ["[M+NH4]+", "M+NH4", "[M+NH3+H]+"],
    "[M]+.": ["[M]+.", "M+.", "[M]+•", "[M].+", "[M]+*", "[M•]+"],
    "[M]+": ["[M]+", "M+", "[Cat]+", "[M-e]+"],
    "[M+Cl]-": ["[M+Cl]-", "M+Cl", "[M+Cl-]"],
    "[M+ACN+H]+": ["[M+ACN+H]+", "M+ACN+H", "[M+CH3CN+H]+", "[M+H+MeCN]+"],
    "[M+K]+": ["[M+K]+", "M+K"],
    "[M-2H]2-": ["[M-2H]2-", "[M-2H]--", "M-2H"],
    "[M+CF3COO]-": ["[M+TFA-H]-", "M+TFA-H"],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in SPELLINGS.items() for text in texts]
)
def test_every_spelling_gives_the_one_name(name: str, text: str) -> None:
    assert parse_adduct(text).name == name


def test_every_known_adduct_reads_its_own_name_and_its_change_by_the_grammar() -> None:
    table = load_adducts()
    assert len(table.adducts) >= 80
    with Path(module.__file__).with_name("adducts.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["name"] for row in rows}) == len(rows) == len(table.adducts)
    for row in rows:
        adduct = parse_adduct(row["name"])
        assert adduct.name == row["name"]
        size = abs(int(row["charge"]))
        sign = row["name"].rstrip(".")[-1]
        body = f"[{row['multiplicity'].replace('1', '')}M{row['change']}]{size}{sign}{'.' * row['name'].endswith('.')}"
        assert parse_adduct(body) == adduct, body
        for alias in filter(None, row["aliases"].split(";")):
            assert parse_adduct(alias) == adduct, alias


@pytest.mark.parametrize(
    ("text", "shift", "charge"),
    [
        ("[M+H]+", H - ELECTRON_MASS, 1),
        ("[M-H]-", -H + ELECTRON_MASS, -1),
        ("[M]+.", -ELECTRON_MASS, 1),
        ("[M+2H]2+", 2 * H - 2 * ELECTRON_MASS, 2),
        ("[M+HCOO]-", formula_mass("CHO2") + ELECTRON_MASS, -1),
        ("[2M+Na]+", formula_mass("Na") - ELECTRON_MASS, 1),
        ("[M+[37Cl]]-", 36.96590259 + ELECTRON_MASS, -1),
        ("[M+37Cl]-", 36.96590259 + ELECTRON_MASS, -1),
        ("[M-C9H10O5+H]+", H - formula_mass("C9H10O5") - ELECTRON_MASS, 1),
        ("[3M+Ca-H]+", formula_mass("Ca") - H - ELECTRON_MASS, 1),
    ],
)
def test_mass_shift_counts_the_electrons_exactly(text: str, shift: float, charge: int) -> None:
    adduct = parse_adduct(text)
    assert adduct.mass_shift == pytest.approx(shift, abs=1e-9)
    assert adduct.charge == charge


def test_known_ions() -> None:
    caffeine, glucose = formula_mass("C8H10N4O2"), formula_mass("C6H12O6")
    assert parse_adduct("M+H").mz(caffeine) == pytest.approx(195.08765, abs=1e-5)
    assert parse_adduct("[2M+Na]+").mz(caffeine) == pytest.approx(411.14997, abs=2e-5)
    assert parse_adduct("[M+HCOO]-").mz(glucose) == pytest.approx(225.06159, abs=2e-5)
    assert parse_adduct("[M+2H]2+").mz(caffeine) == pytest.approx(98.04746, abs=1e-5)
    assert parse_adduct("[M+H]+").neutral_mass(195.08765) == pytest.approx(caffeine, abs=1e-5)


@given(st.sampled_from([a.name for a in load_adducts().adducts]), st.floats(50.0, 2000.0))
def test_mz_and_neutral_mass_are_inverse(name: str, mass: float) -> None:
    adduct = parse_adduct(name)
    assert adduct.neutral_mass(adduct.mz(mass)) == pytest.approx(mass, rel=1e-13)
    array = adduct.mz(np.array([mass, mass + 1.0]))
    assert array.dtype == np.float64
    assert array[0] == adduct.mz(mass)


def test_polarity_is_never_mixed() -> None:
    assert parse_adduct("[M+H]+", "positive").ion_mode == "positive"
    assert parse_adduct("M", "negative").name == "[M]-"
    assert parse_adduct("M-CH3", "negative").name == "[M-CH3]-"
    with pytest.raises(AdductError, match="positive, but the spectrum is negative"):
        parse_adduct("[M+H]+", "negative")
    for mode in ("positive", "negative"):
        assert {adduct.ion_mode for adduct in candidates_for(mode)} == {mode}


def test_candidates_come_most_usual_first_and_respect_the_charge() -> None:
    assert [a.name for a in candidates_for("positive")][:3] == ["[M+H]+", "[M+Na]+", "[M+NH4]+"]
    assert [a.name for a in candidates_for("negative")][:3] == ["[M-H]-", "[M+HCOO]-", "[M+CH3COO]-"]
    assert [a.name for a in candidates_for("positive", 2)] == ["[M+2H]2+"]
    assert candidates_for("negative", -2) == candidates_for("negative", 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "unknown",
        "M",
        "[M]",
        "[M+X]+",
        "[M+Foo+H]+",
        "[M+H]+-",
        "[M+H]2+2",
        "[M+H]0+",
        "[M+H]999+",
        "[0M+H]+",
        "[99M+H]+",
        "[M+999H]+",
        "[M+H]+/[M+Na]+",
        "[M+H]+ or [M+Na]+",
        "[M+0H]+",
        "H+",
        "[M+(((((H]+",
        "[M+" + "H+" * 1000 + "]+",
    ],
)
def test_no_adduct_is_an_error_with_a_remedy(text: str) -> None:
    with pytest.raises(AdductError, match=r"write|keep|give"):
        parse_adduct(text)


@given(st.text(alphabet="[]()MmHNaClKO0123456789+-.^ *²−", max_size=30))
def test_any_text_is_an_adduct_that_names_itself_or_an_adduct_error(text: str) -> None:
    try:
        adduct = parse_adduct(text)
    except AdductError:
        return
    assert parse_adduct(adduct.name) == adduct


def test_a_user_adds_adducts(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "\ufeffname,aliases,multiplicity,charge,change,common\n[M+Girard]+,GT;girard t,1,1,+C5H12N3O-H2O,2.5\n"
    )
    table = load_adducts(path)
    girard = table.parse("gt")
    assert girard.name == "[M+Girard]+"
    assert table.parse("[M+girard]+") == girard
    assert girard.mass_shift == pytest.approx(formula_mass("C5H12N3O") - formula_mass("H2O") - ELECTRON_MASS)
    assert [a.name for a in table.candidates_for("positive")][2] == "[M+Girard]+"
    with pytest.raises(AdductError):
        parse_adduct("[M+Girard]+")


def test_a_user_row_renames_a_known_ion(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("name,multiplicity,charge,change\n[M+FA-H]-,1,-1,-H+CH2O2\n")
    table = load_adducts(path)
    assert table.parse("[M+HCOO]-").name == "[M+FA-H]-"
    assert table.candidates_for("negative")[1].name == "[M+FA-H]-"
    assert len(table.adducts) == len(load_adducts().adducts)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("[M+Q]+,1,0,+H", "charge other than 0"),
        ("[M+Q]+,1,one,+H", "invalid literal"),
        ("[M+Q]+,0,1,+H", "multiplicity"),
        ("[M+Q]+,1,1,H", "signed formulas"),
        ("[M+Q]+,1,1,+Foo", "neither formula"),
        (",1,1,+H", "needs a name"),
    ],
)
def test_a_wrong_user_row_is_named_by_line(tmp_path: Path, row: str, what: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"name,multiplicity,charge,change\n[M+W]+,1,1,+C2H4\n{row}\n")
    with pytest.raises(AdductError, match=r"mine\.csv:3: .*" + what):
        load_adducts(path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("name,charge\n[M+W]+,1\n")
    with pytest.raises(AdductError, match="no column change, multiplicity"):
        load_adducts(path)


def test_adducts_hash_by_ion_not_by_name() -> None:
    assert (
        len(
            {
                parse_adduct("[M+FA-H]-"),
                parse_adduct("[M+HCOO]-"),
                Adduct("other", 1, -1, (("C", 1), ("H", 1), ("O", 2))),
            }
        )
        == 1
    )


def test_agrees_with_massbank(shared: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = ["adduct", "ion_mode", "charge", "exact_mass", "precursor_mz", "precursor_error_ppm"]
    table = parquet.read_table(shared / "data" / "massbank_msms.parquet", columns=columns).to_pydict()
    names = np.array(table["adduct"])
    mass, mz = np.array(table["exact_mass"]), np.array(table["precursor_mz"])
    error, charge, mode = (
        np.array(table["precursor_error_ppm"]),
        np.array(table["charge"]),
        np.array(table["ion_mode"]),
    )
    for name in np.unique(names):
        rows = names == name
        adduct = parse_adduct(str(name))
        assert adduct.name == name or name == "[M-C6H10O5+H]+"  # the file spells this ion in two ways
        assert set(charge[rows]) == {adduct.charge}
        assert set(mode[rows]) == {adduct.ion_mode}
        theory = adduct.mz(mass[rows])
        assert np.allclose((mz[rows] - theory) / theory * 1e6, error[rows], atol=0.01)


def test_a_number_that_is_no_part_is_not_dropped() -> None:
    with pytest.raises(AdductError, match="-3"):
        parse_adduct("[M-3]+")
