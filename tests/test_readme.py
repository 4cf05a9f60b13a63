"""Everything the README says to type is typed here, in an empty folder and without a network."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from house import ROOT, setup_cfg
from readme import README, Block, blocks, with_tables

NO_NETWORK = """
import socket

_connect = socket.socket.connect


def connect(self, address):
    if self.family != getattr(socket, "AF_UNIX", None):
        raise OSError(f"the README must work offline, but something connects to {address}")
    return _connect(self, address)


def resolve(host, *rest, **options):
    raise OSError(f"the README must work offline, but something looks up {host}")


socket.socket.connect = connect
socket.getaddrinfo = resolve
"""

INSTALLING = re.compile(r"^pip install \S.*? && ")

# What a reader has and we must not ship stands in the shared reference data: name in the README -> path there.
FOREIGN = {
    "embedding_model.ckpt": "golden/dreams_embedding_tiny.ckpt",
    "casanovo.ckpt": "golden/casanovo_v5_tiny.ckpt",
    "../shared/data": "data",
}


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README's reader has: the scripts of a clone, a spectrum file, a list of molecules."""
    folder = tmp_path_factory.mktemp("tour") / "clone"
    folder.mkdir()
    (folder / "training_scripts").symlink_to(ROOT / "training_scripts")
    demo = ROOT / "src" / "msformers" / "demo"
    shutil.copy(demo / "demo.mgf", folder / "run.mgf")
    with (demo / "starter_molecules.csv").open(encoding="utf-8", newline="") as handle:
        rows = [f"{row['smiles']}\t{row['name']}\n" for row in csv.DictReader(handle)]
    (folder / "my_molecules.smi").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """This Python first on the path, no network (a `sitecustomize` forbids sockets), no caches of the user."""
    home = tmp_path_factory.mktemp("home")
    (home / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    return {
        **kept,
        "PATH": path,
        "PYTHONPATH": str(home),
        "HF_HOME": str(home / "hf"),
        "OMP_NUM_THREADS": "1",
    }


def as_parameter(block: Block) -> Any:
    """Named by its line; the training tour is slow, and tests/training_scripts runs the same scripts."""
    slow = pytest.mark.slow if "training_scripts/" in block.code else ()
    return pytest.param(block, id=f"line{block.line}", marks=slow)


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_the_network_really_is_blocked(tmp_path: Path, environment: dict[str, str]) -> None:
    code = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "the README must work offline" in done.stderr


def test_python_blocks_run(tour: Path, environment: dict[str, str]) -> None:
    """All in one process, each in a fresh namespace; a traceback shows the README's own line."""
    script = tour / "tour.py"
    padded = [("\n" * (block.line - 1) + block.code) for block in blocks("python")]
    assert len(padded) >= 3
    script.write_text(
        f"for code in {padded!r}:\n    exec(compile(code, 'README.md', 'exec'), {{}})\n", encoding="utf-8"
    )
    run([sys.executable, str(script)], tour, environment)


@pytest.mark.parametrize("block", [as_parameter(block) for block in blocks("bash")])
def test_bash_block_runs(
    block: Block, tour: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    command = INSTALLING.sub("", block.code)
    if command.startswith("pytest"):
        pytest.skip("this is the test run; .ci/run starts it from nothing")
    for needed in re.findall(r"needs: (\S+)", block.comment):
        bring(needed, tour, request)
    run(["bash", "-euo", "pipefail", "-c", command], tour, environment)
    for output in re.findall(r"-o (\S+)", command):
        written = tour / output
        assert written.is_dir() or written.stat().st_size > 0


def bring(name: str, tour: Path, request: pytest.FixtureRequest) -> None:
    """Put a file the README names where the README has it; skips where there is no shared data."""
    place = tour / name
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(request.getfixturevalue("shared") / FOREIGN[name])


def test_ci_runs_the_two_commands_as_printed() -> None:
    marked = {block.comment: block.code for block in blocks("bash") if block.comment.startswith("command: ")}
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert set(marked) == {"command: run", "command: test"}
    for comment, code in marked.items():
        name = comment.removeprefix("command: ")
        assert f"command=$(readme_command {name})" in script
        assert len(code.strip().splitlines()) == 1
        assert INSTALLING.match(code)
    installing = [block for block in blocks("bash") if "pip install" in block.code]
    assert [block.comment for block in installing] == list(marked)


def test_pre_commit_runs_what_ci_runs() -> None:
    entries = re.findall(r"entry: (.+)", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert entries == [".ci/lint ruff", ".ci/lint format", ".ci/lint mypy"]
    lint = (ROOT / ".ci" / "lint").read_text(encoding="utf-8")
    assert all(f"$step == {entry.split()[1]} ]]" in lint for entry in entries)
    assert re.search(r"^\.ci/lint$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)


def test_extras_named_in_texts_exist() -> None:
    extras = set(setup_cfg()["options.extras_require"])
    texts = [README, ROOT / "CONTRIBUTING.md", *(ROOT / "hub_cards").glob("*/README.md")]
    named = re.findall(
        r"pip install [^\n`]*\[([\w,]+)\]", "".join(text.read_text(encoding="utf-8") for text in texts)
    )
    assert named
    assert {extra for group in named for extra in group.split(",")} <= extras


def test_tables_of_models_and_checkpoints_are_current() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == with_tables(text), "bring the tables up to date: python tests/readme.py"


def test_local_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)\s]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
