"""Molecules as SMILES: canonical form, InChIKey, formula and mass, by RDKit (imported on first use)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from .masses import ELECTRON_MASS

MAX_SMILES_LENGTH = 10_000


class MoleculeError(ValueError):
    """A SMILES that is no molecule; says which and why."""


@dataclass(frozen=True, slots=True)
class MoleculeRecord:
    """One molecule as a search needs it.

    Attributes:
        smiles: canonical SMILES without stereo and isotopes.
        inchikey: full InChIKey of that SMILES.
        inchikey14: its first block, which identifies the molecule.
        formula: sum formula in Hill order, with its charge if it has one.
        exact_mass: monoisotopic mass in Da, the sum of the atoms: of a cation it is the mass before the electron is
            lost, as `Adduct.mz` expects it (the ``[M]+`` of choline is exact_mass less one electron).
    """

    smiles: str
    inchikey: str
    inchikey14: str
    formula: str
    exact_mass: float


@cache
def _rdkit() -> Any:
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdMolDescriptors
    from rdkit.Chem.MolStandardize import rdMolStandardize

    class Tools:
        """The parts of RDKit used here; the choosers are slow to make, so they are made once."""

        chem = Chem
        descriptors = rdMolDescriptors
        quiet = rdBase.BlockLogs
        largest = rdMolStandardize.LargestFragmentChooser(preferOrganic=True)
        neutral = rdMolStandardize.Uncharger()

    return Tools


def _parse(smiles: str, *, parent: bool, stereo: bool) -> Any:
    """An RDKit molecule without isotopes, and without stereo unless asked."""
    tools = _rdkit()
    text = smiles.strip() if isinstance(smiles, str) else ""
    if not text:
        raise MoleculeError(f"SMILES {smiles!r} is empty; give a structure")
    if len(text) > MAX_SMILES_LENGTH:
        raise MoleculeError(
            f"SMILES of {len(text)} characters {text[:30]!r}… is longer than {MAX_SMILES_LENGTH}"
        )
    mol = tools.chem.MolFromSmiles(text)
    if mol is None:
        raise MoleculeError(
            f"SMILES {_short(text)} is not a valid molecule; check syntax, valences and aromatic rings"
        )
    if mol.GetNumAtoms() == 0:
        raise MoleculeError(f"SMILES {_short(text)} holds no atom; give a structure")
    if parent:
        mol = tools.neutral.uncharge(tools.largest.choose(mol))
    if not stereo:
        tools.chem.RemoveStereochemistry(mol)
    isotopes = [atom for atom in mol.GetAtoms() if atom.GetIsotope()]
    for atom in isotopes:
        atom.SetIsotope(0)
    return tools.chem.RemoveHs(mol) if isotopes else mol


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:80]!r}…"


def _written(mol: Any) -> tuple[Any, str]:
    """The molecule and its SMILES, written until writing changes nothing (stereo removal can need two rounds)."""
    chem = _rdkit().chem
    smiles = chem.MolToSmiles(mol)
    for _ in range(4):
        again = chem.MolFromSmiles(smiles)
        if again is None:
            raise MoleculeError(
                f"SMILES {_short(smiles)}, written by RDKit, cannot be read back; leave it out"
            )
        mol, before, smiles = again, smiles, chem.MolToSmiles(again)
        if smiles == before:
            break
    return mol, str(smiles)


def canonical_smiles(smiles: str, *, parent: bool = False, stereo: bool = False) -> str:
    """The canonical SMILES, the same however the molecule was written; isotopes are removed.

    Args:
        smiles: any SMILES.
        parent: keep only the largest organic fragment and neutralise it (salts lose their counter-ion).
        stereo: keep stereo marks; mass spectra seldom tell them apart, so the default drops them.

    Raises:
        MoleculeError: not a molecule.
    """
    with _rdkit().quiet():
        return _written(_parse(smiles, parent=parent, stereo=stereo))[1]


def _inchikey(mol: Any, smiles: str) -> str:
    key = str(_rdkit().chem.MolToInchiKey(mol))
    if len(key) != 27:
        raise MoleculeError(
            f"SMILES {_short(smiles)} has no InChIKey; InChI does not know this kind of structure"
        )
    return key


def inchikey_block(smiles: str) -> str:
    """First block (14 letters) of the InChIKey of a SMILES: the molecule without stereo and isotopes.

    Raises:
        MoleculeError: not a molecule, or one InChI cannot describe.
    """
    with _rdkit().quiet():
        return _inchikey(_parse(smiles, parent=False, stereo=False), smiles)[:14]


def molecule_record(smiles: str, *, parent: bool = False) -> MoleculeRecord:
    """Canonical SMILES, InChIKey, formula and mass of a SMILES.

    Args:
        smiles: any SMILES.
        parent: keep only the largest organic fragment and neutralise it.

    Raises:
        MoleculeError: not a molecule, or one InChI cannot describe.
    """
    tools = _rdkit()
    with tools.quiet():
        mol, canonical = _written(_parse(smiles, parent=parent, stereo=False))
        key = _inchikey(mol, smiles)
        formula = str(tools.descriptors.CalcMolFormula(mol))
        ion_mass = float(tools.descriptors.CalcExactMolWt(mol))
        mass = ion_mass + tools.chem.GetFormalCharge(mol) * ELECTRON_MASS
    return MoleculeRecord(canonical, key, key[:14], formula, mass)
