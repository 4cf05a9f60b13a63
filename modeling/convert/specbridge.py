"""Public SpecBridge checkpoints (`ckpt_XXXXXX.pt`) to a folder for `from_pretrained`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, RobertaConfig

from ...tokenization.spectrum import SpectrumFeatureExtractor
from ..dreams import DreamsConfig
from ..specbridge import SpecBridgeConfig, SpecBridgeModel
from .checkpoint import load_exactly, read_checkpoint, state_dict_of
from .dreams import _infer_config, rename_dreams

logger = logging.getLogger(__name__)

SPECTRUM, PROJECTION, MAPPER, MOLECULE = "spec.dreams.", "spec.proj.", "mapB.", "chem_mdl."
UNUSED = ("chem_proj.", "contrast.", "spec.dreams.ff_out.", "spec.dreams.ro_out.", "spec.dreams.head.")
"""In the file, but not in the function it computes: contrastive baseline and DreaMS's own heads."""

_PROJECTION_NAMES = {"0.0": "fc1", "0.2": "fc2", "1": "norm"}


def convert_specbridge(
    ckpt: str | Path,
    out_dir: str | Path,
    molecule: str | Path | None = None,
    num_attention_heads: int | None = None,
    molecule_attention_heads: int = 12,
) -> Path:
    """Convert a checkpoint ``{model, opt, step, args}``; depth and widths are read from its keys, never from `args`.

    Writes config.json, model.safetensors and preprocessor_config.json (raw peaks, no precursor, as the public code
    feeds them), and the tokenizer if `molecule` is given. Nothing in the checkpoint is executed.

    Args:
        ckpt: the .pt file.
        out_dir: folder to write, made if missing.
        molecule: folder or Hub name of the molecule encoder the run used (ChemBERTa): the source of its
            configuration and tokenizer, which the checkpoint does not hold.
        num_attention_heads: of DreaMS, which the file does not say; None: 8 at the published width, else 4.
        molecule_attention_heads: of the molecule encoder when `molecule` is not given.

    Returns:
        `out_dir` as a path.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: not a SpecBridge checkpoint; says what is missing or does not fit.
    """
    path, out = str(ckpt), Path(out_dir)
    weights = state_dict_of(read_checkpoint(ckpt), ckpt, key="model")
    dropped = sorted(name for name in weights if name.startswith(UNUSED))
    weights = {name: tensor for name, tensor in weights.items() if name not in set(dropped)}
    _require(weights, path)
    encoder_config = _molecule_config(weights, molecule, molecule_attention_heads, path)
    spectrum = _without(weights, SPECTRUM)
    config = SpecBridgeConfig(
        spectrum_config=_dreams_config(spectrum, path, num_attention_heads),
        molecule_config=encoder_config,
        projection_hidden=weights["spec.proj.0.0.weight"].shape[0],
        projection_dim=weights["spec.proj.0.2.weight"].shape[0],
        projection_norm="spec.proj.1.weight" in weights,
        mapper_hidden=_mapper_width(weights),
        n_blocks=_count(weights, "mapB.blocks."),
    )
    with torch.device("meta"):
        model = SpecBridgeModel(config)
    load_exactly(model, dict(_renamed(weights)), path)
    if dropped:
        logger.info("%s: left out %d unused tensors (%s, …)", path, len(dropped), dropped[0])
    model.save_pretrained(out)
    SpectrumFeatureExtractor().save_pretrained(out)
    if molecule is not None:
        AutoTokenizer.from_pretrained(molecule).save_pretrained(out)
    else:
        logger.warning(
            "%s: no tokenizer written, %d molecule heads assumed; give molecule=",
            path,
            molecule_attention_heads,
        )
    return out


def _require(weights: dict[str, Tensor], path: str) -> None:
    needed = (
        *("spec.dreams.fourier_enc.b", "spec.proj.0.0.weight", "spec.proj.0.2.weight", "mapB.W.weight"),
        *("chem_mdl.embeddings.word_embeddings.weight", "chem_mdl.embeddings.position_embeddings.weight"),
    )
    bare = {name.replace(".backbone.", ".") for name in weights}
    missing = [name for name in needed if name not in bare]
    if missing:
        raise ValueError(f"{path}: not a SpecBridge checkpoint, it lacks {', '.join(missing)}")


def _without(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _count(weights: dict[str, Tensor], prefix: str) -> int:
    """How many numbered modules there are below `prefix`."""
    return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})


def _mapper_width(weights: dict[str, Tensor]) -> int:
    block = weights.get("mapB.blocks.0.fc1.weight")
    return int(block.shape[0]) if block is not None else 2048


def _dreams_config(spectrum: dict[str, Tensor], path: str, n_heads: int | None) -> DreamsConfig:
    # the inference reads the width of a head that SpecBridge does not have; only its shape matters
    head = torch.empty(DreamsConfig().num_mz_bins, 1, device="meta")
    return _infer_config({**spectrum, "ff_out.ff.0.weight": head}, {}, path, 100, n_heads)


def _molecule_config(
    weights: dict[str, Tensor], molecule: str | Path | None, n_heads: int, path: str
) -> RobertaConfig:
    """The molecule encoder's own configuration if it is at hand, else RoBERTa's with sizes from the tensors."""
    found = _without(weights, MOLECULE)
    words = found["embeddings.word_embeddings.weight"]
    sizes = {
        "vocab_size": words.shape[0],
        "hidden_size": words.shape[1],
        "max_position_embeddings": found["embeddings.position_embeddings.weight"].shape[0],
        "type_vocab_size": found["embeddings.token_type_embeddings.weight"].shape[0],
        "num_hidden_layers": _count(found, "encoder.layer."),
        "intermediate_size": found["encoder.layer.0.intermediate.dense.weight"].shape[0],
    }
    if molecule is None:
        if words.shape[1] % n_heads:
            raise ValueError(
                f"{path}: {words.shape[1]} dimensions do not split into {n_heads} heads; give molecule="
            )
        return RobertaConfig(**sizes, num_attention_heads=n_heads)
    config = AutoConfig.from_pretrained(molecule)
    for name, value in sizes.items():
        if getattr(config, name, None) != value:
            raise ValueError(
                f"{path}: its molecule encoder has {name} {value}, {molecule} has {getattr(config, name, None)}"
            )
    return config


def _renamed(weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Published names to ours."""
    for name, tensor in rename_dreams(_without(weights, SPECTRUM)).items():
        yield f"spectrum_encoder.{name.removeprefix('model.')}", tensor
    for name, tensor in _without(weights, PROJECTION).items():
        module, _, kind = name.rpartition(".")
        yield f"projection.{_PROJECTION_NAMES.get(module, module)}.{kind}", tensor
    for name, tensor in _without(weights, MAPPER).items():
        yield f"mapper.{name}", tensor
    for name, tensor in _without(weights, MOLECULE).items():
        # constants that older transformers stored
        if name not in ("embeddings.position_ids", "embeddings.token_type_ids"):
            yield f"molecule_encoder.{name}", tensor
    known = (SPECTRUM, PROJECTION, MAPPER, MOLECULE)
    yield from ((name, tensor) for name, tensor in weights.items() if not name.startswith(known))
