from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from msformers.inference.embed import embed
from msformers.inference.encode import (
    embed_molecules,
    embed_spectra,
    runtime,
    spectrum_features,
    weights_sha256,
)
from msformers.spectra.spectrum import Problem, Spectrum


def test_molecules_come_back_in_order_whatever_the_batches(
    model: Any, tokenizer: Any, molecules: dict[str, str]
) -> None:
    smiles = list(molecules.values())
    whole = embed_molecules(smiles, model, tokenizer)
    assert whole.dtype == np.float32 and np.allclose(np.linalg.norm(whole, axis=1), 1.0, atol=1e-6)
    assert np.allclose(embed_molecules(smiles, model, tokenizer, batch_size=3), whole, atol=1e-6)
    for row, text in zip(whole, smiles, strict=True):
        assert np.allclose(embed_molecules([text], model, tokenizer)[0], row, atol=1e-6)
    assert embed_molecules([], model, tokenizer).shape == (0, 0)


def test_similar_lengths_share_a_batch(model: Any, tokenizer: Any) -> None:
    embed_molecules(["C", "C" * 50, "CC", "C" * 49], model, tokenizer, batch_size=2)
    assert model.molecule_batches == [(2, 50), (2, 2)]


def test_a_spectrum_that_fails_costs_only_itself(model: Any, extractor: Any, make_spectrum: Any) -> None:
    bad = Spectrum(np.array([1.0, np.inf]), np.ones(2, np.float32), native_id="bad")
    spectra = [make_spectrum("CCO"), bad, make_spectrum("CCCN")]
    vectors, failed = embed_spectra(spectra, model, extractor, batch_size=8)
    assert set(failed) == {1} and "bad" in failed[1]
    assert np.array_equal(vectors[1], np.zeros(16))
    alone, _ = embed_spectra([spectra[2]], model, extractor)
    assert np.allclose(vectors[2], alone[0], atol=1e-5)
    everything, all_failed = embed_spectra([bad, bad], model, extractor)
    assert set(all_failed) == {0, 1} and everything.shape == (2, 0)


def test_an_embedding_that_is_not_finite_is_a_failure(model: Any, extractor: Any, make_spectrum: Any) -> None:
    model.table[ord("N")] = float("nan")
    vectors, failed = embed_spectra([make_spectrum("CCO"), make_spectrum("CN")], model, extractor)
    assert set(failed) == {1} and np.isfinite(vectors).all()


def test_embed_gives_a_row_for_every_record(model: Any, extractor: Any, make_spectrum: Any) -> None:
    records = [
        make_spectrum("CCO", index=0),
        Problem(1, 3, "p", "x", "y", "is bad"),
        make_spectrum("C", index=2),
    ]
    rows = list(embed(iter(records), model, extractor, block=2))
    assert [(row.index, row.status) for row in rows] == [(0, "ok"), (1, "unreadable"), (2, "ok")]
    assert rows[1].embedding is None and rows[1].reason == "x 'y' is bad"
    assert rows[0].embedding is not None and rows[0].embedding.shape == (16,)


def test_features_of_encoders_and_the_error_for_other_models(model: Any) -> None:
    from msformers.modeling.outputs import SpectrumEmbeddingOutput, SpectrumEncoderOutput

    two = torch.ones(1, 2)
    assert spectrum_features(lambda **_: SpectrumEmbeddingOutput(embeddings=two), {}) is two
    assert spectrum_features(lambda **_: SpectrumEncoderOutput(pooler_output=two), {}) is two
    with pytest.raises(TypeError, match="no spectrum embedding"):
        spectrum_features(lambda **_: SpectrumEncoderOutput(last_hidden_state=two), {})


def test_fingerprint_of_weights_and_runtime(model: Any, bag_model: Any) -> None:
    assert weights_sha256(model) == weights_sha256(bag_model(0)) != weights_sha256(bag_model(1))
    assert weights_sha256(object()) == ""
    assert weights_sha256(model.to(torch.bfloat16)) != weights_sha256(bag_model(0))
    assert runtime(model).startswith("device cpu, dtype bfloat16, ")
