"""Every record of the input is answered, in order, with checked molecules or with the reason why there are none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from msformers.inference.generation.consensus_calibration import ConsensusCalibration, SubstructureCalibration
from msformers.inference.generation.decode import Decoder
from msformers.inference.generation.generate import generate
from msformers.inference.generation.options import STATUSES, GenerateOptions, Generation
from msformers.inference.loading import Loaded, load_generator
from msformers.spectra.spectrum import Problem, Spectrum
from msformers.tokenization.selfies import encode_selfies

ETHANOL, ETHER, AMINE = "CCO", "COC", "CCN"
MZ = {ETHANOL: 47.04914, AMINE: 46.06513}
OPEN = {"mass_filter": False, "n": 4, "beams": 4, "max_length": 12}


def spectrum(index: int = 0, **fields: Any) -> Spectrum:
    given = {"precursor_mz": MZ[ETHANOL], "adduct": "[M+H]+", "native_id": f"s{index}", **fields}
    mz = np.array([19.0178, 29.0386, 31.0178 + 0.01 * index])
    return Spectrum(mz, np.array([0.2, 1.0, 0.5], dtype=np.float32), index=index, **given)


@pytest.fixture(scope="module")
def loaded(tiny_denovo: Path) -> Loaded:
    return load_generator(str(tiny_denovo), "cpu")


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the search find these SMILES for every spectrum, best first; "!" is no molecule, a native id "poison" an error."""

    def script(*smiles: str) -> None:
        def search(decoder: Decoder, spectra: Sequence[Spectrum], *_: Any) -> Any:
            if any(one.native_id == "poison" for one in spectra):
                raise RuntimeError("out of memory\nlong story")
            ids = decoder.tokenizer.convert_tokens_to_ids
            tokens = [
                ["<unk>"] if one == "!" else encode_selfies(one).replace("][", "] [").split()
                for one in smiles
            ]
            rows = [np.array([1, *ids(symbols), 2]) for symbols in tokens]
            scores = [-0.1 * (place + 1) for place in range(len(rows))]
            return [rows for _ in spectra], [scores for _ in spectra]

        monkeypatch.setattr(Decoder, "search", search)

    return script


def run(loaded: Loaded, spectra: Sequence[Any], *, batch_size: int = 8, **options: Any) -> list[Generation]:
    extra = {
        name: options.pop(name)
        for name in ("reranker", "properties", "calibration", "block")
        if name in options
    }
    made = GenerateOptions(**options)
    parts = (loaded.model, loaded.processor, loaded.tokenizer, made)
    return list(generate(spectra, *parts, batch_size=batch_size, **extra))


def smiles_of(answer: Generation) -> list[str]:
    return [molecule.smiles for molecule in answer.molecules]


RECORDS: list[tuple[str, Any, str]] = [
    ("ok", spectrum(0), ""),
    ("assumed_adduct", spectrum(1, adduct=None), "assumed [M+H]+"),
    ("no_mass_filter", spectrum(2, precursor_mz=None), "missing"),
    ("no_mass_filter", spectrum(3, adduct="[M+Xy]+"), "Xy"),
    ("no_mass_filter", spectrum(4, precursor_mz=math.nan), "nan"),
    ("no_molecules", spectrum(5, precursor_mz=400.0), "none of 398.9927 Da ([M+H]+)"),
    ("impossible_mass", spectrum(6, precursor_mz=5.0), "a neutral mass of 3.99"),
    ("impossible_mass", spectrum(7, precursor_mz=0.5), "leaves no mass"),
    ("impossible_mass", spectrum(8, precursor_mz=math.inf), "inf"),
    ("too_few_peaks", Spectrum(np.empty(0), np.empty(0, np.float32), 47.0, index=9), "0 peaks"),
    ("unreadable", Problem(10, 3, "p", "PEPMASS", "abc", "is not a number"), "PEPMASS 'abc'"),
    ("unreadable", {"mz": [1.0, 2.0]}, "intensit"),
    ("not_msms", spectrum(12, ms_level=1), "MS level is 1"),
    ("polarity_mismatch", spectrum(13, ion_mode="negative"), "correct one"),
    ("failed", spectrum(14, native_id="poison"), "RuntimeError: out of memory"),
    ("ok", spectrum(15), ""),
]


def test_every_record_gets_one_answer_in_order_with_status_and_reason(loaded: Loaded, scripted: Any) -> None:
    scripted(ETHANOL, ETHER, AMINE)
    answers = run(loaded, [record for _, record, _ in RECORDS], batch_size=3)
    assert [answer.status for answer in answers] == [status for status, _, _ in RECORDS]
    assert [answer.index for answer in answers] == list(range(len(RECORDS)))
    assert {answer.status for answer in answers} <= set(STATUSES)
    for answer, (_, _, reason) in zip(answers, RECORDS, strict=True):
        assert reason in answer.reason and bool(answer.reason) == (answer.status != "ok")
    answered = {"ok", "assumed_adduct", "no_mass_filter"}
    assert [bool(answer.molecules) for answer in answers] == [status in answered for status, _, _ in RECORDS]
    assert "\n" not in answers[14].reason and answers[10].path is None and answers[10].line == 3


def test_a_require_policy_leaves_spectra_without_adduct_alone(loaded: Loaded, scripted: Any) -> None:
    scripted(ETHANOL)
    (answer,) = run(loaded, [spectrum(adduct=None)], adducts="require")
    assert answer.status == "no_adduct" and not answer.molecules


def test_molecules_are_distinct_valid_of_the_right_mass_and_counted(loaded: Loaded, scripted: Any) -> None:
    scripted(ETHANOL, AMINE, "!", ETHER, ETHANOL, "!")
    (answer,) = run(loaded, [spectrum(smiles="OCC")])
    assert smiles_of(answer) == [ETHANOL, ETHER]
    assert (answer.n_generated, answer.n_valid, answer.n_distinct, answer.n_held_back) == (6, 4, 3, 1)
    first = answer.molecules[0]
    assert (
        first.rank == 1 and first.formula == "C2H6O" and first.adduct == "[M+H]+" and first.source == "beam"
    )
    assert first.mass_error_ppm == pytest.approx(0.0, abs=0.1) and first.beam_score == pytest.approx(-0.1)
    assert answer.substructures["hydroxyl"] == 0.5 and answer.known_substructures["hydroxyl"] is True
    assert first.consensus is not None and 0.0 <= first.consensus <= 1.0
    shades = answer.atom_agreement()
    assert [len(values) for values in shades] == [3, 3] and all(((v >= 0) & (v <= 1)).all() for v in shades)


def test_a_calibration_turns_the_consensus_into_probabilities(loaded: Loaded, scripted: Any) -> None:
    scripted(ETHANOL, ETHER)
    table = SubstructureCalibration("alcohol", "[OX2H]", [0.0, 1.0], [0.2, 0.8], 10, 20)
    (answer,) = run(loaded, [spectrum()], calibration=ConsensusCalibration((table,), "by hand"))
    assert answer.substructure_probabilities == {"hydroxyl": pytest.approx(0.5)}


def test_a_single_molecule_has_nothing_to_agree_with(loaded: Loaded, scripted: Any) -> None:
    scripted(ETHANOL)
    (answer,) = run(loaded, [spectrum()])
    assert answer.molecules[0].consensus is None and not answer.known_substructures


def test_n_limits_what_is_listed_and_the_rest_is_held_back(loaded: Loaded, scripted: Any) -> None:
    scripted("CCCO", "CCOC", "CC(C)O", AMINE)
    (answer,) = run(loaded, [spectrum(precursor_mz=61.06479)], n=2)
    assert len(answer.molecules) == 2 and answer.n_held_back == 2 and answer.n_distinct == 4


def test_those_beyond_n_count_in_the_consensus(loaded: Loaded, scripted: Any) -> None:
    scripted("CCCO", "CCOC", "CC(C)O", AMINE)
    table = SubstructureCalibration("alcohol", "[OX2H]", [0.0, 1.0], [0.0, 0.9], 10, 20)
    calibration = ConsensusCalibration((table,), "by hand")
    given = [spectrum(precursor_mz=61.06479)]
    (few,), (all_of_them,) = (run(loaded, given, n=n, calibration=calibration) for n in (1, 100))
    assert (few.n_compared, all_of_them.n_compared, len(few.molecules)) == (3, 3, 1)
    assert few.substructures == all_of_them.substructures
    assert few.substructures["hydroxyl"] == pytest.approx(2 / 3)
    assert few.substructure_probabilities == {"hydroxyl": pytest.approx(0.6)}
    assert few.molecules[0].consensus == all_of_them.molecules[0].consensus is not None
    assert few.atom_agreement()[0].tolist() == all_of_them.atom_agreement()[0].tolist()


def test_a_formula_of_a_charged_molecule_finds_it(loaded: Loaded, scripted: Any) -> None:
    scripted("C[N+](C)(C)CCO", ETHANOL)
    (answer,) = run(loaded, [spectrum(precursor_mz=104.1070, adduct="[M]+")], formula="C5H14NO")
    assert answer.status == "ok" and smiles_of(answer) == ["C[N+](C)(C)CCO"]


def test_without_the_filter_all_masses_stay_and_are_ordered_by_mass(loaded: Loaded, scripted: Any) -> None:
    scripted(AMINE, ETHANOL)
    (free,) = run(loaded, [spectrum()], mass_filter=False)
    assert free.status == "ok" and not free.mass_filter and smiles_of(free) == [ETHANOL, AMINE]
    assert free.ranked_by == "mass" and free.molecules[1].mass_error_ppm == pytest.approx(21367, abs=20)
    (beam,) = run(loaded, [spectrum()], mass_filter=False, rerank="none")
    assert smiles_of(beam) == [AMINE, ETHANOL] and beam.ranked_by == "none"
    (unknown,) = run(loaded, [spectrum(precursor_mz=None)])
    assert smiles_of(unknown) == [AMINE, ETHANOL] and unknown.ranked_by == "none"


@pytest.mark.parametrize(
    ("formula", "fields", "status", "reason"),
    [
        ("C2H6O", {}, "ok", ""),
        ("C2H6O", {"precursor_mz": None}, "ok", ""),
        ("C2H6O", {"adduct": None}, "assumed_adduct", "assumed"),
        ("C2H6Au", {}, "unknown_element", "has Au; the model writes"),
        ("C9H8O4", {}, "impossible_mass", "180.0423 Da, which as [M+H]+ is not the precursor"),
        ("record", {"formula": "C2H6O"}, "ok", ""),
        ("record", {"formula": "C2(("}, "no_formula", "C2(("),
        ("record", {}, "ok", "no formula is given, the precursor's mass decides"),
        ("record", {"precursor_mz": None}, "no_mass_filter", "no formula is given; precursor m/z is missing"),
    ],
)
def test_a_formula_restricts_instead_of_the_mass(
    loaded: Loaded, scripted: Any, formula: str, fields: dict[str, Any], status: str, reason: str
) -> None:
    scripted(AMINE, ETHER, ETHANOL)
    (answer,) = run(loaded, [spectrum(**fields)], formula=formula)
    assert answer.status == status and reason in answer.reason
    all_masses = {"no_mass_filter": [AMINE, ETHER, ETHANOL]}
    expected = all_masses.get(status, [ETHER, ETHANOL] if status in ("ok", "assumed_adduct") else [])
    assert smiles_of(answer) == expected


def test_a_reranker_decides_where_it_is_not_ruled_out(loaded: Loaded, scripted: Any) -> None:
    class Backwards:
        name = "learned"

        def __call__(self, spectra: Any, queries: Any, found: Any) -> Any:
            return [list(reversed(molecules)) for molecules in found]

    scripted(ETHANOL, ETHER)
    for choice, expected in (
        ("auto", [ETHER, ETHANOL]),
        ("learned", [ETHER, ETHANOL]),
        ("none", [ETHANOL, ETHER]),
    ):
        (answer,) = run(loaded, [spectrum()], rerank=choice, reranker=Backwards())
        assert smiles_of(answer) == expected
    with pytest.raises(ValueError, match="needs a retrieval model"):
        run(loaded, [spectrum()], rerank="learned")


@pytest.mark.parametrize("strategy", ["beam", "sample", "diverse"])
def test_the_model_gives_the_same_molecules_in_any_batch(loaded: Loaded, strategy: Any) -> None:
    spectra = [spectrum(index) for index in range(5)]
    options = {**OPEN, "strategy": strategy, "temperature": 0.9, "top_p": 0.95, "seed": 3}
    alone = run(loaded, spectra, batch_size=1, **options)
    together = run(loaded, spectra, batch_size=4, block=5, **options)
    later = run(loaded, spectra[2:], batch_size=4, **options)
    assert any(smiles_of(answer) for answer in alone)
    assert [smiles_of(answer) for answer in together] == [smiles_of(answer) for answer in alone]
    assert [smiles_of(answer) for answer in later] == [smiles_of(answer) for answer in alone[2:]]
    assert all(molecule.source == strategy for answer in alone for molecule in answer.molecules)


def test_another_seed_draws_other_molecules(loaded: Loaded) -> None:
    options = {**OPEN, "strategy": "sample", "n": 8, "beams": 8}
    one, two = (run(loaded, [spectrum()], seed=seed, **options)[0] for seed in (0, 1))
    assert smiles_of(one) != smiles_of(two)


def test_further_conditions_reach_the_model(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    real = loaded.model.get_context

    def watched(**inputs: Any) -> Any:
        seen.update(inputs)
        return real(**{name: values for name, values in inputs.items() if name != "properties"})

    monkeypatch.setattr(loaded.model, "get_context", watched)
    with pytest.raises(ValueError, match="not trained to be told properties"):
        run(loaded, [spectrum()], properties=lambda spectra: {}, **OPEN)
    monkeypatch.setattr(loaded.model.config, "property_size", 3)
    run(
        loaded,
        [spectrum(collision_energy=20.0), spectrum(1, adduct=None, precursor_mz=None)],
        properties=lambda spectra: {"properties": torch.zeros(len(spectra), 3)},
        **OPEN,
    )
    assert seen["properties"].shape == (2, 3)
    mass, energy = seen["neutral_mass"].tolist(), seen["collision_energy"].tolist()
    told = mass.index(min(mass, key=lambda value: (math.isnan(value), value)))
    assert mass[told] == pytest.approx(46.04186, abs=1e-3) and math.isnan(mass[1 - told])
    assert energy[told] == 20.0 and seen["adduct_ids"].tolist()[1 - told] == 0


def test_a_model_that_starts_from_the_precursor_gets_the_highest_peak_instead(loaded: Loaded) -> None:
    (answer,) = run(loaded, [spectrum(precursor_mz=None)], n=4, beams=4)
    assert answer.status == "no_mass_filter" and answer.n_generated and answer.precursor_mz is None
    assert "shown the highest peak, m/z 31.0178" in answer.reason


def test_nothing_in_nothing_out(loaded: Loaded) -> None:
    assert run(loaded, []) == []


def test_rows_have_the_same_columns_with_and_without_molecules(loaded: Loaded, scripted: Any) -> None:
    scripted(ETHANOL, ETHER)
    good, bad = run(loaded, [spectrum(), spectrum(1, precursor_mz=5.0)])
    assert [row["rank"] for row in good.rows()] == [1, 2] and [row["rank"] for row in bad.rows()] == [None]
    assert list(good.rows()[0]) == list(bad.rows()[0])
    assert bad.rows()[0]["status"] == "impossible_mass" and bad.rows()[0]["reason"]


def test_more_symbols_than_the_model_can_write_are_refused(loaded: Loaded) -> None:
    with pytest.raises(ValueError, match="writes at most 46 symbols"):
        run(loaded, [], max_length=47)


def test_options_are_refused_before_the_first_answer_is_asked_for(loaded: Loaded) -> None:
    parts = (loaded.model, loaded.processor, loaded.tokenizer, GenerateOptions(max_length=47))
    with pytest.raises(ValueError, match="writes at most 46 symbols"):
        generate([spectrum()], *parts)
