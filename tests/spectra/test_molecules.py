from __future__ import annotations

from pathlib import Path

import pytest

from msformers.spectra.adducts import parse_adduct
from msformers.spectra.masses import formula_mass
from msformers.spectra.molecules import MoleculeError, canonical_smiles, inchikey_block, molecule_record


@pytest.mark.parametrize(
    ("smiles", "canonical"),
    [
        ("C1=CC=CC=C1O", "Oc1ccccc1"),
        ("Oc1ccccc1", "Oc1ccccc1"),
        (" OC1=CC=CC=C1\n", "Oc1ccccc1"),
        ("C[C@@H](O)C(=O)O", "CC(O)C(=O)O"),
        ("C/C=C/C", "CC=CC"),
        ("[2H]C([2H])([2H])O", "CO"),
        ("[13CH3]C", "CC"),
        ("[H]O[H]", "O"),
    ],
)
def test_one_molecule_one_smiles(smiles: str, canonical: str) -> None:
    assert canonical_smiles(smiles) == canonical


def test_stereo_and_parent_on_request() -> None:
    assert canonical_smiles("O[C@@H](C)C(=O)O", stereo=True) == "C[C@H](O)C(=O)O"
    assert canonical_smiles("CC(=O)[O-].[Na+]", parent=True) == "CC(=O)O"
    assert canonical_smiles("CC(=O)[O-].[Na+]") == "CC(=O)[O-].[Na+]"
    assert canonical_smiles("C[NH3+].[Cl-]", parent=True) == "CN"
    assert canonical_smiles("C[N+](C)(C)CCO.[Cl-]", parent=True) == "C[N+](C)(C)CCO"


def test_record_of_caffeine() -> None:
    record = molecule_record("CN1C=NC2=C1C(=O)N(C(=O)N2C)C")
    assert record.inchikey == "RYYVLZVUVIJVGH-UHFFFAOYSA-N"
    assert record.inchikey14 == "RYYVLZVUVIJVGH" == inchikey_block(record.smiles)
    assert record.formula == "C8H10N4O2"
    assert record.exact_mass == pytest.approx(194.0803756, abs=1e-6)
    assert canonical_smiles(record.smiles) == record.smiles


def test_mass_of_a_cation_is_that_of_its_atoms_so_that_its_adduct_is_right() -> None:
    choline = molecule_record("C[N+](C)(C)CCO")
    assert choline.exact_mass == pytest.approx(formula_mass(choline.formula), abs=1e-6)
    assert parse_adduct("[M]+").mz(choline.exact_mass) == pytest.approx(104.10699, abs=1e-5)


@pytest.mark.parametrize(
    "smiles", ["", "  ", "N/A", "C(", "c1cccc1", "C(C)(C)(C)(C)C", "C" * 20_000, "InChI=1S/CH4/h1H4"]
)
def test_no_molecule_is_an_error_that_shows_the_text(smiles: str, capfd: pytest.CaptureFixture[str]) -> None:
    for function in (canonical_smiles, inchikey_block, molecule_record):
        with pytest.raises(MoleculeError, match="SMILES") as caught:
            function(smiles)
        assert len(str(caught.value)) < 300
    assert capfd.readouterr() == ("", "")


def test_a_missing_value_is_a_molecule_error() -> None:
    with pytest.raises(MoleculeError, match="empty"):
        canonical_smiles(None)  # type: ignore[arg-type]


def test_agrees_with_the_molecule_table(shared: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    file = parquet.ParquetFile(shared / "data" / "molecules.parquet")
    rows = next(file.iter_batches(300)).to_pylist()
    for row in rows:
        record = molecule_record(row["smiles"], parent=True)
        assert (record.smiles, record.inchikey14, record.formula) == (
            row["smiles"],
            row["inchikey14"],
            row["formula"],
        )
        charged = (
            row["formula"][-1] in "+-" or row["formula"][-2] in "+-"
        )  # the table has the mass of the ion
        assert charged or record.exact_mass == pytest.approx(row["exact_mass"], abs=1e-6)
        assert formula_mass(row["formula"]) == pytest.approx(record.exact_mass, abs=2e-5)
