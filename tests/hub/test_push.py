"""`push_to_hub` and `msformers push` against the Hub of the tests."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hub.folders import CARD, embed, save_adapter, save_encoder
from hub.server import Fault, HubServer
from hub.store import ALICE, BOB, STRANGER
from huggingface_hub import CommitOperationAdd, HfApi
from safetensors.torch import save_file
from transformers import AutoFeatureExtractor, AutoModel

from msformers import command_push
from msformers.cli import build_parser, main
from msformers.publish import PublishError, push_to_hub


def titles(repo_id: str, revision: str = "main") -> list[str]:
    """Commit messages, oldest first."""
    return [commit.title for commit in HfApi().list_repo_commits(repo_id, revision=revision)][::-1]


def test_a_model_goes_card_first_and_loads_from_the_hub(hub: HubServer, encoder: Path) -> None:
    pushed = push_to_hub(encoder, "alice/encoder")
    assert titles("alice/encoder") == ["initial commit", "Card", "Model by msformers"]
    first = HfApi().list_repo_commits("alice/encoder")[1].commit_id
    assert set(HfApi().list_repo_files("alice/encoder", revision=first)) == {".gitattributes", "README.md"}
    assert pushed.url == f"{hub.url}/alice/encoder/tree/main"
    assert pushed.commit == HfApi().model_info("alice/encoder").sha
    assert set(pushed.sent) == {path.name for path in encoder.iterdir()}
    loaded = [auto.from_pretrained("alice/encoder") for auto in (AutoModel, AutoFeatureExtractor)]
    local = [auto.from_pretrained(encoder) for auto in (AutoModel, AutoFeatureExtractor)]
    assert torch.equal(embed(*loaded), embed(*local))


def test_what_the_repository_has_is_not_sent_again(hub: HubServer, encoder: Path) -> None:
    push_to_hub(encoder, "alice/encoder")
    commits, uploads = titles("alice/encoder"), len(hub.calls("PUT"))
    again = push_to_hub(encoder, "alice/encoder")
    assert again.sent == () and titles("alice/encoder") == commits
    (encoder / "README.md").write_text(CARD + "More.\n")
    assert push_to_hub(encoder, "alice/encoder").sent == ("README.md",)
    assert titles("alice/encoder") == [*commits, "Card"]
    assert len(hub.calls("PUT")) == uploads


def test_a_push_that_broke_off_sends_only_what_is_missing(hub: HubServer, encoder: Path) -> None:
    """Four large files, the third is refused; the second push sends that one and the last."""
    (encoder / "model.safetensors").unlink()
    for number in range(4):
        save_file({"weight": torch.full((300 + number,), 1.0)}, encoder / f"part-{number}.safetensors")
    hub.faults.append(Fault("PUT", "/_lfs/", "refuse", after=2))
    with pytest.raises(PublishError, match="what has arrived is not sent twice"):
        push_to_hub(encoder, "alice/encoder")
    assert len(hub.calls("PUT", "/_lfs/")) == 3
    assert titles("alice/encoder") == ["initial commit", "Card"]
    push_to_hub(encoder, "alice/encoder")
    sent = hub.calls("PUT", "/_lfs/")
    assert len(sent) == 5 and sent[3] == sent[2] and len(set(sent)) == 4
    assert len(HfApi().list_repo_files("alice/encoder")) == len(list(encoder.iterdir())) + 1


def test_private_stays_private(hub: HubServer, encoder: Path) -> None:
    push_to_hub(encoder, "alice/secret", private=True)
    assert HfApi().model_info("alice/secret").private
    push_to_hub(encoder, "alice/secret")
    assert HfApi().model_info("alice/secret").private
    with pytest.raises(PublishError, match="401"):
        push_to_hub(encoder, "alice/secret", token=STRANGER)
    HfApi().create_repo("alice/open")
    with pytest.raises(PublishError, match="exists and is public, nothing was sent"):
        push_to_hub(encoder, "alice/open", private=True)
    assert titles("alice/open") == ["initial commit"]


def test_a_revision_is_a_branch_and_a_tag_stays(hub: HubServer, encoder: Path, tmp_path: Path) -> None:
    push_to_hub(encoder, "alice/encoder")
    HfApi().create_tag("alice/encoder", tag="v1")
    other = save_encoder(tmp_path / "other", seed=1)
    push_to_hub(other, "alice/encoder", revision="trial")
    weights = {}
    for revision in ("v1", "trial", None):
        model = AutoModel.from_pretrained("alice/encoder", revision=revision or "main")
        weights[revision] = next(model.parameters())
    assert torch.equal(weights["v1"], weights[None])
    assert not torch.equal(weights["trial"], weights[None])
    with pytest.raises(PublishError, match="'v1' is a tag"):
        push_to_hub(other, "alice/encoder", revision="v1")


def test_two_writers_at_once(hub: HubServer, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other commits between our look at the branch and our commit: ours is refused, then goes on top."""
    HfApi().create_repo("alice/encoder")
    create = HfApi.create_commit
    others = iter([CommitOperationAdd("theirs.txt", b"theirs")])

    def late(api: HfApi, *arguments: Any, **options: Any) -> Any:
        for operation in others:
            create(api, "alice/encoder", [operation], commit_message="Theirs")
        return create(api, *arguments, **options)

    monkeypatch.setattr(HfApi, "create_commit", late)
    with pytest.raises(PublishError, match="someone else pushed to main at the same time"):
        push_to_hub(encoder, "alice/encoder")
    assert titles("alice/encoder") == ["initial commit", "Theirs"]
    push_to_hub(encoder, "alice/encoder")
    assert {"theirs.txt", "model.safetensors"} <= set(HfApi().list_repo_files("alice/encoder"))


def test_an_upload_that_lost_a_bit_is_refused(hub: HubServer, encoder: Path) -> None:
    hub.faults.append(Fault("PUT", "/_lfs/", "flip"))
    with pytest.raises(PublishError, match="BadDigest"):
        push_to_hub(encoder, "alice/encoder")
    assert "model.safetensors" not in HfApi().list_repo_files("alice/encoder")


def test_an_adapter_needs_its_base_on_the_hub(hub: HubServer, encoder: Path, tmp_path: Path) -> None:
    push_to_hub(encoder, "alice/encoder")
    HfApi().create_tag("alice/encoder", tag="v1")
    folder, adapted = save_adapter("alice/encoder", tmp_path / "adapter", "v1")
    push_to_hub(folder, "alice/adapter")
    extractor = AutoFeatureExtractor.from_pretrained("alice/encoder")
    loaded = AutoModel.from_pretrained("alice/adapter")
    assert torch.equal(embed(loaded, extractor), embed(adapted, extractor))
    assert not torch.allclose(embed(loaded, extractor), embed(AutoModel.from_pretrained(encoder), extractor))
    config = folder / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "revision": "v9"}))
    with pytest.raises(PublishError, match="base 'alice/encoder' at revision 'v9' is not on the Hub"):
        push_to_hub(folder, "alice/adapter")


def test_a_wrong_or_foreign_token_is_told_in_words(hub: HubServer, encoder: Path) -> None:
    with pytest.raises(PublishError, match="does not accept the token"):
        push_to_hub(encoder, "alice/encoder", token=STRANGER)
    with pytest.raises(PublishError, match="may not write to alice/encoder"):
        push_to_hub(encoder, "alice/encoder", token=BOB)
    assert hub.store.repositories == {}


@pytest.mark.parametrize("token", [ALICE, STRANGER, BOB, f"{ALICE}\nx", f"{ALICE}é"])
def test_no_token_in_logs_output_or_errors(
    hub: HubServer,
    encoder: Path,
    token: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every logger at DEBUG, the command and the function; good, wrong, foreign and malformed tokens."""
    for name in ("", *logging.root.manager.loggerDict):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        caplog.set_level(logging.DEBUG, name)
    monkeypatch.setenv("HF_TOKEN", token)
    said = []
    for push in (push_by_command, push_by_function):
        try:
            push(encoder, token)
        except PublishError as error:
            assert error.__suppress_context__ or error.__context__ is None
            said.append(f"{error} {error.args}")
    assert bool(said) == (token != ALICE)
    said += [f"{record.getMessage()} {record.args}" for record in caplog.records]
    said += capfd.readouterr()
    if token in (ALICE, STRANGER, BOB):
        assert any("/api/repos/create" in line for line in said)
    assert not [line for line in said if token[:12] in line]


def push_by_command(folder: Path, token: str) -> None:
    command_push.run(build_parser().parse_args(["push", str(folder), "alice/encoder"]))


def push_by_function(folder: Path, token: str) -> None:
    push_to_hub(folder, "alice/encoder", token=token)


def test_an_error_that_quotes_the_token_is_told_without(
    hub: HubServer, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(api: HfApi, **options: Any) -> None:
        raise ValueError(f"bad header {api.token}, and {STRANGER}")

    monkeypatch.setattr(HfApi, "create_repo", fail)
    with pytest.raises(PublishError) as failed:
        push_to_hub(encoder, "alice/encoder")
    assert "bad header ***, and ***" in str(failed.value)


def test_the_command_prints_the_address_and_tells_errors_in_one_line(
    hub: HubServer, encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["push", str(encoder), "alice/encoder", "--private", "--revision", "v2", "-q"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{hub.url}/alice/encoder/tree/v2\n"
    assert HfApi().model_info("alice/encoder", revision="v2").private
    assert set(HfApi().list_repo_files("alice/encoder")) == {".gitattributes"}
    (encoder / "README.md").unlink()
    assert main(arguments) == 2
    assert "README.md: is missing" in capsys.readouterr().err
    assert main([*arguments, "--dry-run"]) == 2
    assert "refused: README.md: is missing" in capsys.readouterr().out
