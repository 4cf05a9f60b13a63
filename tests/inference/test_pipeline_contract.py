"""What every task holds to, whatever the spectra come in: as many answers as records, in order, each with its status."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from transformers import pipeline

import msformers
from msformers.inference.pipeline_base import READ_AHEAD
from msformers.spectra.read import read
from msformers.spectra.spectrum import Problem, Spectrum
from msformers.tokenization.casanovo import CasanovoFeatureExtractor
from msformers.tokenization.lsm1 import Lsm1FeatureExtractor
from msformers.tokenization.nexamass import NexaMassFeatureExtractor

TASKS = {
    "spectrum-embedding": ("tiny_specbridge", {}),
    "molecule-retrieval": ("tiny_specbridge", {"candidates": ["CCO", "OCCO", "CC(=O)O"], "search": "open"}),
    "molecule-generation": ("tiny_denovo", {"beams": 3, "n": 3, "max_length": 8, "mass_filter": False}),
    "molecular-property-prediction": ("tiny_lsm1", {}),
    "molecular-fingerprint": ("tiny_nexamass", {}),
    "spectrum-classification": ("tiny_classifier", {}),
    "peptide-sequencing": ("tiny_casanovo", {"beams": 3}),
}
# the method that runs the network, where it is not `forward`
RUNS = {
    "spectrum-embedding": "get_spectrum_features",
    "molecule-retrieval": "get_spectrum_features",
    "molecule-generation": "get_context",
    "peptide-sequencing": "generate",
}
# records 1 and 3 are no spectra
SIZES, READABLE, NAMES = (44, 0, 23, 0, 31), (0, 2, 4), [f"record {i}" for i in range(5)]


def save(folder: Path, name: str, head: str, extractor: Any, **overrides: Any) -> Path:
    """A checkpoint folder of a tiny model with random weights."""
    entry = msformers.MODELS[name]
    torch.manual_seed(0)
    model = entry.heads[head](entry.tiny_config(**overrides))
    if hasattr(model, "fit_property_scale"):
        model.fit_property_scale(np.outer([0.0, 50.0], np.ones(3)), ["MolWt", "TPSA", "NOCount"])
    for part in (model, extractor):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_lsm1(tmp_path_factory: Any) -> Path:
    folder, head = tmp_path_factory.mktemp("lsm1"), "AutoModelForMolecularPropertyPrediction"
    return save(folder, "lsm1", head, Lsm1FeatureExtractor(12), num_properties=3)


@pytest.fixture(scope="session")
def tiny_nexamass(tmp_path_factory: Any) -> Path:
    folder, head = tmp_path_factory.mktemp("nexamass"), "AutoModelForMolecularFingerprint"
    return save(folder, "nexamass", head, NexaMassFeatureExtractor(60))


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: Any) -> Path:
    folder, head = tmp_path_factory.mktemp("classifier"), "AutoModelForSpectrumClassification"
    tasks = ["phospho", "glyco"]
    return save(folder, "casanovo", head, CasanovoFeatureExtractor(), classification_tasks=tasks)


@pytest.fixture(scope="session")
def of_task(request: Any) -> Callable[..., Any]:
    """The pipeline of a task, made once."""
    made: dict[str, Any] = {}

    def make(task: str, **options: Any) -> Any:
        fixture, given = TASKS[task]
        if options or task not in made:
            folder = request.getfixturevalue(fixture)
            found = pipeline(task, model=str(folder), device="cpu", **given, **options)
            if options:
                return found
            made[task] = found
        return made[task]

    return make


def mapping(number: int) -> dict[str, Any]:
    """Record `number`; a spectrum that every model reads, or none: without intensities, or without peaks."""
    size = SIZES[number]
    about = {"native_id": NAMES[number], "precursor_mz": 420.0 + number, "charge": 1, "adduct": "[M+H]+"}
    if not size:
        return {"mz": [100.0] if number == 1 else [], "intensity": [], **about}
    rng = np.random.default_rng(number)
    mz = np.round(np.linspace(101.0, 401.0, size) + rng.uniform(0.0, 1.0, size), 4)
    return {"mz": mz.tolist(), "intensity": [1.0, *np.round(rng.uniform(0.2, 1.0, size - 1), 3)], **about}


def spectrum(number: int) -> Spectrum | Problem:
    if number == 1:
        return Problem(1, None, NAMES[1], "PEPMASS", "x", "is not a number")
    given = mapping(number)
    arrays = np.array(given.pop("mz"), float), np.array(given.pop("intensity"), np.float32)
    return Spectrum(*arrays, **given, ion_mode="positive", index=number)


def matchms_spectrum(number: int) -> Any:
    if number == 1:
        return mapping(1)
    given = mapping(number)
    arrays = np.array(given.pop("mz"), float), np.array(given.pop("intensity"), float)
    given["spectrum_id"] = given.pop("native_id")
    return pytest.importorskip("matchms").Spectrum(*arrays, metadata=given)


def mgf(folder: Path) -> str:
    blocks = []
    for number in range(5):
        one = mapping(number)
        peaks = "".join(f"{mz} {height}\n" for mz, height in zip(one["mz"], one["intensity"], strict=False))
        mass = "x" if number == 1 else one["precursor_mz"]
        head = f"TITLE={NAMES[number]}\nPEPMASS={mass}\nCHARGE=1+\nADDUCT=[M+H]+\n"
        blocks.append(f"BEGIN IONS\n{head}{peaks or '100 1' * (number == 1)}\nEND IONS\n")
    (folder / "five.mgf").write_text("".join(blocks))
    return str(folder / "five.mgf")


def several(kind: str, folder: Path) -> Any:
    """The five records as `kind`."""
    mappings = [mapping(number) for number in range(5)]
    table = datasets.Dataset.from_list(mappings)
    makers: dict[str, Callable[[], Any]] = {
        "list of dicts": lambda: mappings,
        "Spectrum": lambda: [spectrum(number) for number in range(5)],
        "matchms": lambda: [matchms_spectrum(number) for number in range(5)],
        "Dataset": lambda: table,
        "slice": lambda: table[:],
        "streaming": table.to_iterable_dataset,
        "file": lambda: mgf(folder),
    }
    return makers[kind]()


def rows(answer: Any) -> list[dict[str, Any]]:
    """The mappings of one answer; a task that ranks gives several, others one."""
    return answer if isinstance(answer, list) else [answer]


def same(one: Any, other: Any) -> bool:
    """Whether two answers say the same, to rounding; where the record stood does not count."""
    if isinstance(one, dict):
        kept = set(one) - {"index"}
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in kept)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == pytest.approx(other, abs=1e-4, rel=1e-4)
    return bool(one == other)


@pytest.mark.parametrize(
    "kind", ["list of dicts", "Spectrum", "matchms", "Dataset", "slice", "streaming", "file"]
)
@pytest.mark.parametrize("task", TASKS)
def test_every_record_is_answered(task: str, kind: str, of_task: Any, tmp_path: Path) -> None:
    run = of_task(task)
    answers = run(several(kind, tmp_path), batch_size=2)
    assert isinstance(answers, Iterator) if kind == "streaming" else isinstance(answers, list)
    answers = list(answers)
    assert [rows(answer)[0]["index"] for answer in answers] == [0, 1, 2, 3, 4]
    assert [rows(answer)[0]["native_id"] for answer in answers] == NAMES
    for number, answer in enumerate(answers):
        status, reason = (rows(answer)[0][name] for name in ("status", "reason"))
        assert isinstance(status, str) and isinstance(reason, str)
        assert (status == "ok") == (number in READABLE) and (reason or status == "ok")
    for number in READABLE:
        assert same(run(mapping(number)), answers[number])


@pytest.mark.parametrize("task", TASKS)
def test_a_single_record_gives_a_single_answer(task: str, of_task: Any) -> None:
    run = of_task(task)
    for make in (mapping, spectrum, matchms_spectrum):
        [alone] = run([make(2)])
        assert same(run(make(2)), alone) and rows(alone)[0]["status"] == "ok"
    assert rows(run(mapping(1)))[0]["status"] == "unreadable"
    assert run([]) == [] and list(run(iter([]))) == []


@pytest.mark.parametrize("task", TASKS)
def test_ugly_files_are_answered_too(task: str, of_task: Any) -> None:
    files = Path(__file__).resolve().parents[1] / "ugly" / "files"
    records = list(read(sorted(files.glob("*.mgf"))))
    answers = of_task(task)(records, batch_size=16)
    found = [rows(answer)[0] for answer in answers]
    assert [row["native_id"] for row in found] == [record.native_id for record in records]
    bad = [row for row, record in zip(found, records, strict=True) if isinstance(record, Problem)]
    assert len(bad) > 10 and all(row["status"] == "unreadable" and row["reason"] for row in bad)


ODD: tuple[Any, ...] = (
    *(None, 3, "text", b"x", {}, {"mz": "abc", "intensity": [1.0]}, {"mz": {}, "intensity": {}}),
    *(
        {**mapping(2), "precursor_mz": value}
        for value in (None, float("nan"), float("inf"), -5.0, 1e9, "x", [1])
    ),
    *({**mapping(2), "charge": value} for value in (None, 0, 99, -1, 1.5, "x", float("inf"))),
    *({**mapping(2), "adduct": value} for value in (None, "", "nonsense", "[M-H]-", 5)),
    {**mapping(2), "ms_level": 1},
    {"mz": [50.0 + i for i in range(5000)], "intensity": [1.0] * 5000, "precursor_mz": 9000.0, "charge": 1},
)


@pytest.mark.parametrize("task", TASKS)
def test_odd_records_raise_nothing(task: str, of_task: Any) -> None:
    answers = of_task(task)([mapping(0), *ODD, mapping(0)], batch_size=8)
    found = [rows(answer)[0] for answer in answers]
    assert [row["index"] for row in found] == list(range(len(ODD) + 2))
    assert [row["status"] for row in found[1:7]] == ["unreadable"] * 6
    assert same(answers[0], answers[-1]) and found[0]["status"] == "ok"


@pytest.mark.parametrize("task", TASKS)
def test_device_dtype_and_batch_size_as_in_transformers(task: str, of_task: Any) -> None:
    run = of_task(task, dtype=torch.bfloat16, batch_size=2)
    assert run.model.dtype == torch.bfloat16 and run.device == torch.device("cpu")
    answers = run([mapping(number) for number in READABLE])
    assert [rows(answer)[0]["status"] for answer in answers] == ["ok"] * 3
    with pytest.raises(TypeError, match=f"{task} has no parameter speed"):
        run(mapping(0), speed=3)


@pytest.mark.parametrize("task", TASKS)
def test_a_model_that_fails_on_one_record_costs_only_that(
    task: str, of_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = of_task(task)
    readable = [mapping(number) for number in READABLE]
    expected = run(readable)
    bad = {**mapping(2), "mz": [value + 0.25 for value in mapping(2)["mz"]], "native_id": "marked"}
    marker = run.feature_extractor([bad])["peaks"][0, 5, 0]
    name = RUNS.get(task, "forward")
    original = getattr(run.model, name)

    def fails(*args: Any, **inputs: Any) -> Any:
        if (inputs["peaks"][..., 0] == marker).any():
            raise RuntimeError("too large for this machine")
        return original(*args, **inputs)

    monkeypatch.setattr(run.model, name, fails)
    answers = run([readable[0], bad, *readable[1:]], batch_size=4)
    failed = rows(answers.pop(1))[0]
    assert (failed["native_id"], failed["status"]) == ("marked", "failed")
    assert "too large for this machine" in failed["reason"]
    assert all(map(same, answers, expected))


def test_batches_are_of_similar_length(of_task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = of_task("molecular-fingerprint")
    seen, original = [], run.model.forward

    def spy(**inputs: Any) -> Any:
        seen.append(inputs["attention_mask"].sum(1).tolist())
        return original(**inputs)

    monkeypatch.setattr(run.model, "forward", spy)
    run([mapping(number) for number in (0, 2, 0, 2, 4, 4)], batch_size=2)
    assert seen == [[23, 23], [31, 31], [44, 44]]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_stream_is_read_little_ahead(batch_size: int, of_task: Any) -> None:
    taken = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield {**mapping(2), "native_id": str(taken)}

    answers = of_task("molecular-fingerprint")(endless(), batch_size=batch_size)
    first = [next(answers)["native_id"] for _ in range(3)]
    assert first == ["1", "2", "3"] and taken <= READ_AHEAD * batch_size + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_prepare_the_same(of_task: Any) -> None:
    run = of_task("molecular-fingerprint")
    records = [mapping(number) for number in range(5)]
    assert all(map(same, run(records, batch_size=3, num_workers=2), run(records)))
