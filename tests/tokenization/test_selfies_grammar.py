"""The derivation against `selfies.decoder` and RDKit."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase
from rdkit.Chem.Descriptors import ExactMolWt
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from msformers.spectra.masses import ELECTRON_MASS, parse_formula
from msformers.tokenization.selfies import SelfiesError, constrained, encode_selfies, split_selfies
from msformers.tokenization.selfies_atoms import INDEX_SYMBOLS, Role, read_symbol
from msformers.tokenization.selfies_grammar import NEVER, Derivation, derive

ODD = (
    *(".", "[nop]", "[epsilon]", "[NH1]", "[C@@H1]", "[C@]", "[/C]", "[\\C]", "[H]", "[=NH1+1]", "[NH1+1]"),
    *(
        "[-/Ring1]",
        "[\\/Ring2]",
        "[CH9]",
        "[SiH2]",
        "[Si]",
        "[Se]",
        "[Na+1]",
        "[Cl-1]",
        "[CH0]",
        "[Foo]",
        "[--Ring1]",
    ),
)


def alphabet() -> list[str]:
    with constrained() as selfies:
        return [*sorted(selfies.get_semantic_robust_alphabet()), *ODD]


def reference(tokens: list[str]) -> object:
    """What the library and RDKit make of tokens: atoms, charge, bonds, mass; or what is wrong."""
    with constrained() as selfies, rdBase.BlockLogs():
        try:
            smiles = selfies.decoder("".join(tokens))
        except selfies.DecoderError:
            return "error"
        mol = Chem.MolFromSmiles(smiles)
    if mol is None or not mol.GetNumAtoms():
        return "refused"
    mol = Chem.AddHs(mol)
    rings = mol.GetNumBonds() - mol.GetNumAtoms() + len(Chem.GetMolFrags(mol))
    formula = parse_formula(CalcMolFormula(mol))
    charge = Chem.GetFormalCharge(mol)
    return (
        formula,
        charge,
        rings,
        round(ExactMolWt(mol) + charge * ELECTRON_MASS, 3),
    )  # RDKit takes the electrons away


def derived(state: Derivation) -> object:
    if state.error is not None:
        return "error"
    built = state.build()
    if not built.valid:
        return "refused"
    if state.regular and state.pending is None:
        assert state.hydrogens == built.counts.get("H", 0)
        assert (state.charge, state.unpaired) == (built.charge, built.radicals)
    return built.counts, built.charge, built.rings, round(built.mass, 3)


def check_prefixes(tokens: list[str], every: bool = True) -> None:
    state = Derivation()
    for place, token in enumerate(tokens, start=1):
        state = state.advance(read_symbol(token))
        if every or place == len(tokens):
            assert derived(state) == reference(tokens[:place]), "".join(tokens[:place])


def real_selfies(shared: Path, n: int) -> list[list[str]]:
    import pyarrow.parquet as pq

    smiles = (
        pq.ParquetFile(shared / "data" / "molecules.parquet")
        .read_row_group(0, ["smiles"])["smiles"]
        .to_pylist()
    )
    found = []
    for text in random.Random(3).sample(smiles, n):
        try:
            found.append(split_selfies(encode_selfies(text, canonicalise=False, verify=False)))
        except SelfiesError:
            continue
    return found


def test_real_molecules_match_the_decoder_at_every_prefix(shared: Path) -> None:
    molecules = real_selfies(shared, 2000)
    assert len(molecules) > 1900
    for place, tokens in enumerate(molecules):
        check_prefixes(tokens, every=place < 40)
        assert derive(tokens).regular


def test_random_symbols_match_the_decoder_at_every_prefix() -> None:
    rng = random.Random(1)
    symbols = alphabet()
    usual = [
        3.0 if s in ("[C]", "[=C]", "[Ring1]", "[Branch1]", "[N]", "[O]", "[Ring2]") else 0.15
        for s in symbols
    ]
    irregular = 0
    for place in range(2000):
        weights = usual if place % 2 else None
        tokens = rng.choices(symbols, weights, k=rng.randint(1, 40))
        check_prefixes(tokens, every=place < 200)
        irregular += not derive(tokens).regular
    assert irregular > 100  # the rules for overloaded atoms were put to work


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["[C]", "[=N]", "[O]", "[S]", "[Branch1]", "[=Branch2]", "[Ring1]", "[=Ring2]", "[NH1]"]
        )
    )
)
def test_any_order_of_common_symbols_matches_the_decoder(tokens: list[str]) -> None:
    if tokens:
        check_prefixes(tokens)


@pytest.mark.parametrize(
    ("selfies", "formula", "mass"),
    [
        ("[C][C][O]", "C2H6O", 46.041865),
        ("[C][=C][C][=C][C][=C][Ring1][=Branch1]", "C6H6", 78.046950),
        ("[C][S][=Branch1][C][=O][=Branch1][C][=O][O]", "CH4O3S", 95.988115),
        ("[C][N+1][=Branch1][C][=O][O-1]", "CH3NO2", 61.016378),
        ("[C].[Ring1][O]", "CH6O", 34.041865),
    ],
)
def test_molecules_with_known_formula(selfies: str, formula: str, mass: float) -> None:
    built = derive(selfies).build()
    assert built.counts == parse_formula(formula)
    assert built.mass == pytest.approx(mass, abs=1e-5)


def test_state_says_what_comes_next() -> None:
    state = derive("[C][C][Branch1]")
    assert state.pending is not None and state.pending.missing == 1
    state = state.advance(read_symbol("[Ring1]"))
    assert (state.pending, state.valence, state.end - state.used, len(state.stack)) == (None, 1, 2, 1)
    state = state.advance(read_symbol("[F]"))
    assert state.ignored  # fluorine ends the chain, one symbol of the branch is left and means nothing
    assert state.advance(read_symbol("[O]")).build().counts == {"C": 2, "F": 1, "H": 5}
    back = state.advance(read_symbol("[O]"))
    assert (back.valence, back.atom, back.end, back.stack) == (2, 1, NEVER, ())


def test_advance_leaves_the_old_state_as_it_was() -> None:
    state = derive("[C][C]")
    before = tuple(state)
    for token in alphabet():
        state.advance(read_symbol(token))
    assert tuple(state) == before


def test_symbols_the_decoder_refuses_are_unknown() -> None:
    assert [read_symbol(text).role for text in ("[Foo]", "[CH9]", "[--Ring1]", "[/Branch1]")] == [
        Role.UNKNOWN
    ] * 4
    assert derive("[C][Foo]").error == "[Foo]"
    assert derive("[F][F][Foo]").error is None  # the chain is over, the decoder never looks at it


def test_digits_are_those_of_the_library() -> None:
    from selfies.constants import INDEX_ALPHABET

    assert INDEX_SYMBOLS == INDEX_ALPHABET
    assert [read_symbol(text).digit for text in INDEX_SYMBOLS] == list(range(16))
