import numpy as np
import pytest
from rdkit import Chem

from msformers.spectra.fragmentation import (
    ELEMENTS,
    N_BOND_CLASSES,
    composition_text,
    element_masses,
    fragment,
)


def found(smiles: str, **options: object) -> dict[tuple[str, int], tuple[float, int]]:
    parts = fragment(Chem.MolFromSmiles(smiles), **options)
    rows = zip(
        parts.composition, parts.hydrogens.tolist(), parts.cost.tolist(), parts.cuts.tolist(), strict=True
    )
    return {(composition_text(counts), h): (cost, cuts) for counts, h, cost, cuts in rows}


def test_paracetamol_gives_its_known_pieces() -> None:
    pieces = found("CC(=O)Nc1ccc(O)cc1")
    assert pieces["C8NO2", 9] == (0.0, 0)  # the molecule itself
    assert pieces["C2O", 3] == (1.0, 1)  # acetyl
    assert pieces["C6NO", 6] == (1.0, 1)  # aminophenol, m/z 110 with its proton
    assert pieces["C6O", 5] == (1.0, 1)
    assert pieces["C6NO", 6][1] < pieces["C6", 4][1]  # both substituents off needs two cuts


def test_a_ring_needs_two_bonds() -> None:
    pieces = found("C1CCCCC1")
    assert {cuts for _, cuts in pieces.values()} == {0, 2}
    assert pieces["C3", 6] == (2.0, 2)


def test_a_spiro_and_a_fused_ring_come_apart() -> None:
    assert ("C4", 8) in found("C1CCC2(CC1)CCCC2")
    assert ("C4", 4) in found("c1ccc2ccccc2c1")


def test_the_cheapest_way_counts() -> None:
    cheap = np.full(N_BOND_CLASSES, 2.0)
    assert found("CCO", bond_cost=cheap)["C2", 5] == (2.0, 1)


@pytest.mark.parametrize("smiles", ["C", "[Na+]", "CC", "O"])
def test_smallest_molecules(smiles: str) -> None:
    assert all(cost >= 0 for cost, _ in found(smiles).values())


def test_fragments_add_up_to_no_more_than_the_molecule() -> None:
    molecule = Chem.MolFromSmiles("CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc21")
    parts = fragment(molecule)
    whole = parts.composition[parts.cost == 0][0]
    assert (parts.composition <= whole).all()
    assert parts.composition @ element_masses() == pytest.approx(
        [sum(n * m for n, m in zip(row, element_masses(), strict=True)) for row in parts.composition]
    )
    assert len(ELEMENTS) == parts.composition.shape[1]


def test_a_large_molecule_stays_affordable() -> None:
    peptide = Chem.MolFromSmiles("NCC(=O)" * 1 + "NC(C)C(=O)" * 25 + "O")
    assert 100 < len(fragment(peptide).cost) < 50_000
