from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel

import msformers
from msformers.modeling.convert.dreams import convert_dreams, rename_dreams
from msformers.modeling.dreams import DreamsConfig, DreamsForPreTraining, DreamsForSpectrumEmbedding
from msformers.tokenization.dreams import DreamsFeatureExtractor

TOLERANCE = {"eager": 1e-5, "sdpa": 2e-5}


@pytest.fixture(scope="module")
def golden(shared: Path) -> Any:
    return np.load(shared / "golden" / "dreams_golden.npz")


@pytest.fixture(scope="module")
def folders(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("converted")
    return {
        kind: convert_dreams(shared / "golden" / f"dreams_{kind}_tiny.ckpt", out / kind)
        for kind in ("ssl", "embedding")
    }


@pytest.fixture(params=["eager", "sdpa"])
def implementation(request: pytest.FixtureRequest) -> str:
    return request.param


def tensor(golden: Any, name: str) -> torch.Tensor:
    return torch.from_numpy(golden[name])


def same(found: torch.Tensor, golden: Any, name: str, tolerance: float) -> None:
    torch.testing.assert_close(found.detach(), tensor(golden, name), atol=tolerance, rtol=0)


def raw_spectra(golden: Any) -> list[dict[str, Any]]:
    return [
        {
            "mz": golden[f"raw_{i:03d}_mz"],
            "intensity": golden[f"raw_{i:03d}_intensity"],
            "precursor_mz": golden["precursor_mz"][i],
        }
        for i in range(int(golden["n_spectra"]))
    ]


@pytest.mark.parametrize("n", [60, 100])
def test_hidden_states_equal_the_reference(folders: Any, golden: Any, implementation: str, n: int) -> None:
    peaks, tolerance = tensor(golden, f"prep_{n}"), TOLERANCE[implementation]
    for kind, name in (("ssl", "ssl"), ("embedding", "emb")):
        model = AutoModel.from_pretrained(folders[kind], attn_implementation=implementation).eval()
        same(model(peaks).last_hidden_state, golden, f"{name}_hidden_{n}", tolerance)


@pytest.mark.parametrize("n", [60, 100])
def test_embeddings_equal_the_reference(folders: Any, golden: Any, implementation: str, n: int) -> None:
    model = msformers.AutoModelForSpectrumEmbedding.from_pretrained(
        folders["embedding"], attn_implementation=implementation
    ).eval()
    same(model(tensor(golden, f"prep_{n}")).embeddings, golden, f"emb_{n}", TOLERANCE[implementation])
    # and from the raw spectra, with one token for all padding; the tie at the cut of spectrum 11 is platform-dependent
    strict = tensor(golden, f"strict_{n}")
    found = model(**DreamsFeatureExtractor(n)(raw_spectra(golden))).embeddings.detach()
    torch.testing.assert_close(
        found[strict], tensor(golden, f"emb_{n}")[strict], atol=TOLERANCE[implementation], rtol=0
    )


def test_residual_stream_equals_the_reference(folders: Any, golden: Any, implementation: str) -> None:
    model = AutoModel.from_pretrained(folders["ssl"], attn_implementation=implementation).eval()
    stream = torch.stack(model(tensor(golden, "prep_60"), output_hidden_states=True).hidden_states)
    same(stream, golden, "ssl_stream_60", TOLERANCE[implementation])


def test_fourier_mlp_equals_the_reference(folders: Any, golden: Any) -> None:
    embeddings = AutoModel.from_pretrained(folders["ssl"]).eval().embeddings
    features = embeddings.fourier(tensor(golden, "fourier_mz").float())
    same(embeddings.fourier_mlp(features), golden, "fourier_mlp", 1e-5)


def test_pretraining_heads_equal_the_reference(folders: Any, golden: Any, implementation: str) -> None:
    model = DreamsForPreTraining.from_pretrained(folders["ssl"], attn_implementation=implementation).eval()
    tolerance = TOLERANCE[implementation]
    masked = tensor(golden, "masked_input_60")
    same(model.model(masked).last_hidden_state, golden, "masked_hidden_60", tolerance)
    labels = torch.full(masked.shape[:2], -100)
    labels[tensor(golden, "mask_60")] = tensor(golden, "masked_target_class")
    output = model(masked, mz_labels=labels)
    same(output.mz_logits, golden, "masked_logits", tolerance)
    assert output.loss.item() == pytest.approx(golden["masked_focal_loss"].mean(), abs=1e-4)
    a, b = golden["ro_pair"].tolist()
    for peaks, pair, name in (
        ("prep_60", [a, b], "ro_logit"),
        ("prep_60", [b, a], "ro_logit_swapped"),
        ("masked_input_60", [a, b], "ro_logit_masked"),
    ):
        logits = model(tensor(golden, peaks), mz_labels=labels, order_pairs=torch.tensor([pair])).order_logits
        same(logits, golden, name, tolerance)


def test_the_folder_is_complete_and_says_what_it_is(folders: Any) -> None:
    for kind, peaks in (("ssl", 60), ("embedding", 100)):
        names = {path.name for path in folders[kind].iterdir()}
        assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}
        config = json.loads((folders[kind] / "config.json").read_text())
        assert (config["n_highest_peaks"], config["num_attention_heads"], config["peak_size"]) == (
            peaks,
            4,
            12,
        )
        extractor = AutoFeatureExtractor.from_pretrained(folders[kind])
        assert isinstance(extractor, DreamsFeatureExtractor) and extractor.n_highest_peaks == peaks


def test_no_weight_is_lost_or_invented(folders: Any, shared: Path) -> None:
    for kind, cls in (("ssl", DreamsForPreTraining), ("embedding", DreamsForSpectrumEmbedding)):
        _, report = cls.from_pretrained(folders[kind], output_loading_info=True)
        assert not any(report.values()), report


def broken(shared: Path, tmp_path: Path, change: Any) -> Path:
    from msformers.modeling.convert.checkpoint import read_checkpoint

    content = read_checkpoint(shared / "golden" / "dreams_embedding_tiny.ckpt")
    change(content["state_dict"])
    path = tmp_path / "broken.ckpt"
    torch.save({"state_dict": content["state_dict"]}, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("backbone.ff_peak.ff.0.weight"), r"lacks ff_peak\.ff\.0\.weight"),
        (lambda w: w.pop("head.bias"), r"1 tensors do not fit.*head\.bias"),
        (lambda w: w.update({"backbone.extra": torch.zeros(2)}), "extra"),
        (lambda w: w["backbone.fourier_enc.b"].mul_(2), "frequencies are not the published"),
    ],
)
def test_other_architectures_are_refused_by_name(
    shared: Path, tmp_path: Path, change: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"(?s)broken\.ckpt.*{message}"):
        convert_dreams(broken(shared, tmp_path, change), tmp_path / "out")


def fill(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weights recipe of the full-size golden outputs, by published parameter name."""
    rng = np.random.default_rng([0, zlib.crc32(key.encode())])
    offset, std = 0.0, 0.03
    if ".scales." in key:
        offset, std = (1.0, 0.1) if key.endswith(".weight") else (0.0, 0.1)
    elif len(shape) == 1:
        std = 0.02
    elif key.startswith("ff_fourier.ff."):
        std = {"0": 0.01, "12": 0.004}.get(key.split(".")[2], 0.06)
    elif key == "ff_peak.ff.0.weight":
        std = 0.5
    elif ".atts." in key:
        std = 0.04
    return torch.from_numpy((offset + std * rng.standard_normal(shape)).astype(np.float32))


def test_the_published_size_equals_the_reference(shared: Path, golden: Any) -> None:
    full = np.load(shared / "golden" / "dreams_full_golden.npz")
    weights = {}
    for key, shape, first, total in zip(
        full["param_keys"], full["param_shape"], full["param_first4"], full["param_sum"], strict=True
    ):
        if "fourier_enc" in str(key):
            continue
        value = fill(str(key), tuple(int(n) for n in shape if n))
        flat = value.flatten()
        np.testing.assert_array_equal(flat[:4].numpy(), first[: min(4, len(flat))])
        assert flat.double().sum().item() == pytest.approx(float(total), abs=1e-3)
        weights[str(key)] = value
    head = {
        f"head.{kind}": weights.pop(f"head.{kind}")
        for kind in ("weight", "bias")
        if f"head.{kind}" in weights
    }
    head = head or {"head.weight": fill("head.weight", (1024, 1024)), "head.bias": fill("head.bias", (1024,))}
    with torch.device("meta"):
        model = DreamsForSpectrumEmbedding(DreamsConfig()).eval()
    frequencies = torch.from_numpy(golden["fourier_frequencies"])
    model.load_state_dict(rename_dreams({**weights, **head, "fourier_enc.b": frequencies}), assign=True)
    ids = torch.from_numpy(full["spectrum_ids"])
    with torch.no_grad():
        peaks = tensor(golden, "prep_100")[ids]
        hidden = model.model(peaks).last_hidden_state
        shown = hidden[:, torch.from_numpy(full["token_index"])]
        np.testing.assert_allclose(shown.numpy(), full["hidden_100"], atol=2e-5, rtol=0)
        sums = hidden.double().sum(-1).numpy()
        np.testing.assert_allclose(sums, full["hidden_100_sum"], atol=5e-3, rtol=0)
        raw = [raw_spectra(golden)[int(i)] for i in ids]
        for batch in ({"peaks": peaks}, DreamsFeatureExtractor()(raw)):
            embeddings = model(**batch).embeddings
            np.testing.assert_allclose(embeddings.numpy(), full["emb_100"], atol=2e-5, rtol=0)
        short = model.model(tensor(golden, "prep_60")[ids])
        found = short.last_hidden_state[:, torch.from_numpy(full["token_index_60"])]
        np.testing.assert_allclose(found.numpy(), full["hidden_60"], atol=2e-5, rtol=0)
        logits = model.mz_head(short.last_hidden_state[:, 5])
        assert logits.argmax(-1).tolist() == full["mz_argmax_60_token5"].tolist()
        order = model.order_head(short.pooler_output[[0, 1]].flatten())
        np.testing.assert_allclose(order.numpy(), full["ro_logit_60"], atol=5e-5, rtol=0)
