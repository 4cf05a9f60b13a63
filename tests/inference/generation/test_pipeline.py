"""The pipeline "molecule-generation": one answer per spectrum, whatever form it comes in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import pipeline

import msformers
from msformers.spectra.spectrum import Problem, Spectrum

DEMO = Path(msformers.__file__).parent / "demo" / "demo.mgf"
CAFFEINE = {
    "mz": [42.03383, 110.07127, 138.06619, 195.08765],
    "intensity": [6.0, 22.0, 100.0, 45.0],
    "precursor_mz": 195.08765,
    "adduct": "[M+H]+",
}


def other(index: int, peaks: int) -> Spectrum:
    mz = np.linspace(50.0, 150.0 + index, peaks)
    return Spectrum(
        mz, np.linspace(0.1, 1.0, peaks, dtype=np.float32), 181.0707, adduct="[M+H]+", index=index
    )


def iter_of(items: list[Any]) -> Iterator[Any]:
    yield from items


@pytest.fixture(scope="module")
def write(tiny_denovo: Path) -> Any:
    small = {"n": 3, "beams": 12, "strategy": "sample", "max_length": 20, "mass_filter": False}
    return pipeline("molecule-generation", model=str(tiny_denovo), device="cpu", **small)


def test_molecules_are_generated_from_one_spectrum_in_any_form(write: Any) -> None:
    rows = write(CAFFEINE)
    assert [row["rank"] for row in rows] == [1, 2, 3] and rows[0]["status"] == "ok"
    assert rows[0]["smiles"] and rows[0]["selfies"].startswith("[") and rows[0]["source"] == "sample"
    dataset = msformers.load_spectra(DEMO)
    assert write(dataset[0])[0]["native_id"] == "demo_01_caffeine" and len(write(dataset[:3])) == 3
    assert len(write(str(DEMO), n=1, beams=1)) == 27


def test_generated_in_batches_lists_and_generators_alike(write: Any) -> None:
    spectra = [other(i, peaks) for i, peaks in enumerate([3, 9, 1, 12, 5])]
    one = [[row["smiles"] for row in write(spectrum)] for spectrum in spectra]
    for together in (write(spectra), write(spectra, batch_size=3), list(write(iter_of(spectra)))):
        assert [[row["smiles"] for row in rows] for rows in together] == one
    assert write([]) == []


def test_a_spectrum_without_molecules_says_why_among_good_ones(write: Any) -> None:
    bad = Problem(1, 12, "b", "PEPMASS", "x", "is not a number")
    lost = {**CAFFEINE, "precursor_mz": None}
    answers = write([CAFFEINE, bad, lost, {"mz": [1.0]}], batch_size=2, mass_filter=True)
    assert [rows[0]["status"] for rows in answers][1:] == ["unreadable", "no_mass_filter", "unreadable"]
    assert answers[1][0]["rank"] is None and "is not a number" in answers[1][0]["reason"]


def test_options_of_generation_at_the_call(write: Any) -> None:
    assert len(write(CAFFEINE, n=1)) == 1
    with pytest.raises(TypeError, match="no parameter speed"):
        write(CAFFEINE, speed=9)
    with pytest.raises(ValueError, match="n 50 is above the beams"):
        write(CAFFEINE, n=50)


def test_the_default_model_is_that_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    rerankers: list[str | None] = []

    def made(task: str, model: str, reranker: Any = "-", **_: Any) -> None:
        asked.append(f"{task} {Path(model).name}")
        rerankers.append(reranker and Path(reranker).name)

    monkeypatch.setattr("transformers.pipeline", made)
    msformers.pipeline("molecule-generation")
    msformers.pipeline("molecule-retrieval")
    assert asked == ["molecule-generation denovo-small", "molecule-retrieval specbridge-small"]
    msformers.pipeline("molecule-generation", rerank="mass")
    msformers.pipeline("molecule-generation", reranker=None)
    assert rerankers == ["specbridge-small", "-", "-", None]


def test_a_reranker_orders_what_the_pipeline_generates(tiny_denovo: Path, tiny_specbridge: Path) -> None:
    made = msformers.pipeline(
        *("molecule-generation", str(tiny_denovo)), device="cpu", reranker=tiny_specbridge, n=3, beams=8,
        strategy="sample", mass_filter=False, max_length=12,
    )  # fmt: skip
    rows = made(CAFFEINE)
    assert {row["ranked_by"] for row in rows} == {"learned"}
    assert made._decoder({"ppm": 300.0}).order.ppm == 300.0
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
