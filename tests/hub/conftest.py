"""The fixture `hub`: a server on loopback, and every client of this process told to use it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets.config
import huggingface_hub
import huggingface_hub.hf_api
import pytest
import transformers.utils.hub
from hub.folders import save_encoder
from hub.server import HubServer
from hub.store import ALICE
from huggingface_hub import HfFileSystem, constants


def environment(url: str, home: Path, **more: str) -> dict[str, str]:
    """What a user would export to work with a Hub at `url` and a home of its own."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    own = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": ALICE}
    return {**inherited, **own, "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", **more}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A fresh Hub; Alice is logged in. The libraries read their settings at import, so each copy of one is replaced."""
    home = tmp_path / "hf"
    with HubServer(tmp_path / "blobs") as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        settings = {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
            "AGENT_HARNESSES_PATH": str(home / ".agent_harnesses.json"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_OFFLINE": False,
        }
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", server.url)
        monkeypatch.setattr(transformers.utils.hub, "_hf_api", None, raising=False)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
        monkeypatch.setattr(
            datasets.config,
            "HUB_DATASETS_URL",
            f"{server.url}/datasets/{{repo_id}}/resolve/{{revision}}/{{path}}",
        )
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", ALICE)
        HfFileSystem.clear_instance_cache()
        yield server
        HfFileSystem.clear_instance_cache()


@pytest.fixture
def python(hub: HubServer, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code, or a module's command line, in a process of its own as Alice, `more` in its environment."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        env = environment(hub.url, tmp_path / "hf", **more)
        return subprocess.run(
            command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False
        )

    return run


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A folder with a tiny spectrum encoder, its feature extractor and a card."""
    return save_encoder(tmp_path / "encoder")
