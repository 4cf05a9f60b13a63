"""SELFIES BERT, GPT-2 and spectra to molecules: their tiny recipes run, resume exactly, stream, and hold back what they must."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from stage_runs import start
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

import msformers
from msformers.modeling.auto import AutoModelForMoleculeGeneration
from msformers.spectra.molecules import inchikey_block
from msformers.tokenization.nexamass import NexaMassFeatureExtractor
from msformers.tokenization.selfies import decode_selfies, encode_selfies

BERT, GPT2, DENOVO = "pretrain_selfies_bert", "pretrain_selfies_gpt2", "train_spectrum_to_molecule"
FAST = ["data.eval_size=5", "data.limit=40", "training.per_device_train_batch_size=8"]


@pytest.fixture(scope="module")
def bert(data, tmp_path_factory):
    """A trained tiny BERT."""
    import sys

    from stage_runs import SCRIPTS

    sys.path.insert(0, str(SCRIPTS))
    output = tmp_path_factory.mktemp("bert")
    start(BERT, data, output, [*FAST, "data.drop_folds=[val,test]"])
    return output / "model"


@pytest.fixture(scope="module")
def gpt2(data, bert, tmp_path_factory):
    """A trained tiny decoder."""
    output = tmp_path_factory.mktemp("gpt2")
    start(GPT2, data, output, [*FAST, f"model.encoder={bert}"])
    return output / "model"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A spectrum encoder with a fingerprint head."""
    folder = tmp_path_factory.mktemp("encoder")
    entry = msformers.MODELS["nexamass"]
    torch.manual_seed(0)
    entry.heads["AutoModelForMolecularFingerprint"](entry.tiny_config()).save_pretrained(folder)
    NexaMassFeatureExtractor().save_pretrained(folder)
    return folder


def parts(encoder, bert, gpt2):
    return [*FAST, f"model.encoder={encoder}", f"model.decoder={gpt2}", f"model.molecule_encoder={bert}"]


def test_bert_learns_and_its_tokenizer_reads_back(bert):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    text = encode_selfies("COc1ccccc1")
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    model = AutoModelForMaskedLM.from_pretrained(bert)
    assert model.config.vocab_size == len(tokenizer)
    assert AutoModel.from_pretrained(bert).context(torch.tensor([[1, 5, 6, 2]]))[0].shape == (1, 2, 32)


def test_molecules_of_held_back_folds_are_dropped(data, tmp_path):
    from molecule_text import held_back, load_molecules

    held = held_back(data, ["val", "test"])
    table = load_molecules(data, {}, 0, tmp_path)
    everything = pq.read_table(data / "molecules.parquet")["inchikey14"].to_pylist()
    assert held and table.n_dropped == len(held & set(everything))
    assert not held & set(table.inchikey14)
    assert set(table.inchikey14) | held >= set(everything)
    assert {inchikey_block(decode_selfies(text)) for text in table.selfies} == set(table.inchikey14)


def test_a_table_without_spectra_beside_it_says_so(data, tmp_path):
    from molecule_text import load_molecules

    (tmp_path / "molecules.parquet").write_bytes((data / "molecules.parquet").read_bytes())
    with pytest.raises(FileNotFoundError, match=r"massbank_msms\.parquet"):
        load_molecules(tmp_path, {}, 0, tmp_path)
    assert load_molecules(tmp_path, {"drop_folds": []}, 0, tmp_path).n_dropped == 0


@pytest.mark.parametrize("stage", [BERT, GPT2, DENOVO])
def test_an_interrupted_run_ends_with_the_same_weights(stage, data, bert, gpt2, encoder, tmp_path):
    settings = {BERT: FAST, GPT2: [*FAST, f"model.encoder={bert}"], DENOVO: parts(encoder, bert, gpt2)}[stage]
    settings = [
        *settings,
        "training.save_steps=2",
        "training.eval_steps=2",
        "training.load_best_model_at_end=false",
    ]
    start(stage, data, tmp_path / "whole", [*settings, "training.max_steps=4"])
    start(
        stage, data, tmp_path / "broken", [*settings, "training.max_steps=4", "training.save_total_limit=5"]
    )
    last = tmp_path / "broken" / "checkpoints" / "checkpoint-4"
    for path in sorted(last.iterdir()):
        path.unlink()
    last.rmdir()
    start(stage, data, tmp_path / "broken", [*settings, "training.max_steps=4"], resume=True)
    whole, broken = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "broken")
    )
    assert all(torch.equal(values, broken[key]) for key, values in whole.items())


def test_decoder_reports_reconstruction_from_both_contexts(data, bert, tmp_path):
    figures = start(GPT2, data, tmp_path, [*FAST, f"model.encoder={bert}"])
    assert figures["molecules"] == 5.0
    for name in ("exact", "valid", "exact_mean_only", "valid_mean_only"):
        assert 0.0 <= figures[name] <= 1.0
    assert json.loads((tmp_path / "figures.json").read_text())[0]["valid"] == figures["valid"]


def test_reconstruction_counts_exact_molecules(bert, data):
    """A decoder that is handed the answer is exact; one that is handed another molecule is not."""
    from molecule_text import TokenizedMolecules
    from pretrain_selfies_gpt2 import reconstruction_figures

    tokenizer = AutoTokenizer.from_pretrained(bert)
    texts = [encode_selfies(smiles) for smiles in ("COc1ccccc1", "CCO", "CC(=O)O")]
    rows = [tokenizer(text)["input_ids"] for text in texts]
    molecules = TokenizedMolecules(rows, np.arange(3))
    encoder = AutoModel.from_pretrained(bert)

    class Oracle:
        training, device = False, torch.device("cpu")
        shift = 0

        def eval(self):
            return self

        def train(self, mode):
            return self

        def generate(self, ids, **kwargs):
            answers = [rows[index] for index in (1, 2, 0)]  # in order of length
            answers = answers[self.shift :] + answers[: self.shift]
            width = max(map(len, answers))
            return torch.tensor([row + [0] * (width - len(row)) for row in answers])

    oracle = Oracle()
    assert reconstruction_figures(oracle, encoder, tokenizer, molecules, 3, 4)["exact"] == 1.0
    oracle.shift = 1
    figures = reconstruction_figures(oracle, encoder, tokenizer, molecules, 3, 4)
    assert figures == {"exact": 0.0, "valid": 1.0, "molecules": 3.0}


def test_both_stages_of_spectra_to_molecules(data, encoder, bert, gpt2, tmp_path):
    figures = start(DENOVO, data, tmp_path / "molecules", parts(encoder, bert, gpt2))
    assert np.isfinite(figures["eval_lm_loss"])
    settings = [
        f"model.checkpoint={tmp_path}/molecules/model",
        "data.stage=spectra",
        "data.simulated_share=0.5",
    ]
    figures = start(DENOVO, data, tmp_path / "spectra", [*settings, "training.per_device_train_batch_size=8"])
    assert np.isfinite(figures["eval_alignment_loss"]) and figures["eval_spectra"] > 0
    model = AutoModelForMoleculeGeneration.from_pretrained(tmp_path / "spectra" / "model")
    before = AutoModelForMoleculeGeneration.from_pretrained(tmp_path / "molecules" / "model")
    assert torch.equal(model.encoder.model.norm.weight, before.encoder.model.norm.weight), (
        "the encoder is frozen"
    )
    assert not torch.equal(model.projection[0].weight, before.projection[0].weight)


def test_lora_adapts_encoder_and_decoder(data, encoder, bert, gpt2, tmp_path):
    settings = [*parts(encoder, bert, gpt2), "lora={r: 2, lora_alpha: 4}", "data.stage=spectra"]
    start(DENOVO, data, tmp_path, [*settings, "model.config.encoder_frozen=false"])
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert any(".encoder." in key and "lora_B" in key for key in adapter)
    assert not any("molecule_encoder" in key for key in adapter)
    AutoModelForMoleculeGeneration.from_pretrained(tmp_path / "model")


def test_the_published_recipe_needs_no_fingerprint(data, encoder, bert, gpt2, tmp_path):
    """The paper's system: the mean vector alone, a plain encoder, alignment and language model together."""
    told = ("neutral_mass", "collision_energy", "polarity")
    config = ", ".join(f"{name}: false" for name in told)
    settings = [f"model.config={{{config}}}", "data.stage=spectra"]
    figures = start(DENOVO, data, tmp_path, [*parts(encoder, bert, gpt2), *settings])
    assert np.isfinite(figures["eval_lm_loss"]) and np.isfinite(figures["eval_alignment_loss"])


def test_noise_keeps_what_the_encoder_does_well_and_badly():
    from simulated import FingerprintNoise

    rng = np.random.default_rng(0)
    truth = (rng.random((40, 64)) < np.linspace(0.05, 0.6, 64)).astype(np.uint8)
    probabilities = np.where(truth > 0, rng.uniform(0.5, 1.0, truth.shape), rng.uniform(0, 0.3, truth.shape))
    noise = FingerprintNoise(probabilities.astype(np.float32), truth)
    bits = (rng.random(64) < 0.3).astype(np.uint8)
    drawn = np.stack([noise(bits, np.random.default_rng(seed)) for seed in range(50)])
    assert drawn[:, bits > 0].min() >= 0.5 and drawn[:, bits == 0].max() <= 0.3
    assert drawn.std(0).min() > 0
    assert np.array_equal(noise(bits, np.random.default_rng(3)), drawn[3])


def test_the_library_never_tells_the_molecule_itself(bert):
    from simulated import Library, morgan_bits

    smiles = ["COc1ccccc1", "CCOc1ccccc1", "CCO"]
    keys = [inchikey_block(text) for text in smiles]
    tokenizer = AutoTokenizer.from_pretrained(bert)
    ids = [np.array(tokenizer(encode_selfies(text))["input_ids"]) for text in smiles]
    library = Library.build(smiles, keys, ids, AutoModel.from_pretrained(bert), 256)
    query = torch.from_numpy(morgan_bits(smiles[:1], 256)).float()
    which, similarity = library.nearest(query, ["another molecule"])
    assert which.tolist() == [0] and similarity[0] == pytest.approx(1.0, abs=1e-5)
    which, similarity = library.nearest(query, keys[:1])
    assert which.tolist() == [1] and 0 < similarity[0] < 1
    told = library.conditions(which, similarity, [False])
    assert not told["library_mask"].any() and told["library_similarity"].isnan().all()


def test_a_streamed_corpus_trains_and_resumes(data, bert, tmp_path):
    rows = pq.read_table(data / "molecules.parquet").to_pylist()
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(3):
        some = [
            {"selfies": encode_selfies(row["smiles"]), "inchikey14": row["inchikey14"]}
            for row in rows[number::3]
        ]
        pq.write_table(pa.Table.from_pylist(some), shards / f"part-{number}.parquet")
    settings = ["data.streaming=true", f"data.source={shards}", "data.block=16", "data.eval_size=4"]
    settings += ["training.per_device_train_batch_size=8", "training.save_total_limit=5"]
    start(BERT, data, tmp_path / "run", settings)
    last = tmp_path / "run" / "checkpoints" / "checkpoint-6"
    whole = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for path in sorted(last.iterdir()):
        path.unlink()
    last.rmdir()
    start(BERT, data, tmp_path / "run", settings, resume=True)
    again = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(torch.equal(values, again[key]) for key, values in whole.items())
    start(GPT2, data, tmp_path / "decoder", [*settings, f"model.encoder={bert}"])


def test_a_stream_passes_over_what_is_held_back(tmp_path, bert):
    from molecule_stream import MoleculeStream, NotHeldBack, open_molecules

    smiles = ["COc1ccccc1", "CCO", "CC(=O)O", "CCN"]
    table = {
        "selfies": [encode_selfies(text) for text in smiles],
        "inchikey14": [inchikey_block(text) for text in smiles],
    }
    pq.write_table(pa.table(table), tmp_path / "part.parquet")
    tokenizer = AutoTokenizer.from_pretrained(bert)
    choice = NotHeldBack([inchikey_block("CCO")], [table["selfies"][2]])
    stream = iter(MoleculeStream(open_molecules(tmp_path, True), choice, tokenizer, 0))
    seen = {tokenizer.decode(next(stream)["ids"], skip_special_tokens=True) for _ in range(8)}
    assert seen == {table["selfies"][0], table["selfies"][3]}
    with pytest.raises(ValueError, match="no column inchikey14"):
        pq.write_table(pa.table({"selfies": ["[C]"]}), tmp_path / "part.parquet")
        open_molecules(tmp_path, True)
