import importlib
from typing import Any

import numpy as np
import pytest

ROWS = [
    {"mz": np.array([77.04, 105.03]), "intensity": np.array([0.25, 1.0]), "precursor_mz": 123.04},
    {"mz": np.array([51.02, 77.04, 105.03]), "intensity": np.array([0.04, 0.3, 1.0]), "precursor_mz": 123.04},
    {"mz": np.array([43.02]), "intensity": np.array([1.0]), "precursor_mz": 61.03},
]


@pytest.fixture(scope="module")
def benchmark() -> Any:
    return importlib.import_module("embedding")


def test_nearest_leaves_out_the_query_itself(benchmark):
    vectors = benchmark.embed(benchmark.Binned(), ROWS, batch_size=2)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert benchmark.nearest(vectors, vectors).tolist() == [0, 1, 2]
    assert benchmark.nearest(vectors, vectors, [0, 1, 2]).tolist()[:2] == [1, 0]


def test_tanimoto_of_equal_and_of_unlike_molecules(benchmark):
    tanimoto = benchmark.Tanimoto()
    assert tanimoto("OC(=O)c1ccccc1", "c1ccccc1C(O)=O") == 1.0
    assert tanimoto("CCO", "c1ccccc1") == 0.0


def test_a_registered_encoder_at_its_published_size_embeds(benchmark):
    encoder = benchmark.published("nexamass")
    assert isinstance(encoder, benchmark.Encoder)
    assert encoder.parameters > 10_000_000
    assert benchmark.embed(encoder, ROWS).shape == (3, 384)
    assert benchmark.speed(encoder, ROWS, 0.1) > 0
