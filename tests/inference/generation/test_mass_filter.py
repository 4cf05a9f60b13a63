"""Generation within a mass: real molecules pass, whatever a random model writes has the mass or is a flagged dead end."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LogitsProcessorList

from msformers.inference.generation.formulas import FormulaLimitError, formula_elements
from msformers.inference.generation.mass_filter import DEAD_END_SCORE, MassLogitsProcessor, MassTarget
from msformers.inference.retrieval.precursor import Reading, read_precursor
from msformers.spectra.masses import FormulaError, formula_mass
from msformers.spectra.molecules import molecule_record
from msformers.spectra.spectrum import Spectrum
from msformers.tokenization.selfies import (
    SelfiesError,
    decode_selfies,
    encode_selfies,
    selfies_alphabet,
    selfies_vocabulary,
    split_selfies,
)

MOLECULES = (
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "CC(=O)Oc1ccccc1C(=O)O",
    "CS(=O)(=O)c1ccc(cc1)C(O)C(CO)NC(=O)C(Cl)Cl",
    "CCOP(=S)(OCC)Oc1nc(Cl)c(Cl)cc1Cl",
    "O=[N+]([O-])c1ccc(O)cc1",
    "C1CC2CCC1C2",
    "NCC1OC(OC2C(N)CC(N)C(O)C2O)C(N)C(O)C1O",
    "CC12CCC3C(CCC4=CC(=O)CCC34C)C1CCC2O",
    "O=C(O)C(F)(F)C(F)(F)C(F)(F)F",
    "Ic1ccccc1Br",
    "[C-]#[N+]C1CCCCC1",
    "O=S1(=O)CCC=C1",
    "CC1=C2C(=O)c3c[nH]c4cccc(c34)C2=NO1",
)


@pytest.fixture(scope="module")
def vocabulary() -> dict[str, int]:
    return selfies_vocabulary(selfies_alphabet(map(encode_selfies, MOLECULES)))


def window(mass: float, ppm: float = 10.0) -> tuple[float, float]:
    return mass * (1 - ppm * 1e-6), mass * (1 + ppm * 1e-6)


def target_of(smiles: str, ppm: float = 10.0) -> MassTarget:
    return MassTarget.from_windows([window(molecule_record(smiles).exact_mass, ppm)])


def ids_of(smiles: str, vocabulary: dict[str, int]) -> list[int]:
    return [1, *(vocabulary[token] for token in split_selfies(encode_selfies(smiles))), 2]


def blocked(ids: list[int], processor: MassLogitsProcessor, size: int) -> int | None:
    """The first place at which a sequence is not allowed to go on as it does."""
    for place in range(1, len(ids)):
        scores = processor(torch.tensor([ids[:place]]), torch.zeros(1, size))
        if scores[0, ids[place]] != 0.0:
            return place
    return None


def model(size: int, seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=size, n_positions=128, n_embd=32, n_layer=1, n_head=2, **ends)
    ).eval()


class Usual(MassLogitsProcessor):
    """The filter after a preference for common symbols, as any trained model has one."""

    def __init__(self, vocabulary: dict[str, int], *args: object) -> None:
        super().__init__(vocabulary, *args)  # type: ignore[arg-type]
        common = {
            "[C]": 3.0,
            "[=C]": 3.0,
            "[O]": 2.0,
            "[=O]": 2.0,
            "[N]": 2.0,
            "[Ring1]": 2.0,
            "[Branch1]": 2.0,
        }
        self.usual = torch.tensor(
            [common.get(token, 0.0) for token in sorted(vocabulary, key=vocabulary.__getitem__)]
        )

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().__call__(input_ids, scores + self.usual)  # type: ignore[arg-type]


def generate(processor: MassLogitsProcessor, size: int, **kwargs: object) -> torch.Tensor:
    start = torch.ones(len(processor.targets), 1, dtype=torch.long)
    return model(size).generate(  # type: ignore[no-any-return, operator]
        start,
        attention_mask=torch.ones_like(start),
        max_length=90,
        num_return_sequences=processor.rows_per_spectrum,
        logits_processor=LogitsProcessorList([processor]),
        **kwargs,
    )


def check(found: torch.Tensor, processor: MassLogitsProcessor, vocabulary: dict[str, int]) -> int:
    """Every sequence that the filter calls a match has the mass and is valid; the number of matches."""
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    matches = 0
    for number, row in enumerate(found.tolist()):
        spectrum = number // processor.rows_per_spectrum
        target = processor.targets[spectrum]
        text = "".join(tokens[place] for place in row if place > 4)
        try:
            mass = molecule_record(decode_selfies(text)).exact_mass
        except SelfiesError:
            mass = math.nan
        assert target is not None
        inside = any(low - 1e-6 <= mass <= high + 1e-6 for low, high in target.windows)
        matched = processor.matches(row, spectrum)
        assert inside or not matched, text
        matches += matched
    return matches


@pytest.mark.parametrize("smiles", MOLECULES)
def test_real_molecules_pass_by_mass_and_by_formula(smiles: str, vocabulary: dict[str, int]) -> None:
    ids, size = ids_of(smiles, vocabulary), len(vocabulary)
    formula = MassTarget.from_formula(molecule_record(smiles).formula)
    for target in (target_of(smiles), formula):
        processor = MassLogitsProcessor(vocabulary, [target], 1, len(ids))
        assert blocked(ids, processor, size) is None
        assert processor.matches(ids, 0)
    other = MassLogitsProcessor(vocabulary, [MassTarget.from_windows([window(209.0)])])
    assert not other.matches(ids, 0)


def test_real_molecules_of_the_table_pass(shared: Path) -> None:
    import pyarrow.parquet as pq

    rows = (
        pq.ParquetFile(shared / "data" / "molecules.parquet")
        .read_row_group(0, ["smiles", "formula"])
        .to_pylist()
    )
    texts = []
    for row in random.Random(5).sample(rows, 90):
        if "." not in row["smiles"] and row["formula"][-1] not in "+-" and "+" not in row["formula"]:
            try:
                texts.append(
                    (encode_selfies(row["smiles"], canonicalise=False, verify=False), row["formula"])
                )
            except SelfiesError:
                continue
    vocabulary = selfies_vocabulary(selfies_alphabet(text for text, _ in texts))
    stuck = []
    for text, formula in texts:
        ids = [1, *(vocabulary[token] for token in split_selfies(text)), 2]
        processor = MassLogitsProcessor(vocabulary, [MassTarget.from_formula(formula)])
        if blocked(ids, processor, len(vocabulary)) is not None:
            stuck.append(text)
    assert len(texts) > 60
    assert len(stuck) <= len(texts) * 0.005, stuck


def test_beam_search_of_a_random_model_keeps_the_mass(vocabulary: dict[str, int]) -> None:
    masses = [100.0524, 194.0804, 206.1307, 322.9719, 422.2457, 588.2]
    targets = [MassTarget.from_windows([window(mass)]) for mass in masses]
    processor = Usual(vocabulary, targets, 20, 90)
    found = generate(processor, len(vocabulary), num_beams=20)
    assert check(found, processor, vocabulary) >= 20


def test_sampling_of_a_random_model_keeps_the_mass(vocabulary: dict[str, int]) -> None:
    processor = Usual(vocabulary, [target_of(smiles) for smiles in MOLECULES[:6]], 10, 90)
    torch.manual_seed(1)
    found = generate(processor, len(vocabulary), do_sample=True)
    assert check(found, processor, vocabulary) >= 15


def test_dead_ends_are_ended_with_a_penalty_and_flagged(vocabulary: dict[str, int]) -> None:
    processor = MassLogitsProcessor(vocabulary, [MassTarget.from_formula("C2H6O")], 2)
    rows = [[1, vocabulary["[F]"]], [1, vocabulary["[C]"]]]
    scores = processor(torch.tensor(rows), torch.zeros(2, len(vocabulary)))
    assert scores[0, 2] == DEAD_END_SCORE and torch.isneginf(scores[0]).sum() == len(vocabulary) - 1
    assert scores[1, 2] == -torch.inf and scores[1, vocabulary["[O]"]] == 0.0
    assert torch.isfinite(scores).any(dim=1).all()
    assert not processor.matches([*rows[0], 2], 0)
    assert processor.matches([1, *(vocabulary[token] for token in ("[C]", "[C]", "[O]")), 2], 0)
    assert not processor.matches([1, *(vocabulary[token] for token in ("[C]", "[C]", "[O]"))], 0)


def test_only_the_missing_element_may_follow(vocabulary: dict[str, int]) -> None:
    processor = MassLogitsProcessor(vocabulary, [MassTarget.from_formula("C2H6O")])
    scores = processor(
        torch.tensor([[1, vocabulary["[C]"], vocabulary["[C]"]]]), torch.zeros(1, len(vocabulary))
    )
    allowed = {token for token, place in vocabulary.items() if scores[0, place] == 0.0}
    assert allowed == {"[O]"}  # neither [=O], which makes C2H4O, nor the end, nor a third carbon


def test_rows_may_be_reordered_and_skipped(vocabulary: dict[str, int]) -> None:
    target = target_of(MOLECULES[0])
    ids, rng = ids_of(MOLECULES[0], vocabulary), random.Random(0)
    processor = MassLogitsProcessor(vocabulary, [target], 4)
    for place in range(1, len(ids) - 1):
        rows = [ids[:place]] * 3 + [[*ids[: place - 1], vocabulary["[F]"]] if place > 1 else [1]]
        rng.shuffle(rows)
        fresh = MassLogitsProcessor(vocabulary, [target], 4)
        zero = torch.zeros(4, len(vocabulary))
        assert torch.equal(processor(torch.tensor(rows), zero), fresh(torch.tensor(rows), zero))


def test_special_tokens_and_dots_never_follow(vocabulary: dict[str, int]) -> None:
    processor = MassLogitsProcessor(vocabulary, [target_of(MOLECULES[0]), None], 1)
    scores = processor(torch.tensor([[1], [1]]), torch.zeros(2, len(vocabulary)))
    for place in (0, 1, 3, 4):
        assert torch.isneginf(scores[:, place]).all()
    assert scores[0, vocabulary["."]] == -torch.inf and scores[0, 2] == -torch.inf
    unrestricted = [place for place in range(len(vocabulary)) if place not in (0, 1, 3, 4)]
    assert (scores[1, unrestricted] == 0.0).all()


@pytest.mark.parametrize(
    ("mass", "reason"),
    [
        (13.5, "no formula .* of 13.4999 to 13.5001 Da"),
        (1500.3, "1500.3150 Da, beyond 1200 Da, .* give the formula"),
        (5000.0, "beyond 1200 Da"),
    ],
)
def test_impossible_masses_give_no_molecule_and_a_reason(
    mass: float, reason: str, vocabulary: dict[str, int]
) -> None:
    target = MassTarget.from_windows([window(mass)])
    assert len(target.counts) == 0 and re.search(reason, target.reason)
    processor = MassLogitsProcessor(vocabulary, [target], 3, 90)
    found = generate(processor, len(vocabulary), num_beams=3)
    assert not any(processor.matches(row, 0) for row in found.tolist())


def test_targets_of_a_precursor() -> None:
    peaks = {"mz": np.array([50.0]), "intensity": np.array([1.0])}
    caffeine = formula_mass("C8H10N4O2")
    reading = read_precursor(Spectrum(**peaks, precursor_mz=caffeine + 1.007276, adduct="[M+H]+"))
    target = MassTarget.from_reading(reading)
    assert target is not None
    place = [formula_elements().index(name) for name in "CHNO"]
    assert [8, 10, 4, 2] in target.counts[:, place].tolist() and not target.charges.any()
    choline = read_precursor(Spectrum(**peaks, precursor_mz=104.107, adduct="[M]+"))
    target = MassTarget.from_reading(choline)
    assert target is not None
    rows = dict(zip(map(tuple, target.counts[:, place].tolist()), target.charges.tolist(), strict=True))
    assert rows[5, 14, 1, 1] == 1
    water = MassTarget.from_reading(
        read_precursor(Spectrum(**peaks, precursor_mz=79.0542, adduct="[M-H2O+H]+"))
    )
    assert water is not None and (water.counts[:, formula_elements().index("O")] > 0).all()
    assert MassTarget.from_reading(Reading((), "no_precursor", "")) is None
    known = MassTarget.from_reading(reading, "C2H6O")
    assert known is not None and len(known.counts) == 1


def test_formulas_of_users_are_checked(vocabulary: dict[str, int]) -> None:
    with pytest.raises(FormulaLimitError, match="'Fe' is not among"):
        MassTarget.from_formula("C10H10Fe")
    with pytest.raises(FormulaError, match="'Xx' is not an element"):
        MassTarget.from_formula("C2Xx")
    processor = MassLogitsProcessor({"<s>": 1, "</s>": 2, "[C]": 5}, [MassTarget.from_formula("C2H6O")])
    target = processor.targets[0]
    assert target is not None and target.reason == "the model's vocabulary has no O"


def test_wrong_use_is_named(vocabulary: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="rows_per_spectrum 0"):
        MassLogitsProcessor(vocabulary, [None], 0)
    with pytest.raises(ValueError, match="missing from the vocabulary"):
        MassLogitsProcessor({"[C]": 0}, [None])
    with pytest.raises(ValueError, match="3 rows for 1 targets of 2 rows"):
        MassLogitsProcessor(vocabulary, [None], 2)(
            torch.ones(3, 1, dtype=torch.long), torch.zeros(3, len(vocabulary))
        )
