from __future__ import annotations

import numpy as np
import pytest

from msformers.spectra.descriptors import DESCRIPTOR_NAMES, LOG_DESCRIPTORS, descriptors
from msformers.spectra.molecules import MoleculeError

# what RDKit has added to its list since 2023.03
LATER = {
    "SPS",
    "Phi",
    "NumAmideBonds",
    "NumAtomStereoCenters",
    "NumBridgeheadAtoms",
    "NumHeterocycles",
    "NumSpiroAtoms",
    "NumUnspecifiedAtomStereoCenters",
}


def value(smiles: str, name: str) -> float:
    return float(descriptors(smiles)[DESCRIPTOR_NAMES.index(name)])


def test_209_names_in_the_installed_order() -> None:
    from rdkit.Chem import Descriptors

    assert len(DESCRIPTOR_NAMES) == len(set(DESCRIPTOR_NAMES)) == 209
    installed = [name for name, _ in Descriptors.descList]
    assert tuple(name for name in installed if name in DESCRIPTOR_NAMES) == DESCRIPTOR_NAMES
    assert LATER.isdisjoint(DESCRIPTOR_NAMES)


def test_what_the_list_is_made_of() -> None:
    assert sum(name.startswith("fr_") for name in DESCRIPTOR_NAMES) == 85
    assert sum(name.startswith("BCUT2D_") for name in DESCRIPTOR_NAMES) == 8
    assert "AvgIpc" in DESCRIPTOR_NAMES and LOG_DESCRIPTORS == ("Ipc",)
    assert set(LOG_DESCRIPTORS) < set(DESCRIPTOR_NAMES)


def test_values_are_those_of_rdkit() -> None:
    from rdkit import Chem
    from rdkit.Chem import Descriptors

    found = descriptors("CC(=O)Oc1ccccc1C(=O)O")
    assert found.shape == (209,) and found.dtype == np.float64 and np.isfinite(found).all()
    functions, mol = dict(Descriptors.descList), Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")
    np.testing.assert_array_equal(found, [functions[name](mol) for name in DESCRIPTOR_NAMES])
    assert value("CCO", "MolWt") == pytest.approx(46.069)
    assert value("c1ccccc1O", "fr_phenol") == 1 and value("CCO", "fr_phenol") == 0


def test_ipc_needs_its_logarithm() -> None:
    assert value("C" * 60, "Ipc") > 1e12


def test_what_rdkit_cannot_compute_is_nan() -> None:
    found = descriptors("C[Pb](C)(C)C")
    missing = {name for name, x in zip(DESCRIPTOR_NAMES, found, strict=True) if np.isnan(x)}
    assert {"MaxPartialCharge", "BCUT2D_CHGHI"} <= missing and len(missing) < 20
    assert not np.isinf(found).any()


@pytest.mark.parametrize("text", ["", "C1CC", "no molecule", None])
def test_no_molecule_no_descriptors(text: str) -> None:
    with pytest.raises(MoleculeError, match="is not a molecule"):
        descriptors(text)
