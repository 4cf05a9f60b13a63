from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer

import msformers
from msformers.cli import main
from msformers.modeling.convert.casanovo import convert_casanovo
from msformers.modeling.convert.checkpoint import read_checkpoint
from msformers.spectra.spectrum import Spectrum

TOLERANCE = {"eager": 1e-5, "sdpa": 2e-5}
SEARCHES: dict[str, dict[str, Any]] = {
    "beam1": {},
    "beam5": {"num_beams": 5, "num_return_sequences": 5},
    "beam5_short": {"num_beams": 5, "num_return_sequences": 5, "min_length": 9, "max_length": 12},
}
CASES = [
    *(("5", "", name) for name in SEARCHES),
    *(("4", "v43_", name) for name in SEARCHES),
    ("4", "v40_", "beam1"),
]


@pytest.fixture(scope="module")
def folders(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("casanovo")
    return {
        version: convert_casanovo(shared / "golden" / f"casanovo_v{version}_tiny.ckpt", out / version)
        for version in ("4", "5")
    }


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    return {v: np.load(shared / "golden" / f"casanovo_v{v}_golden.npz") for v in ("4", "5")}


@pytest.fixture(params=["eager", "sdpa"])
def implementation(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["4", "5"])
def version(request: pytest.FixtureRequest) -> str:
    return request.param


def tensor(golden: Any, name: str) -> torch.Tensor:
    return torch.from_numpy(golden[name])


def inputs(golden: Any, version: str) -> dict[str, torch.Tensor]:
    peaks = (
        tensor(golden, "spectra")
        if version == "4"
        else torch.stack([tensor(golden, "mz"), tensor(golden, "intensity")], dim=-1)
    )
    return {
        "peaks": peaks,
        "attention_mask": (peaks.sum(-1) != 0).long(),
        "precursors": tensor(golden, "precursors"),
    }


def load(folder: Path, implementation: str = "sdpa") -> Any:
    return msformers.AutoModelForPeptideSequencing.from_pretrained(
        folder, attn_implementation=implementation
    ).eval()


def raw(golden: Any, row: int) -> dict[str, Any]:
    return {
        "mz": golden[f"raw_{row:03d}_mz"],
        "intensity": golden[f"raw_{row:03d}_intensity"],
        "precursor_mz": float(golden["precursor_mz"][row]),
        "charge": int(golden["charge"][row]),
    }


@torch.no_grad()
def test_encoder_rows_equal_the_reference(
    folders: Any, golden: Any, version: str, implementation: str
) -> None:
    reference = golden[version]
    model = AutoModel.from_pretrained(folders[version], attn_implementation=implementation).eval()
    real, batch = ~tensor(reference, "encoder_mask"), inputs(reference, version)
    assert torch.equal(real[:, 1:], batch["attention_mask"] == 1) and real[:, 0].all()
    for options in ({}, {"output_hidden_states": True}):
        rows = model(**batch, **options).last_hidden_state[real]
        torch.testing.assert_close(
            rows, tensor(reference, "encoder_rows"), atol=TOLERANCE[implementation], rtol=0
        )


@torch.no_grad()
def test_both_poolings_are_those_of_the_reference_rows(folders: Any, golden: Any, version: str) -> None:
    reference, batch = golden[version], inputs(golden[version], version)
    real = ~tensor(reference, "encoder_mask")
    spectra = tensor(reference, "encoder_rows").split(real.sum(1).tolist())
    for pooling, expected in (
        ("global", torch.stack([rows[0] for rows in spectra])),
        ("mean_peaks", torch.stack([rows[1:].mean(0) for rows in spectra])),
    ):
        model = AutoModel.from_pretrained(folders[version], pooling=pooling).eval()
        torch.testing.assert_close(model(**batch).pooler_output, expected, atol=2e-5, rtol=0)


@torch.no_grad()
def test_teacher_forced_logits_and_losses_equal_the_reference(
    folders: Any, golden: Any, version: str, implementation: str
) -> None:
    reference, batch = golden[version], inputs(golden[version], version)
    model, tokens = load(folders[version], implementation), tensor(golden[version], "tokens")
    tolerance = TOLERANCE[implementation]
    output = model(**batch, labels=tokens)
    valid = tensor(reference, "logits_valid")
    torch.testing.assert_close(
        output.logits[valid], tensor(reference, "logits")[valid], atol=tolerance, rtol=0
    )
    first = tensor(reference, "logits_first_step")
    torch.testing.assert_close(model(**batch).logits, first, atol=tolerance, rtol=0)
    assert output.loss.item() == pytest.approx(reference["loss"].item(), abs=1e-6)
    smoothed = model.train()(**batch, labels=tokens).loss
    assert smoothed.item() == pytest.approx(reference["loss_label_smoothing_0_01"].item(), abs=1e-6)


@pytest.mark.parametrize(("number", "program", "search"), CASES, ids=lambda value: value or "v52")
def test_peptides_and_scores_equal_the_reference(
    folders: Any, golden: Any, number: str, program: str, search: str
) -> None:
    reference, name = golden[number], program + search
    tokenizer = AutoTokenizer.from_pretrained(folders[number])
    found = load(folders[number]).generate(**inputs(reference, number), **SEARCHES[search])
    expected = [tokenizer.decode(tokenizer(str(text)).input_ids) for text in reference[f"{name}_peptide"]]
    assert tokenizer.batch_decode(found.sequences) == expected
    for ours, theirs in (("spectrum_index", "spectrum"), ("rank", "rank"), ("lengths", "n_aa")):
        assert found[ours].tolist() == reference[f"{name}_{theirs}"].tolist()
    np.testing.assert_allclose(found.scores, reference[f"{name}_score"], rtol=1e-4)
    residues = found.residue_scores.numpy()
    if program == "v40_":  # reported in decoding order
        for row, length in zip(residues, found.lengths, strict=True):
            row[:length] = row[:length][::-1].copy()
    np.testing.assert_allclose(residues, reference[f"{name}_aa_scores"], rtol=1e-4)


def test_peptides_of_read_spectra_are_those_of_the_reference(folders: Any, golden: Any, version: str) -> None:
    """From raw arrays, and from a `Spectrum` as the readers give it (relative intensities)."""
    reference, name = golden[version], "beam5" if version == "5" else "v43_beam5"
    tokenizer = AutoTokenizer.from_pretrained(folders[version])
    extractor = AutoFeatureExtractor.from_pretrained(folders[version])
    arrays = [raw(reference, row) for row in range(6)]
    spectra = [
        Spectrum(**(one | {"intensity": (one["intensity"] / one["intensity"].max()).astype(np.float32)}))
        for one in arrays
    ]
    found = load(folders[version]).generate(**extractor([*arrays, *spectra]), num_beams=5)
    best = reference[f"{name}_peptide"][reference[f"{name}_rank"] == 0]
    expected = [tokenizer.decode(tokenizer(str(text)).input_ids) for text in best]
    assert tokenizer.batch_decode(found.sequences) == 2 * expected


def test_the_folder_is_complete_and_says_what_it_is(folders: Any, version: str) -> None:
    names = {path.name for path in folders[version].iterdir()}
    tokenizer_files = {"tokenizer_config.json", "residues.csv"}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"} | tokenizer_files
    config = json.loads((folders[version] / "config.json").read_text())
    assert (config["version"], config["num_attention_heads"], config["hidden_size"]) == (version, 4, 64)
    assert config["max_charge"] == {"4": 10, "5": 4}[version]
    assert config["precursor_tolerance"] == {"4": 50.0, "5": 0.0}[version]
    assert len(config["residue_masses"]) == 29
    extractor = AutoFeatureExtractor.from_pretrained(folders[version])
    assert (extractor.version, extractor.max_charge) == (version, config["max_charge"])


def test_no_weight_is_lost_or_invented(folders: Any, shared: Path, version: str) -> None:
    model, report = msformers.AutoModelForPeptideSequencing.from_pretrained(
        folders[version], output_loading_info=True
    )
    assert not any(report.values()), report
    stored = read_checkpoint(shared / "golden" / f"casanovo_v{version}_tiny.ckpt")["state_dict"]
    total = sum(t.numel() for name, t in stored.items() if not name.endswith("cos_term"))
    assert sum(t.numel() for t in model.state_dict().values()) == total


def test_stored_wavelengths_are_kept_in_half_precision(shared: Path, tmp_path: Path, version: str) -> None:
    path = changed(shared, tmp_path, version, lambda c: scale_wavelengths(c["state_dict"]))
    folder = convert_casanovo(path, tmp_path / "out")
    exact = load(folder)
    half = msformers.AutoModelForPeptideSequencing.from_pretrained(folder, dtype=torch.bfloat16)
    for name, buffer in exact.named_buffers():
        assert half.get_buffer(name).dtype == torch.float32 and torch.equal(half.get_buffer(name), buffer)


def scale_wavelengths(weights: dict[str, torch.Tensor]) -> None:
    for name, tensor in weights.items():
        if name.endswith("_term"):
            tensor.mul_(1.000001)


def changed(shared: Path, tmp_path: Path, version: str, change: Any) -> Path:
    content = read_checkpoint(shared / "golden" / f"casanovo_v{version}_tiny.ckpt")
    content["hyper_parameters"].pop("tokenizer", None)
    change(content)
    path = tmp_path / "changed.ckpt"
    torch.save({key: content[key] for key in ("state_dict", "hyper_parameters")}, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["state_dict"].pop("encoder.latent_spectrum"), r"lacks encoder\.latent_spectrum"),
        (lambda c: c["state_dict"].pop("decoder.aa_encoder.weight"), r"neither the architecture of casanovo"),
        (lambda c: c["state_dict"].pop("decoder.final.bias"), r"1 tensors do not fit.*decoder\.output\.bias"),
        (lambda c: c["state_dict"].update({"extra.weight": torch.zeros(2)}), r"extra\.weight"),
        (lambda c: c["hyper_parameters"]["residues"].pop("G"), "29 tokens in its weights, 28 in its voc"),
        (lambda c: c["hyper_parameters"].update(dim_intensity=4), "dim_intensity=4"),
        (lambda c: c["state_dict"]["decoder.pos_encoder.cos_term"].mul_(2), "differs from its sin_term"),
    ],
)
def test_other_architectures_are_refused_by_name(
    shared: Path, tmp_path: Path, change: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"(?s)changed\.ckpt.*{message}"):
        convert_casanovo(changed(shared, tmp_path, "4", change), tmp_path / "out")


class Hostile:
    """Runs a command when it is unpickled by a program that allows it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def test_no_class_of_the_checkpoint_is_run(shared: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = changed(shared, tmp_path, "5", lambda c: c["hyper_parameters"].update(tokenizer=Hostile(marker)))
    with pytest.raises(Exception, match="weights_only"):
        torch.load(path, weights_only=True)
    folder = convert_casanovo(path, tmp_path / "out")  # what is no tokenizer is not asked: published residues
    assert not marker.exists() and AutoTokenizer.from_pretrained(folder).vocab_size == 29


def test_the_command_converts(shared: Path, tmp_path: Path, capsys: Any) -> None:
    source = shared / "golden" / "casanovo_v4_tiny.ckpt"
    assert main(["convert", "casanovo", str(source), str(tmp_path / "out"), "-q"]) == 0
    assert (tmp_path / "out" / "residues.csv").is_file()
    broken = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(1)}}, broken)
    assert main(["convert", "casanovo", str(broken), str(tmp_path / "out2")]) == 2
    assert "not a Casanovo checkpoint" in capsys.readouterr().err
