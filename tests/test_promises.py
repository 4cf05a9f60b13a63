"""A model that is registered is tested and carded; a module that is installed is known to some test."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from house import ROOT, imports, module_name, package_files, python_files, tree
from readme import shipped_checkpoints

import msformers

MODELS = sorted(msformers.MODELS)


def model_types(config: Any) -> set[str]:
    """Every `model_type` in a config.json, those of its parts too."""
    if not isinstance(config, dict):
        return set()
    own = {config["model_type"]} if "model_type" in config else set()
    return own.union(*(model_types(value) for value in config.values()))


@pytest.mark.parametrize("name", MODELS)
def test_a_registered_model_has_its_test(name: str) -> None:
    """A class in tests/modeling that inherits the contract and names this model."""
    found = [
        path
        for path in python_files("tests/modeling")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith("ModelContract") for base in node.bases)
        and any(isinstance(n, ast.Constant) and n.value == name for n in ast.walk(node))
    ]
    assert found, f'no class ...(ModelContract) with name = "{name}" in tests/modeling'


@pytest.mark.parametrize("name", MODELS)
def test_a_registered_model_is_carded(name: str) -> None:
    """A folder of hub_cards is its card (how to get or train it), or a shipped checkpoint holds it as a part."""
    if (ROOT / "hub_cards" / name / "README.md").is_file():
        return
    configs = [json.loads((folder / "config.json").read_text("utf-8")) for folder in shipped_checkpoints()]
    assert msformers.MODELS[name].model_type in set().union(*(model_types(config) for config in configs))


@pytest.mark.parametrize("folder", shipped_checkpoints(), ids=lambda path: path.name)
def test_a_checkpoint_is_a_complete_and_safe_hub_repository(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"README.md", "config.json", "model.safetensors"} <= names
    assert names & {"preprocessor_config.json", "tokenizer.json"}, "nothing says how its input is prepared"
    assert [n for n in names if n.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".py", ".npy"))] == []
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert "auto_map" not in config
    assert not re.search(r"/tmp|_name_or_path", (folder / "config.json").read_text("utf-8")), (
        "names a local path"
    )


@pytest.mark.parametrize("folder", shipped_checkpoints(), ids=lambda path: path.name)
def test_a_card_states_licence_data_and_limits(folder: Path) -> None:
    card = (folder / "README.md").read_text("utf-8")
    assert card.startswith("---\n")
    head = card.split("---\n")[1]
    for key in ("license:", "library_name:", "pipeline_tag:", "tags:"):
        assert f"\n{key}" in f"\n{head}", f"{folder.name}/README.md: no {key} in its head"
    for word in ("limit", "licen", "train", "msformers"):
        assert word in card.lower(), f"{folder.name}/README.md says nothing of {word!r}"


def named(path: Path) -> set[str]:
    """What a file imports, and what it may import by text: `"spectra.dataset"`, `f".command_{name}"`."""
    texts = {
        n.value for n in ast.walk(tree(path)) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }
    by_text = {
        f"msformers.{text.removeprefix('.')}" for text in texts if re.fullmatch(r"\.?[a-z_]+[\w.]*", text)
    }
    return {target for _, target in imports(path)} | by_text


def test_every_module_is_known_to_some_test() -> None:
    """Imported by a test, or by a module that a test imports, at any remove; the console script's entry counts."""
    ours = {module_name(path): path for path in package_files()}
    fresh = {"msformers", "msformers_cli"}.union(*(named(path) for path in python_files("tests")))
    reached: set[str] = set()
    while fresh:
        known = {
            n
            for n in ours
            for t in fresh
            if t == n or t.startswith(f"{n}.") or (t[-1] == "_" and n.startswith(t))
        }
        fresh = set().union(*(named(ours[name]) for name in known - reached))
        reached |= known
    unknown = sorted(set(ours) - reached)
    assert not unknown, "no test leads to " + ", ".join(unknown)


def test_a_test_folder_mirrors_each_folder_of_the_package() -> None:
    for folder in ("spectra", "tokenization", "modeling", "inference", "metrics", "reports"):
        known = {path.stem for path in python_files(folder)}
        tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / folder).rglob("test_*.py")}
        assert known & tested, f"no file of tests/{folder} is named after a file of {folder}"
