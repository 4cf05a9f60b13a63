from __future__ import annotations

import json
from pathlib import Path

import pytest

from msformers import checkpoints
from msformers.checkpoints import list_shipped, resolve_checkpoint

CARD = """---
license: apache-2.0
---

# specbridge-test

A first
sentence.

More.
"""


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cards" / "specbridge-test"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "specbridge"}))
    (folder / "README.md").write_text(CARD)
    (tmp_path / "cards" / "no-model").mkdir()
    monkeypatch.setattr(checkpoints, "files", lambda _: tmp_path / "cards")
    return folder


def test_shipped_checkpoints_by_short_and_full_name(shipped: Path) -> None:
    assert resolve_checkpoint("specbridge-test") == str(shipped)
    assert resolve_checkpoint("msformers/specbridge-test") == str(shipped)
    [found] = list_shipped()
    assert (found.name, found.model_type, found.summary) == (
        "specbridge-test",
        "specbridge",
        "A first sentence.",
    )
    assert found.size == sum(path.stat().st_size for path in shipped.iterdir())


def test_a_path_is_a_path_and_other_names_stay_hub_ids(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve_checkpoint("someone/model") == "someone/model"
    assert resolve_checkpoint(tmp_path) == str(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specbridge-test").mkdir()
    assert resolve_checkpoint("specbridge-test") == "specbridge-test"


def test_what_is_really_shipped_is_complete() -> None:
    for checkpoint in list_shipped():
        assert checkpoint.model_type and checkpoint.summary
        assert (checkpoint.path / "model.safetensors").is_file()
        assert resolve_checkpoint(checkpoint.name) == str(checkpoint.path)


def test_pipeline_by_name(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    asked = []
    monkeypatch.setattr(transformers, "pipeline", lambda task, **options: asked.append((task, options)))
    checkpoints.pipeline("molecule-retrieval", "specbridge-test", candidates="x")
    checkpoints.pipeline("molecule-retrieval", model=(model := object()))
    assert asked == [
        ("molecule-retrieval", {"model": str(shipped), "candidates": "x"}),
        ("molecule-retrieval", {"model": model}),
    ]
