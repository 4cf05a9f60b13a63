"""Published DreaMS checkpoints (Lightning, self-supervised or embedding) to a folder for `from_pretrained`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from ...tokenization.dreams import DreamsFeatureExtractor
from ..dreams import DreamsConfig, DreamsForPreTraining, DreamsForSpectrumEmbedding
from ..encodings import period_frequencies
from .checkpoint import load_exactly, read_checkpoint, state_dict_of

# number of peaks each published model was trained with; the checkpoints do not say
SSL_PEAKS, EMBEDDING_PEAKS = 60, 100
# training arguments that are fields of ours
_OPTIONS = {
    "hot_mz_bin_size": "mz_bin_size",
    "dropout": "hidden_dropout",
    "att_dropout": "attention_dropout",
    "focal_loss_gamma": "focal_gamma",
    "ret_order_loss_w": "order_loss_weight",
    "mask_val": "mask_value",
}


def convert_dreams(
    ckpt: str | Path,
    out_dir: str | Path,
    n_highest_peaks: int | None = None,
    num_attention_heads: int | None = None,
) -> Path:
    """Convert a checkpoint; the kind (self-supervised or embedding) is read from its keys.

    Writes config.json, model.safetensors and preprocessor_config.json. Nothing in the checkpoint is executed.

    Args:
        ckpt: the .ckpt file.
        out_dir: folder to write, made if missing.
        n_highest_peaks: peaks per spectrum; None for the published number (60 self-supervised, 100 embedding).
        num_attention_heads: None for what the file says, which an embedding file does not: then 8 at the published
            width of 1024 and 4 otherwise.

    Returns:
        `out_dir` as a path.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: not a DreaMS checkpoint, or one of another architecture; says what differs.
    """
    checkpoint = read_checkpoint(ckpt)
    weights = state_dict_of(checkpoint, ckpt)
    embedding = any(key.startswith("backbone.") for key in weights)
    n_peaks = n_highest_peaks or (EMBEDDING_PEAKS if embedding else SSL_PEAKS)
    hyper = checkpoint.get("hyper_parameters")
    config = _infer_config(
        weights, hyper if isinstance(hyper, dict) else {}, str(ckpt), n_peaks, num_attention_heads
    )
    with torch.device("meta"):
        model = (DreamsForSpectrumEmbedding if embedding else DreamsForPreTraining)(config)
    _load_known(model, rename_dreams(weights), str(ckpt))
    out = Path(out_dir)
    model.save_pretrained(out)
    DreamsFeatureExtractor(n_peaks, config.precursor_intensity).save_pretrained(out)
    return out


def rename_dreams(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published names to ours; splits the packed attention matrix, drops the second copy of the frequencies."""
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        parts = name.removeprefix("backbone.").split(".")
        match parts:
            case ["fourier_enc", "b"]:
                renamed["model.embeddings.fourier.frequencies"] = tensor.reshape(-1)
            case ["fourier_enc", _]:
                continue
            case ["ff_fourier", "ff", index, kind]:
                renamed[f"model.embeddings.fourier_mlp.layers.{int(index) // 3}.{kind}"] = tensor
            case ["ff_peak", "ff", index, kind]:
                renamed[f"model.embeddings.peak_mlp.layers.{int(index) // 3}.{kind}"] = tensor
            case ["transformer_encoder", "atts", layer, "weights"]:
                for block, projection in zip(tensor.chunk(4), "qkvo", strict=True):
                    renamed[f"model.layers.{layer}.attention.{projection}_proj.weight"] = block.contiguous()
            case ["transformer_encoder", "ffs", layer, projection, "weight"]:
                ours = {"in_proj": "up_proj", "out_proj": "down_proj"}.get(projection, projection)
                renamed[f"model.layers.{layer}.mlp.{ours}.weight"] = tensor
            case ["transformer_encoder", "scales", index, kind]:
                renamed[f"{_norm_name(int(index), _n_layers(weights))}.{kind}"] = tensor
            case ["ff_out", "ff", "0", kind]:
                renamed[f"mz_head.{kind}"] = tensor
            case ["ro_out", "weight"]:
                renamed["order_head.weight"] = tensor
            case _:
                renamed[name] = tensor
    return renamed


def _norm_name(index: int, n_layers: int) -> str:
    if index == 2 * n_layers:
        return "model.norm"
    return f"model.layers.{index // 2}.{('attention', 'mlp')[index % 2]}_norm"


def _n_layers(weights: dict[str, torch.Tensor]) -> int:
    return sum(name.endswith(".weights") and ".atts." in name for name in weights)


def _infer_config(
    weights: dict[str, torch.Tensor], hyper: dict[str, Any], path: str, n_peaks: int, n_heads: int | None
) -> DreamsConfig:
    """Sizes from the tensors; what no tensor shows from `hyper_parameters`, else the published values."""
    shapes = {name.removeprefix("backbone."): tuple(tensor.shape) for name, tensor in weights.items()}
    fourier = sorted(
        int(name.split(".")[2])
        for name in shapes
        if name.startswith("ff_fourier.ff.") and name.endswith(".weight")
    )
    needed = (
        "fourier_enc.b",
        "ff_peak.ff.0.weight",
        "transformer_encoder.atts.0.weights",
        "ff_out.ff.0.weight",
    )
    missing = [name for name in needed if name not in shapes] + (
        [] if fourier else ["ff_fourier.ff.0.weight"]
    )
    if missing:
        raise ValueError(f"{path}: not a DreaMS checkpoint, it lacks {', '.join(missing)}")
    arguments = hyper.get("args")
    options = vars(arguments) if isinstance(arguments, argparse.Namespace) else {}
    _refuse_variants(options, path)
    width = shapes["transformer_encoder.atts.0.weights"][1]
    return DreamsConfig(
        peak_size=shapes["ff_peak.ff.0.weight"][0],
        fourier_size=shapes[f"ff_fourier.ff.{fourier[-1]}.weight"][0],
        fourier_hidden_size=shapes["ff_fourier.ff.0.weight"][0],
        fourier_depth=len(fourier),
        num_hidden_layers=_n_layers(weights),
        num_attention_heads=n_heads or options.get("n_heads") or (8 if width == 1024 else 4),
        intermediate_size=shapes["transformer_encoder.ffs.0.in_proj.weight"][0],
        num_mz_bins=shapes["ff_out.ff.0.weight"][0],
        n_highest_peaks=n_peaks,
        embedding_size=shapes["head.weight"][0] if "head.weight" in shapes else None,
        triplet_margin=float(hyper.get("triplet_loss_margin", 0.1)),
        **{ours: float(options[theirs]) for theirs, ours in _OPTIONS.items() if theirs in options},
    )


def _refuse_variants(options: dict[str, Any], path: str) -> None:
    """Raise on switches of the reference program that change the function and that the published models do not use."""
    published = {
        "fourier_strategy": "lin_float_int",
        "pre_norm": True,
        "scnorm": False,
        "attn_mech": "dot-product",
        "graphormer_mz_diffs": True,
        "graphormer_parametrized": False,
        "vanilla_transformer": False,
        "charge_feature": False,
        "train_objective": "mask_mz_hot",
        "no_transformer_bias": True,
    }
    for name, value in published.items():
        if name in options and options[name] != value:
            raise ValueError(
                f"{path}: trained with {name}={options[name]!r}; only the published {value!r} is supported"
            )


def _load_known(model: torch.nn.Module, weights: dict[str, torch.Tensor], path: str) -> None:
    """Assign `weights` exactly; the frequencies must be the known ones."""
    frequencies = "model.embeddings.fourier.frequencies"
    load_exactly(model, weights, path)
    config: Any = model.config
    known = period_frequencies(config.fourier_min_period, config.fourier_max_period)
    if not torch.equal(weights[frequencies], known):
        raise ValueError(
            f"{path}: its Fourier frequencies are not the published ones; this variant is not supported"
        )
