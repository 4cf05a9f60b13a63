"""From the Hub once, then without it: the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hub.folders import CARD, save_encoder
from hub.server import HubServer
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import OfflineModeIsEnabled

from msformers.cli import main
from msformers.publish import push_to_hub

# what a user runs: a pipeline at a tag, a pipeline with two models in it, the command; written to two files
SCRIPT = """
import json, sys
import msformers
from msformers.cli import main
from transformers import pipeline

spectrum = {"mz": [100.1, 150.2, 200.3], "intensity": [0.2, 1.0, 0.5], "precursor_mz": 95.0491}
answer = {"embedding": pipeline("spectrum-embedding", model="alice/encoder", revision="v1")(spectrum)}
find = pipeline("molecule-retrieval", model="alice/retrieval", candidates=["CCO", "CC(=O)O", "c1ccccc1O"])
answer["hits"] = [(hit["smiles"], hit["score"]) for hit in find(spectrum)]
answer["status"] = main(["embed", "demo", "--model", "alice/encoder", "-o", sys.argv[1], "-q"])
json.dump(answer, open(sys.argv[2], "w"))
"""


@pytest.fixture
def published(hub: HubServer, tiny_specbridge: Path, encoder: Path) -> HubServer:
    """A Hub with alice/encoder, tagged v1, and alice/retrieval."""
    push_to_hub(encoder, "alice/encoder")
    HfApi().create_tag("alice/encoder", tag="v1")
    card = tiny_specbridge / "README.md"
    card.write_text(CARD)
    push_to_hub(tiny_specbridge, "alice/retrieval")
    card.unlink()
    return hub


def check(folder: Path) -> None:
    """The answers of both runs are there and equal."""
    online, offline = (json.loads((folder / f"{name}.json").read_text()) for name in ("online", "offline"))
    assert online == offline and online["status"] == 0
    assert [smiles for smiles, _ in online["hits"]] == ["Oc1ccccc1"]
    tables = [pq.read_table(folder / f"{name}.parquet") for name in ("online", "offline")]
    assert tables[0].equals(tables[1]) and tables[0].num_rows > 0


def test_the_same_answers_without_the_hub(
    published: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("online", "offline"):
        arguments = [str(tmp_path / f"{name}.{kind}") for kind in ("parquet", "json")]
        monkeypatch.setattr("sys.argv", ["script", *arguments])
        exec(SCRIPT, {})
        published.stop()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check(tmp_path)
    with pytest.raises(OfflineModeIsEnabled):
        HfApi().model_info("alice/encoder")


def test_a_name_that_is_not_in_the_cache_is_told_offline(
    published: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    output = tmp_path / "out.parquet"
    assert main(["embed", "demo", "--model", "alice/encoder", "-o", str(output)]) == 2
    assert "alice/encoder: is no checkpoint" in capsys.readouterr().err and not output.exists()


@pytest.mark.slow
def test_the_same_answers_by_the_environment_alone(published: HubServer, python: Any, tmp_path: Path) -> None:
    """Processes of their own, set up as users do it; offline there is not even an address of the Hub."""
    for name in ("online", "offline"):
        arguments = [str(tmp_path / f"{name}.{kind}") for kind in ("parquet", "json")]
        more = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"} if name == "offline" else {}
        seen = len(published.log)
        done = python("-c", SCRIPT, *arguments, **more)
        assert done.returncode == 0, done.stderr
        assert (len(published.log) > seen) == (name == "online")
    check(tmp_path)


@pytest.mark.slow
def test_a_push_that_is_killed_goes_on(hub: HubServer, python: Any, tmp_path: Path) -> None:
    """The process dies amid the large files; another one sends only what is missing."""
    import torch
    from safetensors.torch import save_file

    folder = save_encoder(tmp_path / "encoder")
    for number in range(3):
        save_file({"weight": torch.full((100 + number,), 1.0)}, folder / f"part-{number}.safetensors")
    script = """
import os, signal, sys
import huggingface_hub.hf_api as api
from msformers.publish import push_to_hub

send, left = api.HfApi.preupload_lfs_files, [2]
def dying(*arguments, **options):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return send(*arguments, **options)

api.HfApi.preupload_lfs_files = dying
push_to_hub(sys.argv[1], "alice/encoder")
"""
    assert python("-c", script, str(folder)).returncode == -9
    assert len(hub.calls("PUT", "/_lfs/")) == 1
    assert len(push_to_hub(folder, "alice/encoder").sent) == len(list(folder.iterdir())) - 1
    sent = hub.calls("PUT", "/_lfs/")
    assert len(sent) == len(set(sent)) == 4
