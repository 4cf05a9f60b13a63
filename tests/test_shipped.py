"""The shipped checkpoint on the bundled demo: it loads, ranks, and is told apart from one that sees no spectrum."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoFeatureExtractor, AutoTokenizer

import msformers
from msformers.checkpoints import resolve_checkpoint
from msformers.inference.loading import load_retrieval
from msformers.inference.retrieval.bank import open_bank
from msformers.spectra.read import read

DEMO = Path(msformers.__file__).parent / "demo"
NAME = "specbridge-small"


@pytest.fixture(scope="module")
def loaded():
    return load_retrieval(resolve_checkpoint(NAME))


def test_it_is_complete_and_small(loaded) -> None:
    folder = Path(resolve_checkpoint(NAME))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 40e6
    assert loaded.evidence is not None
    assert all(torch.isfinite(p).all() for p in loaded.model.parameters())
    assert (
        AutoFeatureExtractor.from_pretrained(folder).vocab_size
        == loaded.model.spectrum_encoder.bag.num_embeddings
    )
    assert AutoTokenizer.from_pretrained(folder).n_bits == loaded.model.config.hidden_size


def test_the_demo_is_mostly_named(loaded) -> None:
    """Among all 555 molecules and without the mass window, the right one is near the top for most demo spectra."""
    from msformers.inference.annotate import SearchOptions, annotate

    bank = open_bank(DEMO / "starter_molecules.csv", loaded.model, loaded.tokenizer, progress=False)
    options = SearchOptions(search="open", top_k=20)
    answers = list(
        annotate(read(DEMO / "demo.mgf"), *loaded_parts(loaded), bank, options, evidence=loaded.evidence)
    )
    assert len(answers) == 27
    found = [
        any(c.name.lower().replace(" ", "_") in answer.native_id.lower() for c in answer.candidates)
        for answer in answers
    ]
    assert sum(found) >= 18  # by chance one of 27: 20 of 555 molecules are listed


def loaded_parts(loaded):
    return loaded.model, loaded.processor


def test_one_spectrum_through_the_pipeline() -> None:
    retrieve = msformers.pipeline(
        "molecule-retrieval", model=NAME, candidates=["CC(=O)Nc1ccc(O)cc1", "COC(=O)c1ccccc1N"]
    )
    spectrum = {
        "mz": [65.0386, 93.0335, 110.06],
        "intensity": [8, 5, 100],
        "precursor_mz": 152.0706,
        "adduct": "[M+H]+",
    }
    best = retrieve(spectrum)[0]
    assert best["smiles"] == "CC(=O)Nc1ccc(O)cc1"
    assert best["explained"] == pytest.approx(1.0)


PHENOL = {
    "mz": [65.039, 92.050, 110.060],
    "intensity": [8, 5, 100],
    "precursor_mz": 152.0706,
    "adduct": "[M+H]+",
}


def test_nexamass_names_most_of_the_demo() -> None:
    """As above, by the other checkpoint; below 30 MB."""
    from msformers.inference.annotate import SearchOptions, annotate

    folder = Path(resolve_checkpoint("nexamass-small"))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 30e6
    loaded = load_retrieval(str(folder))
    assert loaded.evidence is not None
    bank = open_bank(DEMO / "starter_molecules.csv", loaded.model, loaded.tokenizer, progress=False)
    options = SearchOptions(search="open", top_k=20)
    answers = list(
        annotate(read(DEMO / "demo.mgf"), *loaded_parts(loaded), bank, options, evidence=loaded.evidence)
    )
    found = [
        any(c.name.lower().replace(" ", "_") in answer.native_id.lower() for c in answer.candidates)
        for answer in answers
    ]
    assert sum(found) >= 18


def test_predicted_weights_follow_the_precursor_of_the_demo() -> None:
    folder = resolve_checkpoint("lsm1-small")
    model = msformers.AutoModelForMolecularPropertyPrediction.from_pretrained(folder).eval()
    spectra = [item for item in read(DEMO / "demo.mgf") if isinstance(item, msformers.Spectrum)]
    values = model(**AutoFeatureExtractor.from_pretrained(folder)(spectra)).properties.detach()
    assert values.shape == (27, 209)
    weight = values[:, model.config.property_names.index("MolWt")]
    precursor = torch.tensor([spectrum.precursor_mz for spectrum in spectra])
    assert torch.corrcoef(torch.stack([weight, precursor]))[0, 1] > 0.5


def test_lsm1_siblings_load_and_tell_spectra_apart() -> None:
    folder = resolve_checkpoint("lsm1-small-similarity")
    model = msformers.AutoModelForSpectrumSimilarity.from_pretrained(folder).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    weaker = {**PHENOL, "intensity": [12, 7, 100]}
    other = {"mz": [43.018, 85.028, 127.039], "intensity": [40, 70, 100], "precursor_mz": 411.13}
    one, near, far = model(**extractor([PHENOL, weaker, other])).embeddings
    assert one @ near > one @ far
    masked = msformers.AutoModelForSpectrumPreTraining.from_pretrained(
        resolve_checkpoint("lsm1-small-masked")
    )
    assert sum(p.numel() for p in masked.parameters()) == 4_404_664
