from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import msformers
from msformers.inference.encode import embed_spectra
from msformers.inference.generation.library import LibraryError, SpectrumLibrary
from msformers.inference.generation.library_condition import LibraryCondition
from msformers.inference.generation.library_records import encoder_of, morgan_bits
from msformers.inference.loading import Loaded
from msformers.spectra.molecules import inchikey_block, molecule_record
from msformers.spectra.spectrum import Problem, Spectrum
from msformers.tokenization.selfies import build_selfies_tokenizer, encode_selfies, selfies_alphabet

SMILES = ("Cn1c(=O)c2c(ncn2C)n(C)c1=O", "CC(=O)Oc1ccccc1C(=O)O", "OCC1OC(O)C(O)C(O)C1O")
NAMES = ("caffeine", "aspirin", "glucose", "alanine", "choline")


def reference(spectrum: Spectrum, smiles: str, more: float | None = None) -> Spectrum:
    """The spectrum with its molecule, and one more peak."""
    spectrum.smiles = smiles
    if more is not None:
        spectrum.mz = np.append(spectrum.mz, more)
        spectrum.intensity = np.append(spectrum.intensity, np.float32(1))
    return spectrum


@pytest.fixture
def references(molecules: dict[str, str], make_spectrum: Any) -> list[Spectrum]:
    """Two spectra of each molecule, one of them with a peak too many."""
    return [
        reference(make_spectrum(molecules[name], native_id=f"{name}-{kind}"), molecules[name], more)
        for kind, more in (("exact", None), ("noisy", 200.0))
        for name in NAMES
    ]


@pytest.fixture
def library(references: list[Spectrum], model: Any, extractor: Any) -> SpectrumLibrary:
    return SpectrumLibrary.build(references, model, extractor, batch_size=3)


def names(library: SpectrumLibrary, indices: Any) -> list[str]:
    return [library.native_id[place] for place in np.ravel(indices)]


def test_the_nearest_molecule_is_found_by_its_nearest_spectrum(
    library: SpectrumLibrary, references: list[Spectrum], model: Any, extractor: Any
) -> None:
    vectors, _ = embed_spectra(references, model, extractor)
    found = library.nearest(vectors)
    assert names(library, found.indices) == [spectrum.native_id for spectrum in references]
    assert found.similarities[:, 0] == pytest.approx(1.0, abs=1e-5)
    assert [row[0] for row in found.smiles] == [molecule_record(s.smiles or "").smiles for s in references]


def test_molecules_are_distinct_and_in_the_order_of_all_cosines(
    library: SpectrumLibrary, references: list[Spectrum], model: Any, extractor: Any
) -> None:
    vectors, _ = embed_spectra(references[:1], model, extractor)
    found = library.nearest(vectors, 9)
    cosine = library.embeddings @ vectors[0] / np.linalg.norm(vectors[0])
    best = {key: cosine[np.array(library.inchikey14) == key].max() for key in library.inchikey14}
    expected = sorted(best.values(), reverse=True)
    assert found.similarities[0, :5] == pytest.approx(expected, abs=1e-5)
    assert np.isnan(found.similarities[0, 5:]).all()
    assert (found.indices[0, 5:] == -1).all()
    assert cosine[found.indices[0, :5]] == pytest.approx(expected, abs=1e-5)
    assert len(set(found.smiles[0])) == len(found.smiles[0]) == 5


def test_blocks_of_queries_give_what_one_alone_gives(
    library: SpectrumLibrary, references: list[Spectrum], model: Any, extractor: Any, monkeypatch: Any
) -> None:
    vectors, _ = embed_spectra(references, model, extractor)
    keys = [inchikey_block(spectrum.smiles or "") for spectrum in references]
    whole = library.nearest(vectors, 2, exclude=keys)
    monkeypatch.setattr("msformers.inference.generation.library.BLOCK_SCORES", 3 * len(library))
    parts = library.nearest(vectors, 2, exclude=keys)
    assert parts.indices.tolist() == whole.indices.tolist()
    assert parts.smiles == whole.smiles


def test_a_spectrum_finds_neither_its_molecule_nor_itself_when_told_so(
    library: SpectrumLibrary, references: list[Spectrum], model: Any, extractor: Any
) -> None:
    vectors, _ = embed_spectra(references, model, extractor)
    keys = [inchikey_block(spectrum.smiles or "") for spectrum in references]
    others = library.nearest(vectors, 10, exclude=keys)
    for key, row in zip(keys, others.indices, strict=True):
        assert key not in [library.inchikey14[place] for place in row if place >= 0]
        assert (row >= 0).sum() == 4
    own = [spectrum.native_id for spectrum in references]
    twins = [f"{name.split('-')[0]}-{'noisy' if name.endswith('exact') else 'exact'}" for name in own]
    found = library.nearest(vectors, 5, exclude_spectrum=own)
    assert not {name for name, row in zip(own, found.indices, strict=True) if name in names(library, row)}
    assert all(twin in names(library, row) for twin, row in zip(twins, found.indices, strict=True))
    assert np.allclose(library.nearest(vectors).similarities, 1, atol=1e-5), "an exclusion must not stay"


def test_saved_and_loaded_it_answers_the_same(
    library: SpectrumLibrary, references: list[Spectrum], model: Any, extractor: Any, tmp_path: Path
) -> None:
    vectors, _ = embed_spectra(references, model, extractor)
    library.save(tmp_path / "library")
    again = SpectrumLibrary.load(tmp_path / "library")
    assert again.nearest(vectors, 3).smiles == library.nearest(vectors, 3).smiles
    assert again.nearest(vectors, 3).similarities == pytest.approx(
        library.nearest(vectors, 3).similarities, abs=1e-3, nan_ok=True
    )
    again.check_model(model)
    assert {path.suffix for path in (tmp_path / "library").iterdir()} == {".json", ".safetensors", ".parquet"}


def test_records_that_cannot_be_references_are_named(
    references: list[Spectrum], model: Any, extractor: Any, make_spectrum: Any
) -> None:
    records = [
        *references[:2],
        make_spectrum("CCO", index=2, native_id="nameless"),
        reference(make_spectrum("CCO", index=3, native_id="broken"), "C(C"),
        Problem(4, 7, "unread", "PEPMASS", "x", "is not a number"),
        Spectrum(np.empty(0), np.empty(0, np.float32), smiles="CCO", index=5, native_id="empty"),
    ]
    library = SpectrumLibrary.build(iter(records), model, extractor)
    assert len(library) == 2
    assert [problem.native_id for problem in library.problems] == ["nameless", "broken", "unread", "empty"]
    assert all(problem.reason for problem in library.problems)
    with pytest.raises(LibraryError, match=r"none of 1 spectra can be in a library.*nameless"):
        SpectrumLibrary.build(records[2:3], model, extractor)


def test_the_encoder_of_a_generating_model_is_what_embeds(
    references: list[Spectrum], model: Any, extractor: Any, bag_model: Any
) -> None:
    generator = SimpleNamespace(encoder=model, get_context=None)
    library = SpectrumLibrary.build(references, generator, extractor)
    assert encoder_of(model) is model
    library.check_model(model)
    with pytest.raises(LibraryError, match="build the library with this model"):
        library.check_model(bag_model(seed=1))


def test_wrong_questions_and_wrong_folders_are_named(library: SpectrumLibrary, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="3 dimensions, the library 16"):
        library.nearest(np.ones((1, 3)))
    with pytest.raises(LibraryError, match="2 spectra, 1 and 2 exclusions"):
        library.nearest(np.ones((2, 16)), exclude=["A"])
    with pytest.raises(LibraryError, match="k 0"):
        library.nearest(np.ones((2, 16)), 0)
    with pytest.raises(LibraryError, match=r"is no spectrum library"):
        SpectrumLibrary.load(tmp_path)
    library.save(tmp_path)
    manifest = json.loads((tmp_path / "library.json").read_text())
    (tmp_path / "library.json").write_text(json.dumps({**manifest, "format_version": 9}))
    with pytest.raises(LibraryError, match="9, this msformers reads"):
        SpectrumLibrary.load(tmp_path)


@pytest.fixture
def bert() -> tuple[Any, Any]:
    """A tiny SELFIES BERT with random weights that knows the symbols of the references."""
    tokenizer = build_selfies_tokenizer(selfies_alphabet([encode_selfies(text) for text in SMILES]))
    entry = msformers.MODELS["selfies-bert"]
    torch.manual_seed(0)
    return entry.model_class(entry.tiny_config(vocab_size=len(tokenizer))).eval(), tokenizer


def test_the_match_is_told_as_the_vectors_of_its_molecule(
    library: SpectrumLibrary, references: list[Spectrum], model: Any, extractor: Any, bert: tuple[Any, Any]
) -> None:
    condition = LibraryCondition(library, Loaded(model, extractor, bert[1]), bert[0])
    told = condition(references[:3])
    assert told["library_similarity"].tolist() == pytest.approx([1.0, 1.0, 1.0], abs=1e-5)
    for row, spectrum in enumerate(references[:3]):
        ids = bert[1](encode_selfies(spectrum.smiles or ""), return_tensors="pt")["input_ids"]
        with torch.no_grad():
            vectors, _ = bert[0].context(ids)
        real = told["library_mask"][row]
        assert torch.allclose(told["library_embeds"][row][real], vectors[0], atol=1e-5)
    others = condition(references[:1], exclude=[inchikey_block(references[0].smiles or "")])
    assert others["library_similarity"][0] < 0.999
    assert told["library_embeds"].shape[2] == bert[0].config.hidden_size


def test_without_a_match_nothing_is_told(
    references: list[Spectrum], model: Any, extractor: Any, bert: tuple[Any, Any]
) -> None:
    alone = SpectrumLibrary.build(references[:1], model, extractor)
    condition = LibraryCondition(alone, Loaded(model, extractor, bert[1]), bert[0])
    key = inchikey_block(references[0].smiles or "")
    told = condition(references[:2], exclude=[key, None])
    assert told["library_mask"].any(1).tolist() == [False, True]
    assert torch.isnan(told["library_similarity"]).tolist() == [True, False]
    nothing = condition(references[:2], exclude=[key, key])
    assert nothing["library_embeds"].shape == (2, 1, bert[0].config.hidden_size)
    assert not nothing["library_mask"].any()


class FingerprintModel:
    """A spectrum-to-molecule model whose encoder is sure of the bits of one molecule."""

    def __init__(self, smiles: str, bits: int, bert: Any) -> None:
        self.config = SimpleNamespace(fingerprint_size=bits, encoder_fingerprint=True)
        self.bits, self.molecule_encoder = torch.from_numpy(morgan_bits([smiles], bits)).float(), bert

    def get_context(self) -> None: ...

    def encode_spectra(self, peaks: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return None, self.bits.expand(len(peaks), -1)


def test_a_library_of_molecules_is_asked_by_predicted_fingerprint(
    references: list[Spectrum], extractor: Any, bert: tuple[Any, Any], tmp_path: Path
) -> None:
    library = SpectrumLibrary.of_molecules([*SMILES, SMILES[0], "C(C"], bits=512)
    assert len(library) == 3 and [problem.value for problem in library.problems] == ["C(C"]
    library.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"library.json", "library.parquet"}
    caffeine = FingerprintModel(SMILES[0], 512, bert[0])
    loaded = Loaded(caffeine, extractor, bert[1])
    told = LibraryCondition.load(tmp_path, loaded)(references[:2])
    assert told["library_similarity"].tolist() == pytest.approx([1.0, 1.0])
    expected = LibraryCondition(library, loaded).describe([molecule_record(SMILES[0]).smiles], [1.0])
    assert torch.allclose(told["library_embeds"][0], expected["library_embeds"][0], atol=1e-5)
    assert LibraryCondition.of_checkpoint(str(tmp_path), loaded) is None, "the model reads no library"
    caffeine.config.library = True
    beside = LibraryCondition.of_checkpoint(str(tmp_path), loaded)
    assert beside is not None and beside.library.smiles == library.smiles
    (tmp_path / "library.json").unlink()
    assert LibraryCondition.of_checkpoint(str(tmp_path), loaded) is None
    bits = morgan_bits(SMILES, 512).astype(float)
    aspirin = bits[1] @ bits[0] / np.sqrt(bits[1].sum() * bits[0].sum())
    glucose = bits[2] @ bits[0] / np.sqrt(bits[2].sum() * bits[0].sum())
    found = library.nearest(bits[:1], 3)
    assert found.similarities[0] == pytest.approx(
        [1.0, max(aspirin, glucose), min(aspirin, glucose)], abs=1e-5
    )
    with pytest.raises(LibraryError, match="512 bits, the model predicts 256"):
        library.check_model(FingerprintModel(SMILES[0], 256, bert[0]))
    with pytest.raises(ValueError, match="no SELFIES BERT"):
        LibraryCondition(library, Loaded(FingerprintModel(SMILES[0], 512, None), extractor, bert[1]))
