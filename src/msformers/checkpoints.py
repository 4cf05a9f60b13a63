"""Names of checkpoints: a path, a folder shipped with the package, or an id on the Hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

DEFAULT_RETRIEVAL = "specbridge-small"
DEFAULT_GENERATION = "denovo-small"
OWNER = "msformers/"
# None: we ship no weights for the task
DEFAULTS: dict[str, str | None] = {
    "spectrum-embedding": DEFAULT_RETRIEVAL,
    "molecule-retrieval": DEFAULT_RETRIEVAL,
    "molecule-generation": DEFAULT_GENERATION,
    "molecular-property-prediction": "lsm1-small",
    "molecular-fingerprint": "nexamass-small",
    "spectrum-classification": None,
    "peptide-sequencing": None,
}


@dataclass(frozen=True, slots=True)
class Shipped:
    """A checkpoint in the package: name, folder, model type, size in bytes, first sentence of its card."""

    name: str
    path: Path
    model_type: str
    size: int
    summary: str


def resolve_checkpoint(name: str | Path) -> str:
    """What to hand to `from_pretrained` for a checkpoint called `name`.

    An existing path is itself; the name of a shipped checkpoint ("specbridge-small", "msformers/specbridge-small") is
    its folder; anything else is left as it is, an id that the local Hub cache or the Hub may know.
    """
    text = str(name)
    if Path(text).exists():
        return text
    shipped = {checkpoint.name: checkpoint for checkpoint in list_shipped()}
    found = shipped.get(text.removeprefix(OWNER))
    return str(found.path) if found else text


def list_shipped() -> list[Shipped]:
    """The checkpoints in `hub_cards`, by name."""
    root = Path(str(files("msformers.hub_cards")))
    return [_describe(config.parent) for config in sorted(root.glob("*/config.json"))]


def pipeline(task: str, model: str | Path | Any = None, **kwargs: Any) -> Any:
    """`transformers.pipeline`, with shipped checkpoints known by name.

    Args:
        task: one of `DEFAULTS`, or any task of transformers.
        model: checkpoint name, folder, Hub id, or a model; by default the shipped one for the task.
        kwargs: passed on; a `reranker` may also be the name of a checkpoint. Generated molecules are re-ranked by the shipped
            retrieval model, as on the command line; `reranker=None` or `rerank="mass"` go without.

    Raises:
        ValueError: no model is given, and none is shipped for the task.
    """
    from transformers import pipeline as make

    if model is None and task in DEFAULTS:
        model = DEFAULTS[task]
        if model is None:
            raise ValueError(f"no checkpoint for {task} is shipped; give one: model=<folder or Hub id>")
    if task == "molecule-generation" and kwargs.get("rerank", "auto") in ("auto", "learned"):
        shipped = {checkpoint.name for checkpoint in list_shipped()}
        kwargs = {"reranker": DEFAULT_RETRIEVAL if DEFAULT_RETRIEVAL in shipped else None} | kwargs
    if isinstance(kwargs.get("reranker"), str | Path):
        kwargs["reranker"] = resolve_checkpoint(kwargs["reranker"])
    return make(task, model=resolve_checkpoint(model) if isinstance(model, str | Path) else model, **kwargs)


def _describe(folder: Path) -> Shipped:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Shipped(
        folder.name, folder, str(config.get("model_type", "")), size, _summary(folder / "README.md")
    )


def _summary(card: Path) -> str:
    """The first paragraph of a model card after its YAML head and title, as one line."""
    if not card.is_file():
        return ""
    text = card.read_text(encoding="utf-8")
    body = text.split("\n---", 1)[-1] if text.startswith("---") else text
    for paragraph in body.split("\n\n"):
        line = " ".join(paragraph.split()).lstrip("- ")
        if line and not line.startswith(("#", "<", "|", "`")):
            return line
    return ""
