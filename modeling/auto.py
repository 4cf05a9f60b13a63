"""The house's own Auto classes, and how a registry entry enters them and those of transformers."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import transformers
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoTokenizer
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from .registry import ModelEntry


def _mapping() -> Any:
    # an OrderedDict and not a dict: the mapping sets an attribute on it
    return _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


class AutoModelForSpectrumEmbedding(_BaseAutoModelClass):
    """Models whose output carries `embeddings` (batch, d) of spectra."""

    _model_mapping = _mapping()


class AutoModelForSpectrumPreTraining(_BaseAutoModelClass):
    """Self-supervised spectrum models, with their pre-training heads."""

    _model_mapping = _mapping()


class AutoModelForMoleculeRetrieval(_BaseAutoModelClass):
    """Models that place spectra and molecules in one space: `get_spectrum_features`, `get_molecule_features`."""

    _model_mapping = _mapping()


class AutoModelForMolecularPropertyPrediction(_BaseAutoModelClass):
    """Models that predict molecular descriptors from spectra: output `properties` (batch, n) in the descriptors' units."""

    _model_mapping = _mapping()


class AutoModelForMolecularFingerprint(_BaseAutoModelClass):
    """Models that predict the bits of a molecular fingerprint from spectra."""

    _model_mapping = _mapping()


class AutoModelForSpectrumSimilarity(_BaseAutoModelClass):
    """Models whose cosine of two spectra's `embeddings` estimates the Tanimoto similarity of their molecules."""

    _model_mapping = _mapping()


class AutoModelForPeptideSequencing(_BaseAutoModelClass):
    """Models that read peptides off spectra: `generate` gives token ids and scores."""

    _model_mapping = _mapping()


class AutoModelForSpectrumClassification(_BaseAutoModelClass):
    """Models with a classification head on a spectrum's vector."""

    _model_mapping = _mapping()


class AutoModelForMoleculeGeneration(_BaseAutoModelClass):
    """Models that write molecules for spectra: `generate` gives token ids of SELFIES."""

    _model_mapping = _mapping()


AUTO_CLASSES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        AutoModelForSpectrumEmbedding,
        AutoModelForSpectrumPreTraining,
        AutoModelForMoleculeRetrieval,
        AutoModelForMolecularPropertyPrediction,
        AutoModelForMolecularFingerprint,
        AutoModelForSpectrumSimilarity,
        AutoModelForPeptideSequencing,
        AutoModelForSpectrumClassification,
        AutoModelForMoleculeGeneration,
    )
}


def auto_class(name: str) -> Any:
    """The Auto class called `name`, ours or one of transformers.

    Raises:
        KeyError: neither has it.
    """
    found = AUTO_CLASSES.get(name) or getattr(transformers, name, None)
    if found is None:
        raise KeyError(f"no Auto class {name!r}; ours are {', '.join(AUTO_CLASSES)}")
    return found


def register_entry(
    entry: ModelEntry, extractor_class: type | None = None, tokenizer_class: type | None = None
) -> None:
    """Make `entry` loadable by AutoConfig, AutoModel, its heads' Auto classes, AutoFeatureExtractor and AutoTokenizer."""
    AutoConfig.register(entry.model_type, entry.config_class, exist_ok=True)
    AutoModel.register(entry.config_class, entry.model_class, exist_ok=True)
    for name, head in entry.heads.items():
        # exist_ok: without it own Auto classes skip an existing config silently
        auto_class(name).register(entry.config_class, head, exist_ok=True)
    if extractor_class is not None:
        AutoFeatureExtractor.register(entry.config_class, extractor_class, exist_ok=True)
    if tokenizer_class is not None:
        AutoTokenizer.register(entry.config_class, tokenizer_class=tokenizer_class, exist_ok=True)
