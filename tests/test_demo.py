"""The bundled demo: molecules whose formulas RDKit confirms, spectra that follow from the authored table."""

from __future__ import annotations

import csv
import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from house import ROOT
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from msformers.spectra.adducts import parse_adduct
from msformers.spectra.masses import formula_mass, parse_formula

DEMO = ROOT / "src" / "msformers" / "demo"
CATEGORIES = {"drug", "pesticide", "metabolite", "natural product"}
# first blocks of InChIKeys as chemists know them, typed independently of the SMILES
KNOWN_BLOCKS = {
    "Caffeine": "RYYVLZVUVIJVGH", "Morphine": "BQJCRHHNABKAKU", "Codeine": "OROGSEYTTFOCAN",
    "Cocaine": "ZPUCINDJVBIVPJ", "Quercetin": "REFJWTPEDVJJIY", "Kaempferol": "IYRMWMYZSQPJKC",
    "Reserpine": "QEVHRUUCFGRFIF", "Atrazine": "MXWJVTOOROXGIU", "Paclitaxel": "RCINICONZNJXQF",
    "Strychnine": "QMGVPVSNSZLJIA", "Noscapine": "AKNNEGZIBPJZJG", "Thebaine": "FQXXSQDCDRQNQE",
    "Buprenorphine": "RMRJXGBAOAMLHD", "Ergotamine": "XCGSFFUVFURLIX", "Artemisinin": "BLUAFEHZUWYNDE",
    "Aflatoxin B1": "OQIQSTLJSLGHID", "Ursolic acid": "WCGUUGGRBIKTOS", "Oleanolic acid": "MIJYXULNPSFWEK",
    "Rutin": "IKGXIBQEEMLURG", "Erythromycin": "ULGZDMOVFRHVEP", "Tetracycline": "OFVLGDICTFRJMM",
    "Doxycycline": "SGKRLCUYIXIAHR", "Cholesterol": "HVYWMOMLDIMFJA", "Testosterone": "MUMGGOZAMZWBJJ",
    "Cortisol": "JYGXADMDTFJGBT", "Colchicine": "IAKHMKGGTNLKSZ", "Vincamine": "RXPRRQLKFXBCSJ",
    "Yohimbine": "BLGXFZZNTVWLAY", "Digoxigenin": "SHIBSTMRCDJXLN", "Riboflavin": "AUNGANRZJHBGPY",
    "Atorvastatin": "XUKUURHRXDUEBC", "Telmisartan": "RMMXLENWKUUMAY", "Sildenafil": "BNRNXUUZRGQAQC",
    "Imatinib": "KTUFNOKKBVMGRW", "Finasteride": "DBEPLOCGEIEOCV", "Topiramate": "KJADKKWYZYXHBB",
    "Sulfamethoxazole": "JLKIGFTWXXRPMT", "Azoxystrobin": "WFDXOXNFNRHQEC", "Bentazone": "ZOMSMJKLGFBRBS",
    "Sucrose": "CZMRCDWAGMRECN",
}  # fmt: skip


def rows(name: str) -> list[dict[str, str]]:
    with (DEMO / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


MOLECULES = rows("starter_molecules.csv")
BY_NAME = {row["name"]: row for row in MOLECULES}
FRAGMENTS = rows("fragments.csv")


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_demo", ROOT / "training_scripts" / "build_demo.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def within(part: dict[str, int], whole: dict[str, int]) -> bool:
    return all(count <= whole.get(symbol, 0) for symbol, count in part.items())


def ion_composition(compound: str, adduct: str) -> dict[str, int]:
    changes = {"[M+H]+": {"H": 1}, "[M-H]-": {"H": -1}, "[M+Na]+": {"Na": 1}}
    counts = parse_formula(BY_NAME[compound]["formula"])
    for symbol, change in changes[adduct].items():
        counts[symbol] = counts.get(symbol, 0) + change
    return counts


def test_starter_molecules_are_many_and_of_every_category() -> None:
    assert list(MOLECULES[0]) == ["name", "smiles", "formula", "category"]
    assert len(MOLECULES) >= 350
    counts = Counter(row["category"] for row in MOLECULES)
    assert set(counts) == CATEGORIES
    assert min(counts.values()) >= 60


def test_rdkit_confirms_each_typed_formula() -> None:
    wrong = [
        (row["name"], row["formula"], CalcMolFormula(Chem.MolFromSmiles(row["smiles"])))
        for row in MOLECULES
        if CalcMolFormula(Chem.MolFromSmiles(row["smiles"])) != row["formula"]
    ]
    assert wrong == []


def test_molecules_are_distinct_and_neutral() -> None:
    molecules = [Chem.MolFromSmiles(row["smiles"]) for row in MOLECULES]
    blocks = Counter(Chem.MolToInchiKey(molecule).partition("-")[0] for molecule in molecules)
    assert [block for block, count in blocks.items() if count > 1] == []
    assert max(Counter(row["name"] for row in MOLECULES).values()) == 1
    assert {Chem.GetFormalCharge(molecule) for molecule in molecules} == {0}


@pytest.mark.parametrize("name", KNOWN_BLOCKS)
def test_skeletons_are_those_chemists_know(name: str) -> None:
    key = Chem.MolToInchiKey(Chem.MolFromSmiles(BY_NAME[name]["smiles"]))
    assert key.partition("-")[0] == KNOWN_BLOCKS[name]


def test_mass_alone_does_not_decide_the_demo() -> None:
    """For most demo spectra the bank holds isomers, so that the score has something to do."""
    formulas = Counter(row["formula"] for row in MOLECULES)
    compounds = {row["compound"] for row in FRAGMENTS}
    with_isomers = [name for name in compounds if formulas[BY_NAME[name]["formula"]] > 1]
    assert len(with_isomers) >= 15


def test_demo_mgf_is_what_the_builder_writes(builder: ModuleType) -> None:
    assert (DEMO / "demo.mgf").read_text(encoding="utf-8") == builder.build()


def test_every_fragment_is_part_of_its_precursor_ion() -> None:
    wrong = [
        (row["compound"], row["fragment"])
        for row in FRAGMENTS
        if not within(parse_formula(row["fragment"]), ion_composition(row["compound"], row["adduct"]))
    ]
    assert wrong == []


def test_fragment_masses_agree_with_the_literature_values(builder: ModuleType) -> None:
    for row in FRAGMENTS:
        mz = builder.fragment_mz(row["fragment"], parse_adduct(row["adduct"]).charge)
        assert mz == pytest.approx(float(row["literature_mz"]), abs=0.0011), row


def test_header_says_that_nothing_is_measured() -> None:
    first = (DEMO / "demo.mgf").read_text(encoding="utf-8").splitlines()[0]
    assert "authored, not measured" in first


def test_the_reader_reads_every_demo_spectrum() -> None:
    from msformers.spectra.read import read
    from msformers.spectra.spectrum import Spectrum

    found = list(read(DEMO / "demo.mgf"))
    spectra = [item for item in found if isinstance(item, Spectrum)]
    assert len(found) == len(spectra) == 27
    assert {spectrum.ion_mode for spectrum in spectra} == {"positive", "negative"}
    assert sum(spectrum.smiles is not None for spectrum in spectra) == 4
    names = list(dict.fromkeys(row["compound"] for row in FRAGMENTS))
    for spectrum, name in zip(spectra, names, strict=True):
        adduct = parse_adduct(spectrum.adduct or "")
        mass = adduct.neutral_mass(spectrum.precursor_mz or 0.0)
        assert mass == pytest.approx(formula_mass(BY_NAME[name]["formula"]), abs=1e-4)
        assert spectrum.collision_energy is not None
        assert float(spectrum.intensity.max()) == 1.0


def test_demo_files_are_packaged() -> None:
    from house import setup_cfg

    patterns = setup_cfg()["options.package_data"]["msformers.demo"].replace(" ", "").split(",")
    assert all(
        any(Path(name).match(pattern) for pattern in patterns) for name in ("demo.mgf", "fragments.csv")
    )
