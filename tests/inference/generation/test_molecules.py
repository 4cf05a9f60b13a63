from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from msformers.inference.generation.molecules import collect_molecules, collect_sequences, selfies_text
from msformers.inference.retrieval.precursor import read_precursor
from msformers.inference.retrieval.query import Query
from msformers.spectra.molecules import molecule_record
from msformers.spectra.spectrum import Spectrum

ETHANOL, ETHANOL_AGAIN, METHYLAMINE = "[C][C][O]", "[O][C][C]", "[C][N]"
NO_MOLECULE = "[C][<mask>][C]"


def query(precursor_mz: float, adduct: str | None = "[M+H]+", policy: str = "common") -> Query:
    spectrum = Spectrum(np.array([50.0]), np.array([1.0], np.float32), precursor_mz, adduct=adduct)
    return Query("mass", read_precursor(spectrum, adducts=policy).ions, None, precursor_mz)


def test_one_molecule_per_block_with_its_best_score_and_the_rest_counted() -> None:
    found = collect_molecules([METHYLAMINE, ETHANOL, NO_MOLECULE, ETHANOL_AGAIN], [-2.0, -0.9, -0.1, -0.3])
    assert [(m.rank, m.smiles, m.selfies) for m in found.molecules] == [
        (1, "CCO", ETHANOL_AGAIN),
        (2, "CN", METHYLAMINE),
    ]
    assert [m.beam_score for m in found.molecules] == [m.score for m in found.molecules] == [-0.3, -2.0]
    assert (found.n_sequences, found.n_invalid, found.n_duplicates) == (4, 1, 1)
    assert found.validity == 0.75
    assert found.uniqueness == pytest.approx(2 / 3)
    assert [text for text, _ in found.problems] == [NO_MOLECULE]
    assert found.problems[0][1]


def test_tautomers_of_one_block_are_one_molecule_and_stereo_is_dropped() -> None:
    imidazoles = ["[C][C][=C][NH1][C][=N][Ring1][Branch1]", "[C][C][=C][N][=C][NH1][Ring1][Branch1]"]
    found = collect_molecules([*imidazoles, "[C][C@H1][Branch1][C][N][O]"], [-1.0, -2.0, -3.0])
    assert len(found.molecules) == 2
    assert "@" not in found.molecules[1].smiles


def test_facts_are_those_of_the_molecule_as_generated_and_no_salt_is_stripped() -> None:
    (found,) = collect_molecules(["[C][N+1][Branch1][C][C][Branch1][C][C][C]"], [0.0]).molecules
    record = molecule_record("C[N+](C)(C)C")
    assert (found.smiles, found.formula, found.inchikey14) == (record.smiles, "C4H12N+", record.inchikey14)
    assert found.exact_mass == pytest.approx(record.exact_mass)


def test_adduct_and_error_are_those_of_the_best_reading() -> None:
    mass = molecule_record("CCO").exact_mass
    sodium = mass + 22.98922
    (found,) = collect_molecules([ETHANOL], [0.0], query(sodium * (1 + 4e-6), adduct=None)).molecules
    assert found.adduct == "[M+Na]+"
    assert found.mass_error_ppm == pytest.approx(4.0, abs=0.1)
    assert collect_molecules([ETHANOL], [0.0]).molecules[0].mass_error_ppm is None


def test_equal_scores_keep_their_order_and_a_score_that_is_no_number_is_last() -> None:
    found = collect_molecules([METHYLAMINE, ETHANOL, "[C]"], [math.nan, -5.0, -5.0]).molecules
    assert [m.smiles for m in found] == ["CCO", "C", "CN"]


def test_nothing_in_nothing_out_and_lengths_must_agree() -> None:
    empty = collect_molecules([], [])
    assert empty.molecules == []
    assert math.isnan(empty.validity)
    with pytest.raises(ValueError, match="2 sequences, 1 scores"):
        collect_molecules([ETHANOL, ETHANOL], [0.0])
    with pytest.raises(ValueError, match="1 sources"):
        collect_molecules([ETHANOL, ETHANOL], [0.0, 0.0], source=["beam"])


def test_token_ids_are_read_up_to_the_first_end() -> None:
    names = ["<pad>", "<s>", "</s>", "<mask>", "<unk>", "[C]", "[O]"]
    tokenizer = SimpleNamespace(
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        convert_ids_to_tokens=lambda ids: [names[i] for i in ids],
    )
    assert selfies_text(np.array([1, 5, 5, 6, 2, 5, 0]), tokenizer) == "[C][C][O]"
    found = collect_sequences(
        [[1, 5, 5, 6, 2], [1, 5, 4, 2, 0], [1, 2, 0, 0, 0]], [0.0] * 3, tokenizer, source="sample"
    )
    assert [(m.smiles, m.source) for m in found.molecules] == [("CCO", "sample")]
    assert found.n_invalid == 2
