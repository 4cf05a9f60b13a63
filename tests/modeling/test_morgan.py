import pytest
import torch
from contract import SPECTRA, ModelContract

from msformers.modeling.morgan import MorganConfig, MorganModel
from msformers.tokenization.morgan import MorganTokenizer


class TestMorgan(ModelContract):
    name = "morgan"

    def inputs(self, spectra: list = SPECTRA) -> dict[str, torch.Tensor]:
        """A molecule for each spectrum of the contract, by its number of peaks."""
        smiles = [("CCO", "c1ccccc1O", "CCN(CC)CC")[len(spectrum["mz"]) % 3] for spectrum in spectra]
        return dict(MorganTokenizer(n_bits=64)(smiles, padding=True, return_tensors="pt"))

    @pytest.mark.skip("64 weights do not need shards")
    def test_sharded_save(self, model_class: type) -> None: ...


def test_the_vector_is_the_fingerprint() -> None:
    tokenizer = MorganTokenizer(n_bits=256)
    batch = tokenizer(["CCO", "CC(=O)Nc1ccc(O)cc1"], padding=True, return_tensors="pt")
    vectors = MorganModel(MorganConfig(hidden_size=256))(**batch).pooler_output
    for row, vector in zip(batch["input_ids"], vectors, strict=True):
        assert (vector.nonzero().flatten() + 2).tolist() == sorted(i for i in row.tolist() if i >= 2)
