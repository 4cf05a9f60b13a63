from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from msformers.inference.retrieval.evidence import (
    N_MATCH,
    N_PEAK,
    N_WHOLE,
    EvidenceTables,
    FragmentEvidence,
)
from msformers.inference.retrieval.query import Candidate, Ranking
from msformers.inference.retrieval.rerank import rerank
from msformers.spectra.masses import ELECTRON_MASS, formula_mass
from msformers.tokenization.formula_bag import FormulaBagFeatureExtractor
from msformers.tokenization.spectrum import SpectrumFeatureExtractor

ROWS = [["C6NO", 2, 8, 50], ["C2O", 1, 4, 80], ["C6N", 2, 8, 60], ["C7O", 2, 8, 40], ["C", 0, 4, 200]]
PARACETAMOL, UNDECANE = "CC(=O)Nc1ccc(O)cc1", "CCCCCCCCCCC"


def mz(formula: str) -> float:
    return formula_mass(formula) - ELECTRON_MASS


SPECTRUM = {
    "mz": [43.0178, mz("C6H8NO"), 152.0706],  # acetyl, protonated aminophenol, the precursor itself
    "intensity": [25.0, 100.0, 60.0],
    "precursor_mz": 152.0706,
    "adduct": "[M+H]+",
}


def network(hidden: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {
        "peak_1": (hidden, N_MATCH + N_PEAK),
        "peak_1_bias": (hidden,),
        "peak_2": (hidden, hidden),
        "peak_2_bias": (hidden,),
        "peak_3": (2, hidden),
        "peak_3_bias": (2,),
        "whole_1": (hidden, N_WHOLE),
        "whole_1_bias": (hidden,),
        "whole_2": (hidden,),
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


@pytest.fixture
def evidence() -> FragmentEvidence:
    tables = replace(EvidenceTables.start(len(ROWS)), **network())
    return FragmentEvidence(FormulaBagFeatureExtractor(fragments=ROWS), tables)


def test_the_true_molecule_explains_its_peaks(evidence: FragmentEvidence) -> None:
    _, explained = evidence.scores(SPECTRUM, [PARACETAMOL, UNDECANE])
    assert explained[0] == pytest.approx(1.0)  # both fragments; the precursor is none
    assert explained[1] == pytest.approx(0.0)  # has neither an acetyl nor an aminophenol


def test_a_match_is_described(evidence: FragmentEvidence) -> None:
    from msformers.tokenization.spectrum import as_peak_list

    peaks = evidence.peak_formulas(as_peak_list(SPECTRUM))
    assert peaks.context[:, 0] == pytest.approx([0.5, 1.0])
    matches, wholes = evidence.features(peaks, [PARACETAMOL])
    matched, cost, cuts, ordinary = matches[0, 1, [0, 5, 6, 9]]
    assert (matched, cost * 4, cuts * 2, ordinary) == (
        1.0,
        1.0,
        1.0,
        0.0,
    )  # one cut, two hydrogens gained: not one
    assert wholes[0, 13] == 1.0


def test_numpy_and_torch_agree(evidence: FragmentEvidence, monkeypatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "training_scripts"))
    from fit_evidence import Scorer

    from msformers.tokenization.spectrum import as_peak_list

    torch.manual_seed(1)
    scorer = Scorer().eval()
    ours = FragmentEvidence(evidence.extractor, replace(evidence.tables, **scorer.tables()))
    peaks = ours.peak_formulas(as_peak_list(SPECTRUM))
    matches, wholes = ours.features(peaks, [PARACETAMOL, UNDECANE])
    expected = scorer(*(torch.tensor(a, dtype=torch.float32) for a in (matches, peaks.context, wholes)))
    found, _ = ours.scores(SPECTRUM, [PARACETAMOL, UNDECANE])
    assert found == pytest.approx(expected.detach().numpy(), abs=1e-5)


def test_saved_tables_are_the_same(evidence: FragmentEvidence, tmp_path: Path) -> None:
    evidence.tables.save(tmp_path)
    loaded = EvidenceTables.load(tmp_path)
    for item in fields(loaded):
        np.testing.assert_allclose(getattr(loaded, item.name), getattr(evidence.tables, item.name), atol=1e-6)
    again = FragmentEvidence.load(str(tmp_path), evidence.extractor)
    assert again is not None
    assert again.scores(SPECTRUM, [PARACETAMOL])[0] == pytest.approx(
        evidence.scores(SPECTRUM, [PARACETAMOL])[0], rel=1e-5
    )


def test_a_checkpoint_without_evidence_has_none(evidence: FragmentEvidence, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert FragmentEvidence.load(str(tmp_path), evidence.extractor) is None
    evidence.tables.save(tmp_path)
    assert FragmentEvidence.load(str(tmp_path), SpectrumFeatureExtractor()) is None
    assert FragmentEvidence.load("", evidence.extractor) is None  # a model that was never saved


@pytest.mark.parametrize(
    "change", [{"mz": [], "intensity": []}, {"precursor_mz": None}, {"adduct": "[M-H]-"}]
)
def test_odd_spectra_have_scores(evidence: FragmentEvidence, change: dict) -> None:
    scores, explained = evidence.scores(SPECTRUM | change, [PARACETAMOL, "C"])
    assert np.isfinite(scores).all() and ((explained >= 0) & (explained <= 1)).all()


def test_an_unreadable_molecule_is_named(evidence: FragmentEvidence) -> None:
    with pytest.raises(ValueError, match="no smiles"):
        evidence.scores(SPECTRUM, ["no smiles"])


def candidate(rank: int, smiles: str, score: float) -> Candidate:
    return Candidate(rank, smiles, "C8H9NO2", "", score, 0.1, 0.0, "[M+H]+", "", 151.06, rank)


def test_rerank_orders_by_the_sum(evidence: FragmentEvidence) -> None:
    smiles = [UNDECANE, PARACETAMOL]
    more, _ = evidence.scores(SPECTRUM, smiles)
    first = Ranking([candidate(1, smiles[0], 0.30), candidate(2, smiles[1], 0.29)], 57)
    ranking = rerank(first, SPECTRUM, 2.0, evidence, 1)
    totals = [0.30 + more[0] / 2.0, 0.29 + more[1] / 2.0]
    best = int(np.argmax(totals))
    assert ranking.n_candidates == 57
    assert [c.smiles for c in ranking.candidates] == [smiles[best]]
    assert ranking.candidates[0].rank == 1
    assert ranking.candidates[0].score == pytest.approx(totals[best], abs=1e-5)
    assert ranking.candidates[0].gap == pytest.approx(abs(totals[0] - totals[1]), abs=1e-5)
    assert ranking.candidates[0].explained == pytest.approx([0.0, 1.0][best])


def test_nothing_to_rerank(evidence: FragmentEvidence) -> None:
    assert rerank(Ranking([], 0), SPECTRUM, 1.0, evidence, 5).candidates == []


def test_unit_resolution_is_left_to_the_embedding(evidence: FragmentEvidence) -> None:
    first = Ranking([candidate(1, UNDECANE, 0.3), candidate(2, PARACETAMOL, 0.2)], 2)
    nominal = SPECTRUM | {"instrument_type": "LC-ESI-QQQ"}
    assert rerank(first, nominal, 1.0, evidence, 1) == Ranking(first.candidates[:1], 2)
