"""Published Casanovo checkpoints (Lightning, 4.x or 5.x) to a folder for `from_pretrained`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...tokenization.casanovo import CasanovoFeatureExtractor
from ...tokenization.peptides import STOP, PeptideTokenizer, published_residues
from ..casanovo import CasanovoForPeptideSequencing
from ..casanovo_config import CasanovoConfig
from .checkpoint import Stub, load_exactly, read_checkpoint, state_dict_of

# what is called otherwise here, by its published name without the number of the layer
_LAYER = {
    "self_attn.out_proj": "attention.o_proj",
    "multihead_attn.out_proj": "cross_attention.o_proj",
    "linear1": "mlp.up_proj",
    "linear2": "mlp.down_proj",
}
_NORMS = {
    "encoder": {"norm1": "attention_norm", "norm2": "mlp_norm"},
    "decoder": {"norm1": "attention_norm", "norm2": "cross_attention_norm", "norm3": "mlp_norm"},
}
_PARTS = {
    "encoder.latent_spectrum": "model.embeddings.spectrum",
    "encoder.peak_encoder.mz_encoder": "model.embeddings.mz",
    "encoder.peak_encoder.int_encoder": "model.embeddings.intensity",
    "encoder.peak_encoder.combiner": "model.embeddings.combine",
    "decoder.aa_encoder": "decoder.tokens",
    "decoder.token_encoder": "decoder.tokens",
    "decoder.charge_encoder": "decoder.charge",
    "decoder.mass_encoder": "decoder.mass",
    "decoder.pos_encoder": "decoder.positions",
    "decoder.positional_encoder": "decoder.positions",
    "decoder.final": "decoder.output",
}
# hyper-parameters that are fields of ours; the old names are those of 4.x
_OPTIONS = {
    "dropout": ("hidden_dropout", "attention_dropout"),
    "train_label_smoothing": ("label_smoothing",),
    "min_peptide_len": ("min_length",),
    "max_peptide_len": ("max_length",),
    "max_length": ("max_length",),
}


def convert_casanovo(ckpt: str | Path, out_dir: str | Path, num_attention_heads: int | None = None) -> Path:
    """Convert a checkpoint; the version is read from its keys. Nothing in it is executed.

    Writes config.json, model.safetensors, preprocessor_config.json and the tokenizer's files.

    Args:
        ckpt: the .ckpt file.
        out_dir: folder to write, made if missing.
        num_attention_heads: None for what the file says, else 8.

    Returns:
        `out_dir` as a path.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: not a Casanovo checkpoint, or one of a variant that is not supported; says what differs.
    """
    checkpoint = read_checkpoint(ckpt)
    weights = state_dict_of(checkpoint, ckpt)
    hyper = checkpoint.get("hyper_parameters")
    hyper = hyper if isinstance(hyper, dict) else {}
    tokenizer = _tokenizer(weights, hyper, str(ckpt))
    config = _infer_config(weights, hyper, tokenizer, str(ckpt), num_attention_heads)
    with torch.device("meta"):
        model = CasanovoForPeptideSequencing(config)
    load_exactly(model, rename_casanovo(weights, str(ckpt)), str(ckpt))
    out = Path(out_dir)
    model.save_pretrained(out)
    CasanovoFeatureExtractor(config.version, max_charge=config.max_charge).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def rename_casanovo(weights: dict[str, Tensor], path: str = "checkpoint") -> dict[str, Tensor]:
    """Published names to ours; splits the packed attention matrices, keeps one of the two equal lists of wavelengths.

    Raises:
        ValueError: the wavelengths of sines and cosines differ.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        module, _, kind = name.rpartition(".")
        if kind == "cos_term":
            if not torch.equal(tensor, weights[f"{module}.sin_term"]):
                raise ValueError(f"{path}: {name!r} differs from its sin_term; odd sizes are not supported")
        elif kind == "sin_term":
            renamed[f"{_PARTS.get(module, module)}.terms"] = tensor
        elif ".layers." in name:
            renamed.update(_rename_layer(name, tensor))
        elif name in _PARTS:
            renamed[_PARTS[name]] = tensor
        else:
            renamed[f"{_PARTS.get(module, module)}.{kind}"] = tensor
    return renamed


def _rename_layer(name: str, tensor: Tensor) -> dict[str, Tensor]:
    side, _, rest = name.partition(".")
    number, _, inner = rest.partition(".layers.")[2].partition(".")
    prefix = f"{'model' if side == 'encoder' else side}.layers.{number}"
    module, _, kind = inner.rpartition(".")
    if kind.startswith("in_proj_"):
        ours = "attention" if module == "self_attn" else "cross_attention"
        parts = zip("qkv", tensor.chunk(3), strict=True)
        return {
            f"{prefix}.{ours}.{letter}_proj.{kind.removeprefix('in_proj_')}": part.contiguous()
            for letter, part in parts
        }
    ours = _LAYER.get(module) or _NORMS.get(side, {}).get(module) or module
    return {f"{prefix}.{ours}.{kind}": tensor}


def _version(weights: dict[str, Tensor], path: str) -> str:
    needed = ("encoder.latent_spectrum", "decoder.charge_encoder.weight", "decoder.final.weight")
    missing = [name for name in needed if name not in weights]
    if missing:
        raise ValueError(f"{path}: not a Casanovo checkpoint, it lacks {', '.join(missing)}")
    if "decoder.aa_encoder.weight" in weights and "encoder.peak_encoder.int_encoder.weight" in weights:
        return "4"
    if "decoder.token_encoder.weight" in weights and "encoder.peak_encoder.combiner.weight" in weights:
        return "5"
    raise ValueError(f"{path}: neither the architecture of casanovo 4.x nor that of 5.x")


def _tokenizer(weights: dict[str, Tensor], hyper: dict[str, Any], path: str) -> PeptideTokenizer:
    """The vocabulary from the file, in the order of its ids; the published one where the file does not say."""
    version = _version(weights, path)
    residues = published_residues(version)
    stated = hyper.get("residues")
    stub = hyper.get("tokenizer")
    if version == "5" and isinstance(stub, Stub) and isinstance(stub.state, dict):
        state = stub.state
        if not state.get("reverse", True) or state.get("start_token") is not None:
            raise ValueError(
                f"{path}: writes peptides from the N-terminus or with a start token; that is not supported"
            )
        masses = state.get("residues")
        order = state.get("reverse_index")
        if isinstance(masses, dict) and isinstance(order, list):
            residues = {str(token): float(masses.get(token, 0.0)) for token in order[1:]}
    elif version == "4" and isinstance(stated, dict):
        residues = {str(token): float(mass) for token, mass in stated.items()} | {STOP: 0.0}
    tokenizer = PeptideTokenizer(version=version, residues=residues)
    rows = weights["decoder.final.weight"].shape[0]
    if tokenizer.vocab_size != rows:
        raise ValueError(
            f"{path}: {rows} tokens in its weights, {tokenizer.vocab_size} in its vocabulary (residues)"
        )
    return tokenizer


def _infer_config(
    weights: dict[str, Tensor],
    hyper: dict[str, Any],
    tokenizer: PeptideTokenizer,
    path: str,
    n_heads: int | None,
) -> CasanovoConfig:
    """Sizes from the tensors; what no tensor shows from `hyper_parameters`, else the published values."""
    if hyper.get("dim_intensity") is not None:
        raise ValueError(
            f"{path}: trained with dim_intensity={hyper['dim_intensity']}; only None is supported"
        )
    sizes = {
        side: sum(name.startswith(f"{side}.") and name.endswith(".linear1.bias") for name in weights)
        for side in ("encoder", "decoder")
    }
    if sizes["encoder"] != sizes["decoder"] or not sizes["encoder"]:
        raise ValueError(f"{path}: {sizes['encoder']} encoder and {sizes['decoder']} decoder layers")
    options: dict[str, Any] = {}
    for theirs, ours in _OPTIONS.items():
        if hyper.get(theirs) is not None:
            options |= dict.fromkeys(ours, hyper[theirs])
    if tokenizer.version == "4":
        options["precursor_tolerance"] = float(hyper.get("precursor_mass_tol", 50.0))
        options["isotopes"] = list(hyper.get("isotope_error_range", (0, 1)))
    return CasanovoConfig(
        version=tokenizer.version,
        hidden_size=weights["encoder.latent_spectrum"].shape[-1],
        num_hidden_layers=sizes["encoder"],
        num_attention_heads=n_heads or hyper.get("n_head") or 8,
        intermediate_size=weights["encoder.transformer_encoder.layers.0.linear1.bias"].shape[0],
        vocab_size=tokenizer.vocab_size,
        max_charge=weights["decoder.charge_encoder.weight"].shape[0],
        eos_token_id=tokenizer.eos_token_id,
        n_terminal_token_ids=tokenizer.n_terminal_token_ids,
        residue_masses=tokenizer.masses.tolist(),
        **options,
    )
