from __future__ import annotations

import pytest

from msformers.spectra.peptides import (
    Modification,
    Peptide,
    PeptideError,
    known_modifications,
    parse_peptide,
    unimod_numbers,
)


@pytest.mark.parametrize(
    ("text", "sequence", "modifications"),
    [
        ("PEPTIDE", "PEPTIDE", []),
        ("C[Carbamidomethyl]M[Oxidation]K", "CMK", [(1, "Carbamidomethyl"), (2, "Oxidation")]),
        ("[Acetyl]-M[Oxidation]K", "MK", [(0, "Acetyl"), (1, "Oxidation")]),
        ("[+25.980265]-AK", "AK", [(0, "+25.980265")]),
        ("[Carbamyl][Ammonia-loss]-AK", "AK", [(0, "Carbamyl"), (0, "Ammonia-loss")]),
        ("AS[Phospho][+1.5]", "AS", [(2, "Phospho"), (2, "+1.5")]),
    ],
)
def test_a_peptide_is_taken_apart(text: str, sequence: str, modifications: list[tuple[int, str]]) -> None:
    assert parse_peptide(text) == Peptide(sequence, tuple(Modification(*pair) for pair in modifications))


@pytest.mark.parametrize(
    "text", ["", "peptide", "PEP-TIDE", "M+15.995K", "[Acetyl]-", "M[OxidationK", "PEPTIDE/2"]
)
def test_what_is_no_peptide_is_named(text: str) -> None:
    with pytest.raises(PeptideError, match="peptide"):
        parse_peptide(text)


def test_a_vocabulary_tells_fixed_from_variable_modifications() -> None:
    tokens = ["$", "A", "M", "M[Oxidation]", "C[Carbamidomethyl]", "[Acetyl]-", "[+25.980265]-", ""]
    fixed, variable = known_modifications(tokens)
    assert fixed == [("C", "Carbamidomethyl")]
    assert variable == [("M", "Oxidation"), ("N-term", "+25.980265"), ("N-term", "Acetyl")]
    assert known_modifications([*tokens, "C"])[0] == []


def test_unimod_numbers_are_those_of_unimod() -> None:
    numbers = unimod_numbers()
    known = {
        "Carbamidomethyl": 4,
        "Oxidation": 35,
        "Deamidated": 7,
        "Acetyl": 1,
        "Carbamyl": 5,
        "Phospho": 21,
    }
    assert known.items() <= numbers.items() and numbers["Ammonia-loss"] == 385
    assert len(set(numbers.values())) == len(numbers)
