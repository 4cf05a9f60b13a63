from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import pipeline

import msformers
from msformers.inference.pipelines import MoleculeRetrievalPipeline, register_pipelines
from msformers.inference.retrieval.bank import MoleculeBank
from msformers.spectra.spectrum import Problem, Spectrum

CAFFEINE = {
    "mz": [42.03383, 110.07127, 138.06619, 195.08765],
    "intensity": [6.0, 22.0, 100.0, 45.0],
    "precursor_mz": 195.08765,
    "adduct": "[M+H]+",
}


@pytest.fixture
def retrieve(tiny_specbridge: Path, smi: Path) -> Any:
    return pipeline("molecule-retrieval", model=str(tiny_specbridge), candidates=str(smi), device="cpu")


def other(index: int, peaks: int) -> Spectrum:
    mz = np.linspace(50.0, 150.0 + index, peaks)
    return Spectrum(
        mz, np.linspace(0.1, 1.0, peaks, dtype=np.float32), 181.0707, adduct="[M+H]+", index=index
    )


def test_one_spectrum_in_any_form(retrieve: Any) -> None:
    rows = retrieve(CAFFEINE, top_k=3)
    assert [row["name"] for row in rows] == ["caffeine"]
    assert rows[0]["rank"] == 1 and rows[0]["status"] == "ok" and abs(rows[0]["mass_error_ppm"]) < 0.1
    dataset = msformers.load_spectra(Path(msformers.__file__).parent / "demo" / "demo.mgf")
    assert retrieve(dataset[0])[0]["name"] == "caffeine"
    assert len(retrieve(dataset)) == len(dataset) and len(retrieve(dataset[:3])) == 3


def test_batches_lists_and_generators_agree(retrieve: Any) -> None:
    spectra = [other(i, peaks) for i, peaks in enumerate([3, 9, 1, 12, 5])]
    one = [retrieve(spectrum) for spectrum in spectra]
    for together in (retrieve(spectra), retrieve(spectra, batch_size=3), list(retrieve(iter_of(spectra)))):
        assert [[row["smiles"] for row in rows] for rows in together] == [
            [r["smiles"] for r in rows] for rows in one
        ]
        for rows, expected in zip(together, one, strict=True):
            assert np.allclose([r["score"] for r in rows], [r["score"] for r in expected], atol=1e-5)
    assert all(len(rows) == 2 for rows in one)
    assert retrieve([]) == []


def iter_of(items: list[Any]) -> Any:
    yield from items


def test_a_bad_spectrum_answers_with_its_reason_among_good_ones(retrieve: Any) -> None:
    bad = Problem(1, 12, "b", "PEPMASS", "x", "is not a number")
    nan = Spectrum(np.array([np.nan]), np.ones(1, np.float32), 181.07, adduct="[M+H]+", index=2)
    answers = retrieve([CAFFEINE, bad, nan, {"mz": [1.0]}], batch_size=2)
    assert [rows[0]["status"] for rows in answers] == ["ok", "unreadable", "failed", "unreadable"]
    assert answers[1][0]["rank"] is None and "is not a number" in answers[1][0]["reason"]
    assert "mz[0] is nan" in answers[2][0]["reason"]


def test_a_file_is_answered_record_by_record(retrieve: Any) -> None:
    answers = retrieve(str(Path(msformers.__file__).parent / "demo" / "demo.mgf"))
    assert len(answers) == 27 and answers[0][0]["native_id"] == "demo_01_caffeine"


def test_parameters_at_the_call_and_at_construction(
    retrieve: Any, tiny_specbridge: Path, molecules: dict[str, str]
) -> None:
    assert len(retrieve(CAFFEINE, search="open")) == 8
    assert retrieve(CAFFEINE, candidates=["CCO"])[0]["status"] == "no_candidates"
    with pytest.raises(TypeError, match="no parameter speed"):
        retrieve(CAFFEINE, speed=9)
    with pytest.raises(ValueError, match="no path 'projection'"):
        retrieve(CAFFEINE, decode="projection")
    bare = pipeline("molecule-retrieval", model=str(tiny_specbridge), device="cpu", search="open", top_k=2)
    with pytest.raises(ValueError, match="needs candidates="):
        bare(CAFFEINE)
    assert len(bare(CAFFEINE, candidates=list(molecules.values()))) == 2


def test_a_bank_of_another_model_is_refused(
    retrieve: Any, smi: Path, model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    MoleculeBank.build(smi, model, tokenizer, tmp_path / "bank", progress=False)
    with pytest.raises(ValueError, match=r"bag-0|dimensions"):
        retrieve(CAFFEINE, candidates=tmp_path / "bank")


def test_embeddings(tiny_specbridge: Path) -> None:
    embed = pipeline("spectrum-embedding", model=str(tiny_specbridge), device="cpu")
    one = embed(CAFFEINE)["embedding"]
    assert len(one) == 32 and all(isinstance(value, float) for value in one)
    together = embed([CAFFEINE, {"mz": [], "intensity": []}, CAFFEINE], batch_size=3)
    assert together[1]["embedding"] is None and together[1]["status"] == "no_peaks"
    assert np.allclose(together[0]["embedding"], one, atol=1e-5)
    with pytest.raises(TypeError, match="no parameter pooling"):
        embed(CAFFEINE, pooling="mean")


def test_registration_can_be_repeated() -> None:
    register_pipelines()
    from transformers.pipelines import PIPELINE_REGISTRY

    assert PIPELINE_REGISTRY.check_task("molecule-retrieval")[1]["impl"] is MoleculeRetrievalPipeline
