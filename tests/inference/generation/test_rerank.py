from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from msformers import resolve_checkpoint
from msformers.inference.annotate import annotate
from msformers.inference.generation.molecules import GeneratedMolecule
from msformers.inference.generation.rerank import (
    BeamOrder,
    LearnedOrder,
    MassOrder,
    fit_weight,
    lsm1_adducts,
    reranker,
)
from msformers.inference.loading import Loaded, load_retrieval
from msformers.inference.options import SearchOptions
from msformers.inference.retrieval.bank import open_bank
from msformers.inference.retrieval.precursor import read_precursor
from msformers.inference.retrieval.query import Query, best_adduct
from msformers.spectra.molecules import molecule_record
from msformers.spectra.spectrum import Spectrum

ISOMERS = ("CC(=O)Nc1ccc(O)cc1", "COc1ccc(C(N)=O)cc1", "CC(=O)c1ccc(NO)cc1", "NCC(=O)Oc1ccccc1")
SHIFTS = {  # lsm1.md §6: m/z of a singly charged ion, or of two charges together, less the neutral mass
    "[M]+": -0.000549,
    "[M+H]+": 1.007276,
    "[M+Na]+": 22.989221,
    "[M+K]+": 38.963158,
    "[M+NH4]+": 18.033826,
    "[M+2H]2+": 2.014553,
    "[M+H+Na]2+": 23.996497,
    "[M+2Na]2+": 45.978441,
    "[M-H]-": -1.007276,
    "[M+Cl]-": 34.969401,
    "[M+HCOO]-": 44.998203,
    "[M+Br]-": 78.918886,
}


def proposals(smiles: tuple[str, ...], query: Query, beam: tuple[float, ...]) -> list[GeneratedMolecule]:
    found = []
    for rank, (text, score) in enumerate(zip(smiles, beam, strict=True), 1):
        record = molecule_record(text)
        adduct, error = best_adduct(record.exact_mass, query)
        name = adduct.name if adduct else None
        facts = (record.smiles, "", record.formula, record.exact_mass, record.inchikey14)
        found.append(GeneratedMolecule(rank, *facts, name, error, score, score))
    return found


def spectrum(precursor_mz: float | None, adduct: str | None = "[M+H]+", mode: Any = "positive") -> Spectrum:
    peaks = np.array([43.0178, 65.0386, 93.0335, 110.0600, 134.0600])
    intensity = np.array([0.1, 0.2, 0.15, 1.0, 0.1], np.float32)
    return Spectrum(peaks, intensity, precursor_mz, adduct=adduct, ion_mode=mode)


def asked(of: Spectrum, policy: str = "assume") -> Query:
    return Query("mass", read_precursor(of, adducts=policy).ions, None, of.precursor_mz)


def test_the_adducts_are_those_of_the_paper() -> None:
    shifts = {adduct.name: abs(adduct.charge) * adduct.mz(100.0) - 100.0 for adduct in lsm1_adducts()}
    assert shifts == pytest.approx(SHIFTS, abs=2e-6)


def test_beam_order_is_by_beam_score() -> None:
    of = spectrum(152.0706)
    found = proposals(ISOMERS, asked(of), (-0.4, -0.1, -0.9, -0.2))
    (ranked,) = BeamOrder()([of], [asked(of)], [found])
    assert [m.beam_score for m in ranked] == [-0.1, -0.2, -0.4, -0.9]
    assert [m.rank for m in ranked] == [1, 2, 3, 4]


def test_mass_order_is_by_the_nearest_mass_and_ties_by_beam_score() -> None:
    of = spectrum(152.0706)
    smiles = ("CC(=O)Nc1ccc(O)cc1", "CCO", "CC(=O)c1ccc(NO)cc1", "CNC(=O)Nc1ccc(O)cc1")
    found = proposals(smiles, asked(of), (-0.9, -0.1, -0.2, -0.3))
    (ranked,) = MassOrder()([of], [asked(of)], [found])
    assert [m.smiles for m in ranked] == [molecule_record(smiles[i]).smiles for i in (2, 0, 3, 1)]
    assert ranked[0].score == pytest.approx(-abs(151.0633 - (152.0706 - 1.007276)), abs=1e-4)
    assert ranked[3].score == pytest.approx(46.0419 - 151.0633, abs=1e-3)


def test_the_restriction_decides_which_adducts_count() -> None:
    mass = molecule_record("CCO").exact_mass
    of = spectrum(mass + SHIFTS["[M+Na]+"])  # says [M+H]+
    found = proposals(("CCO",), asked(of), (-0.5,))
    near = {
        restrict: MassOrder(restrict)([of], [asked(of)], [[replace(found[0])]])[0][0]
        for restrict in ("adduct", "polarity", "none")
    }
    assert near["adduct"].score == pytest.approx(-(22.989221 - 1.007276), abs=1e-4)
    assert near["adduct"].adduct == "[M+H]+"
    for restrict in ("polarity", "none"):
        assert near[restrict].score == pytest.approx(0, abs=1e-5)
        assert (near[restrict].adduct, near[restrict].mass_error_ppm) == (
            "[M+Na]+",
            pytest.approx(0, abs=0.1),
        )
    of = spectrum(mass + SHIFTS["[M+Na]+"], adduct=None, mode="negative")
    (negative,) = MassOrder("polarity")([of], [asked(of)], [[replace(found[0])]])[0]
    assert negative.adduct == "[M+Cl]-"  # 12 Da off, all others more
    with pytest.raises(ValueError, match="'mode' is none of adduct, polarity, none"):
        MassOrder("mode")  # type: ignore[arg-type]


def test_without_a_precursor_the_mass_order_is_the_beams() -> None:
    of = spectrum(None)
    found = proposals(ISOMERS[:2], asked(of), (-0.4, -0.1))
    (ranked,) = MassOrder()([of], [asked(of)], [found])
    assert [m.score for m in ranked] == [-0.1, -0.4]


@pytest.fixture(scope="module")
def nexamass() -> Loaded:
    return load_retrieval(resolve_checkpoint("nexamass-small"), "cpu")


def test_learned_scores_are_those_of_a_search_among_the_same_molecules(nexamass: Loaded) -> None:
    spectra = [spectrum(152.0706), replace(spectrum(152.07), instrument_type="LC-ESI-QQQ")]
    spectra[1].mz, spectra[1].intensity = np.array([65.0, 93.0, 110.0]), np.ones(3, np.float32)
    smiles = [molecule_record(text).smiles for text in (*ISOMERS, "CCO", "CCCCCCCCCCC")]
    bank = open_bank(smiles, nexamass.model, nexamass.tokenizer, progress=False)
    options = SearchOptions(search="open", top_k=len(smiles))
    answers = annotate(spectra, nexamass.model, nexamass.processor, bank, options, evidence=nexamass.evidence)
    queries = [asked(of) for of in spectra]
    found = [proposals(tuple(smiles), query, tuple(np.linspace(-1, 0, 6))) for query in queries]
    ranked = LearnedOrder(nexamass, ppm=None)(spectra, queries, found)
    for answer, molecules in zip(answers, ranked, strict=True):
        assert [c.smiles for c in answer.candidates] == [m.smiles for m in molecules]
        assert [c.score for c in answer.candidates] == pytest.approx([m.score for m in molecules], abs=1e-5)
        assert [c.rank for c in answer.candidates] == [m.rank for m in molecules]
    assert ranked[0][0].smiles == molecule_record("CC(=O)Nc1ccc(O)cc1").smiles


def test_molecules_of_another_mass_stay_behind(nexamass: Loaded) -> None:
    of = spectrum(152.0706)
    found = proposals(("CC(=O)Nc1ccc(OC)cc1", *ISOMERS[1:]), asked(of), (-0.1, -0.2, -0.3, -0.4))
    (ranked,) = LearnedOrder(nexamass)([of], [asked(of)], [found])
    assert ranked[3].smiles == molecule_record("CC(=O)Nc1ccc(OC)cc1").smiles
    assert all(a.score >= b.score for a, b in pairwise(ranked[:3]))


class FixedOrder(LearnedOrder):
    """Model scores that a test states."""

    def __init__(self, scores: list[Any], **options: Any) -> None:
        super().__init__(Loaded(None, None, None), **options)
        self.fixed = scores

    def model_scores(self, spectra: Any, smiles: Any) -> list[Any]:
        return self.fixed


def test_weight_adds_the_beam_score_and_an_unreadable_spectrum_keeps_the_beams_order() -> None:
    of = spectrum(152.0706)
    beam = (-0.1, -0.5, -0.3, -math.inf)
    learned = np.array([0.2, 0.5, 0.25, 0.1])
    first = {}
    for weight in (0.0, 2.0):
        found = [proposals(ISOMERS, asked(of), beam) for _ in range(2)]
        order = FixedOrder([learned, None], weight=weight)
        scored, unread = order([of, of], [asked(of)] * 2, found)
        first[weight] = scored[0].smiles
        assert scored[0].score == pytest.approx(max(learned[:3] + weight * np.array(beam[:3])))
        assert [m.beam_score for m in unread] == sorted(beam, reverse=True)
    assert first[0.0] == molecule_record(ISOMERS[1]).smiles
    assert first[2.0] == molecule_record(ISOMERS[0]).smiles


def test_the_weight_is_the_one_whose_first_molecules_are_most_like_the_truth() -> None:
    learned = [np.array([0.0, 1.0, 0.2]), np.array([0.0, 1.0]), np.empty(0)]
    beam = [np.array([0.0, -4.0, -0.1]), np.array([0.0, -1.0]), np.empty(0)]
    similarity = [np.array([0.9, 0.1, 0.3]), np.array([0.2, 0.8]), np.empty(0)]
    assert fit_weight(learned, beam, similarity) == pytest.approx(0.3)  # above 0.25, below 1
    assert fit_weight(learned, beam, [np.ones(3), np.ones(2), np.empty(0)]) == 0.0
    with pytest.raises(ValueError, match="0 spectra with molecules"):
        fit_weight(learned[2:], beam[2:], similarity[2:])


def test_names_choose_the_order() -> None:
    loaded = Loaded(None, None, None)
    chosen = [reranker(name).name for name in ("none", "mass", "auto")] + [reranker("auto", loaded).name]
    assert chosen == ["none", "mass", "mass", "learned"]
    with pytest.raises(ValueError, match="needs a retrieval model"):
        reranker("learned")
    with pytest.raises(ValueError, match="'best' is none of"):
        reranker("best")
