"""Files written by other people's software read equal to their table of expectations."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from msformers.spectra.molecules import canonical_smiles
from msformers.spectra.read import read
from msformers.spectra.spectrum import Problem, Spectrum


@pytest.fixture(scope="module")
def inferred(shared: Path) -> set[str]:
    """Accessions of records without an adduct; the table's was inferred from the precursor."""
    table = pq.read_table(shared / "data" / "massbank_msms.parquet", columns=["accession", "adduct_inferred"])
    return set(table.filter(table["adduct_inferred"])["accession"].to_pylist())


@pytest.fixture(scope="module")
def expected(shared: Path) -> dict[str, dict[str, str]]:
    with (shared / "data" / "formats" / "sample_expected.csv").open(encoding="utf-8", newline="") as stream:
        return {row["accession"]: row for row in csv.DictReader(stream)}


def spectra_of(path: Path) -> list[Spectrum]:
    items = list(read(path))
    problems = [str(item) for item in items if isinstance(item, Problem)]
    assert problems == []
    return [item for item in items if isinstance(item, Spectrum)]


@pytest.mark.parametrize("name", ["sample.mgf", "sample.msp", "sample.json"])
def test_sample_file(shared: Path, expected: dict[str, dict[str, str]], name: str) -> None:
    spectra = spectra_of(shared / "data" / "formats" / name)
    assert sorted(spectrum.native_id for spectrum in spectra) == sorted(expected)
    for spectrum in spectra:
        row = expected[spectrum.native_id]
        assert spectrum.precursor_mz == float(row["precursor_mz"])
        assert (spectrum.adduct, spectrum.ion_mode) == (row["adduct"], row["ion_mode"])
        assert (spectrum.charge, spectrum.ms_level) == (int(row["charge"]), int(row["ms_level"]))
        assert (len(spectrum), spectrum.smiles) == (int(row["num_peaks"]), row["smiles"])
        assert spectrum.mz.sum() == pytest.approx(float(row["mz_sum"]), rel=1e-12)
        assert spectrum.metadata["license"] == row["license"]


def test_massbank_folder(shared: Path, expected: dict[str, dict[str, str]], inferred: set[str]) -> None:
    spectra = spectra_of(shared / "data" / "formats" / "massbank")
    assert len(spectra) == 100
    without_precursor = 0
    for spectrum in spectra:
        row = expected[spectrum.native_id]
        assert len(spectrum) == int(row["num_peaks"])
        assert spectrum.mz.sum() == pytest.approx(float(row["mz_sum"]), rel=1e-12)
        assert spectrum.ion_mode == row["ion_mode"]
        if spectrum.native_id not in inferred:
            assert (spectrum.adduct, spectrum.charge) == (row["adduct"], int(row["charge"]))
        if spectrum.precursor_mz is None:
            without_precursor += 1
            assert any("precursor" in note for note in spectrum.notes)
        else:
            assert spectrum.precursor_mz == pytest.approx(float(row["precursor_mz"]), abs=1e-9)
        if spectrum.smiles is not None:
            assert canonical_smiles(spectrum.smiles) == canonical_smiles(row["smiles"])
    assert without_precursor == 7


def test_mzml_has_the_same_peaks(shared: Path, expected: dict[str, dict[str, str]]) -> None:
    known = {(row["num_peaks"], f"{float(row['mz_sum']):.3f}") for row in expected.values()}
    spectra = spectra_of(shared / "data" / "formats" / "sample.mzML")
    assert len(spectra) == 295
    assert all((str(len(spectrum)), f"{spectrum.mz.sum():.3f}") in known for spectrum in spectra)


def test_odd_records(shared: Path) -> None:
    """22 spectra and one problem, each odd thing handled as its kind asks."""
    folder = shared / "data" / "formats" / "odd"
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        kinds = {row["what_is_odd"]: row["file"].removesuffix(".txt") for row in csv.DictReader(stream)}
    items = {item.native_id: item for item in read(sorted(folder.glob("*.txt")))}
    assert set(items) == set(kinds.values())
    problem = items.pop(kinds["precursor_many_numbers"])
    assert isinstance(problem, Problem) and problem.field == "PRECURSOR_M/Z" and problem.line == 35
    odd = {kind: items[name] for kind, name in kinds.items() if name in items}
    facts = {
        "ms4": ("ms_level", 4),
        "ms3": ("ms_level", 3),
        "precursor_two_stages": ("precursor_mz", 237.0),
        "two_adducts": ("adduct", "[M+CH3COO]-"),
        "adducts_with_comma": ("adduct", None),
        "radical_cation_star": ("adduct", "[M]+."),
        "doubly_charged_plus_plus": ("charge", 2),
        "doubly_charged_negative": ("charge", -2),
        "collision_energy_kV": ("collision_energy", None),
        "collision_energy_scaled": ("collision_energy", None),
        "collision_energy_stepped": ("collision_energy", pytest.approx(185 / 3 * 591.2461 / 500)),
        "retention_time_NA": ("retention_time", None),
        "no_precursor_mz": ("precursor_mz", None),
        "smiles_NA": ("smiles", None),
        "ei_spectrum": ("precursor_mz", None),
        "dimer": ("adduct", "[2M+H]+"),
        "acetate_adduct": ("adduct", "[M+CH3COO]-"),
        "cation": ("adduct", "[M]+"),
    }
    for kind, (field, value) in facts.items():
        assert getattr(odd[kind], field) == value, kind
    assert len(odd["one_peak"]) == 1  # type: ignore[arg-type]
