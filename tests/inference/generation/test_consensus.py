"""What predictions agree on: substructures, molecules, atoms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from msformers.inference.generation.consensus import atom_agreement, consensus, score_weights
from msformers.inference.generation.substructures import (
    SubstructureError,
    load_substructures,
    match_substructures,
)

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
SALICYLIC_ACID = "OC(=O)c1ccccc1O"
METHYL_SALICYLATE = "COC(=O)c1ccccc1O"
EXAMPLES = {
    "benzene ring": ("c1ccccc1", "C1CCCCC1"),
    "primary amide": ("CC(N)=O", "CC(=O)NC"),
    "hydroxyl": ("CO", "COC"),
    "phenol": ("Oc1ccccc1", "OCc1ccccc1"),
    "carboxylic acid": ("CC(=O)O", "CC(=O)OC"),
    "ester": ("CC(=O)OC", "CC(=O)O"),
    "aldehyde": ("CC=O", "CC(C)=O"),
    "ketone": ("CC(C)=O", "CC=O"),
    "secondary amide": ("CC(=O)NC", "CC(=O)N(C)C"),
    "primary amine": ("CN", "CNC"),
    "tertiary amine": ("CN(C)C", "CC(=O)N(C)C"),
    "ether": ("COC", "CC(=O)OC"),
    "nitrile": ("CC#N", "CC=N"),
    "nitro group": ("C[N+](=O)[O-]", "CN=O"),
    "sulfonamide": ("CS(N)(=O)=O", "CS(C)(=O)=O"),
    "phosphate": ("COP(=O)(O)O", "CP(=O)(O)O"),
    "halogen": ("CCl", "C"),
    "pyridine ring": ("c1ccncc1", "c1ccccc1"),
}


def test_the_eighteen_tell_what_has_them_from_what_has_not() -> None:
    substructures = load_substructures()
    assert [found.name for found in substructures] == list(EXAMPLES)
    assert sum(found.source.startswith("LSM1-MS2") for found in substructures) == 4
    for column, name in enumerate(EXAMPLES):
        matches, valid = match_substructures(EXAMPLES[name], substructures)
        assert valid.all()
        assert matches[:, column].tolist() == [True, False], name


def test_scores_are_shares_of_the_valid_predictions() -> None:
    found = consensus([ASPIRIN, None, "C1CC", SALICYLIC_ACID, "", METHYL_SALICYLATE])
    assert found.valid.tolist() == [True, False, False, True, False, True]
    assert found.matches.shape == (6, 18) and not found.matches[1].any()
    assert found.score("benzene ring") == 1.0
    assert found.score("Phenol") == pytest.approx(2 / 3)
    assert found.score("nitrile") == 0.0
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    with pytest.raises(SubstructureError, match=r"no substructure 'thiol'.*choose one of benzene ring"):
        found.score("thiol")


def test_without_a_valid_prediction_nothing_is_known() -> None:
    for smiles in ([], [None, "C1CC"]):
        found = consensus(smiles)
        assert np.isnan(found.scores).all() and np.isnan(found.agreement()).all()
        assert np.isnan(found.agreement_of("CCO"))


def test_weights_give_the_sure_predictions_more_say() -> None:
    smiles = ["CO", "CCl", None]
    assert consensus(smiles, weights=[3.0, 1.0, 9.0]).score("hydroxyl") == 0.75
    say = score_weights([np.log(0.6), np.log(0.2)])
    assert say == pytest.approx([0.75, 0.25])
    assert score_weights([-1000.0, -1001.0], temperature=0.5)[0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert score_weights([]).size == 0
    for weights in ([1.0], [-1.0, 1.0, 1.0], [np.nan, 1.0, 1.0]):
        with pytest.raises(ValueError, match="one finite number of at least 0 for each"):
            consensus(smiles, weights=weights)
    with pytest.raises(ValueError, match="are all 0"):
        consensus(smiles, weights=[0.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="temperature 0"):
        score_weights([1.0], temperature=0)


def test_agreement_of_a_molecule_leaves_its_own_vote_out() -> None:
    chosen = [found for found in load_substructures() if found.name in ("hydroxyl", "halogen", "nitrile")]
    found = consensus(["CO", "OCCl", "CCO", "CCl", None], chosen)
    # of methanol: hydroxyl in 2 of the 3 others, halogen not in 1 of 3; nitriles, which nobody has, are not counted
    assert found.agreement() == pytest.approx([1 / 2, 1 / 2, 1 / 2, 1 / 6, np.nan], nan_ok=True)
    assert found.agreement_of("CO") == pytest.approx((3 / 4 + 2 / 4) / 2)
    # a substructure that only this molecule has speaks against it
    assert found.agreement_of("N#CO") == pytest.approx((3 / 4 + 2 / 4 + 0) / 3)
    with pytest.raises(ValueError, match="'C1CC' is not a valid molecule"):
        found.agreement_of("C1CC")


def test_agreement_of_equals_is_one_and_of_one_alone_is_unknown() -> None:
    assert consensus([ASPIRIN] * 3).agreement().tolist() == [1, 1, 1]
    assert consensus(["CC", "CCC"]).agreement().tolist() == [1, 1]
    assert np.isnan(consensus([ASPIRIN, None]).agreement()).all()
    assert np.isnan(consensus([ASPIRIN, "CCO"], weights=[1.0, 0.0]).agreement()).tolist() == [True, False]


def test_atoms_shared_with_all_their_surroundings_agree_fully() -> None:
    aspirin, acid, none, methyl = atom_agreement([ASPIRIN, SALICYLIC_ACID, None, METHYL_SALICYLATE])
    assert none.size == 0
    assert aspirin.shape == (13,) and acid.shape == (10,) and methyl.shape == (11,)
    # the ring carbons opposite the substituents have the same two bonds around them in all three
    ring = [atom for atom, value in enumerate(aspirin) if value == 1]
    molecule = Chem.MolFromSmiles(ASPIRIN)
    assert len(ring) == 3 and all(molecule.GetAtomWithIdx(atom).GetIsAromatic() for atom in ring)
    # methyl carbon of the acetyl group: such a carbon exists in one of the two others, its neighbours in none
    assert aspirin[0] == pytest.approx(1 / 12)
    assert ((aspirin >= 0) & (aspirin <= 1)).all()


def test_the_atoms_follow_the_smiles_however_it_is_written() -> None:
    turned = "O=C(O)c1ccccc1OC(C)=O"
    one, two = atom_agreement([ASPIRIN, SALICYLIC_ACID])[0], atom_agreement([turned, SALICYLIC_ACID])[0]
    order = Chem.MolFromSmiles(turned).GetSubstructMatch(Chem.MolFromSmiles(ASPIRIN))
    assert one == pytest.approx(two[list(order)])


def test_each_radius_counts_as_it_is_weighed() -> None:
    # carbon of ethanol's CH3 in propane: the same atom, a CH2 next to it too, but no oxygen beyond
    for weights, expected in (((1,), 1.0), ((1, 1), 1.0), ((1, 1, 1), 2 / 3), ((1, 2, 3), 0.5)):
        assert atom_agreement(["CCO", "CCC"], radius_weights=weights)[0][0] == pytest.approx(expected)
    assert np.isnan(atom_agreement(["CCO", None])[0]).all()
    assert atom_agreement(["C", "C"])[0].tolist() == [1.0]
    assert atom_agreement(["CCO", "CCO", "N"], weights=[1, 1, 2])[0] == pytest.approx([1 / 3] * 3)


def test_users_add_substructures_or_bring_their_own(tmp_path: Path) -> None:
    assert [found.name for found in load_substructures(extra={"thiol": "[SX2H]"})][-1] == "thiol"
    own = tmp_path / "own.csv"
    own.write_text('name,smarts,source\nthiol,[SX2H],me\nmetal,"[Na,K]",\n', encoding="utf-8")
    assert [found.smarts for found in load_substructures(own)] == ["[SX2H]", "[Na,K]"]
    assert len(load_substructures(extra=own)) == 20
    assert consensus(["CS"], load_substructures(own)).score("thiol") == 1.0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ring,c1ccc", r"own.csv:3: substructure 'ring' with SMARTS 'c1ccc': RDKit does not understand"),
        ("ring,", r"own.csv:3: substructure 'ring' with SMARTS '': a SMARTS has 1 to"),
        (",[SX2H]", r"own.csv:3: substructure '' with SMARTS '\[SX2H\]' has no name; give it one"),
        ("Thiol,[SX2H]", r"own.csv:3: substructure 'Thiol' .*the name is taken by .*own.csv:2; rename"),
        (
            "metal,[Na,K],me",
            r"own.csv:3: substructure 'metal' .*put a SMARTS that holds a comma in \"quotes\"",
        ),
    ],
)
def test_a_wrong_row_is_named_with_its_remedy(tmp_path: Path, row: str, message: str) -> None:
    own = tmp_path / "own.csv"
    own.write_text(f"name,smarts,source\nthiol,[SX2H],me\n{row}\n", encoding="utf-8")
    with pytest.raises(SubstructureError, match=message):
        load_substructures(own)


def test_a_wrong_list_is_named(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("name;smarts\n", encoding="utf-8")
    with pytest.raises(SubstructureError, match=r"own.csv:1: no column name, smarts; the first line must be"):
        load_substructures(own)
    own.write_text("name,smarts\n", encoding="utf-8")
    with pytest.raises(SubstructureError, match="holds no substructure"):
        load_substructures(own)
    with pytest.raises(SubstructureError, match=r"extra\['phenol'\].*taken by .*substructures.csv:5"):
        load_substructures(extra={"phenol": "Oc1ccccc1"})
    with pytest.raises(OSError, match="nowhere"):
        load_substructures(tmp_path / "nowhere.csv")
