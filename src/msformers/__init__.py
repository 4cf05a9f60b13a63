"""msformers: mass-spectrometry foundation models in the Hugging Face ecosystem.

Importing the package registers every model, feature extractor and pipeline with transformers, so that
`AutoModel.from_pretrained` and `pipeline(...)` know them. The one exception is the `msformers` command when it is
only asked for help: see `msformers_cli.py`.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from typing import Any

__version__ = "0.1.0"

# public name -> module that holds it, loaded on first use
_PUBLIC = {
    "Spectrum": "spectra.spectrum",
    "Problem": "spectra.spectrum",
    "read": "spectra.read",
    "load_spectra": "spectra.dataset",
    "resolve_checkpoint": "checkpoints",
    "pipeline": "checkpoints",
    "MODELS": "modeling.registry",
    "AutoModelForSpectrumEmbedding": "modeling.auto",
    "AutoModelForSpectrumPreTraining": "modeling.auto",
    "AutoModelForMolecularFingerprint": "modeling.auto",
    "AutoModelForMolecularPropertyPrediction": "modeling.auto",
    "AutoModelForMoleculeGeneration": "modeling.auto",
    "AutoModelForMoleculeRetrieval": "modeling.auto",
    "AutoModelForPeptideSequencing": "modeling.auto",
    "AutoModelForSpectrumClassification": "modeling.auto",
    "AutoModelForSpectrumSimilarity": "modeling.auto",
}

__all__ = ["__version__", "register", *_PUBLIC]


def register() -> None:
    """Import every `modeling/*.py` and enter what they registered into the Auto classes; safe to call twice."""
    from . import modeling
    from .modeling.auto import register_entry
    from .modeling.registry import MODELS

    for module in pkgutil.iter_modules(modeling.__path__):
        if not module.ispkg:
            importlib.import_module(f"{modeling.__name__}.{module.name}")
    for entry in MODELS.values():
        parts = (_locate(name) if name else None for name in (entry.extractor, entry.tokenizer))
        register_entry(entry, *parts)
    if importlib.util.find_spec(f"{__name__}.inference.pipelines"):
        importlib.import_module(f"{__name__}.inference.pipelines")


def _locate(reference: str) -> Any:
    """The object that "package.module:Name" names inside msformers."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _locate(f"{_PUBLIC[name]}:{name}")


def __dir__() -> list[str]:
    return sorted(__all__)


if not getattr(sys.modules.get("msformers_cli"), "LIGHT", False):
    register()
