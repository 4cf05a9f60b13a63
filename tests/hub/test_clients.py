"""huggingface_hub against the Hub of the tests: what everything else stands on."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from hub.server import Fault, HubServer
from hub.store import ALICE, BOB, LFS_BYTES, STRANGER
from huggingface_hub import CommitOperationAdd, HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

SIZE = LFS_BYTES + 1000
CONTENT = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(SIZE // 32))


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """Alice's client, with a repository alice/files."""
    client = HfApi(token=ALICE)
    client.create_repo("alice/files")
    return client


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that goes to large-file storage."""
    path = tmp_path / "large.safetensors"
    path.write_bytes(CONTENT)
    return path


def test_regular_and_large_files_come_back_as_they_went(hub: HubServer, api: HfApi, large: Path) -> None:
    api.upload_file(path_or_fileobj=b"words", path_in_repo="folder/words.txt", repo_id="alice/files")
    api.upload_file(path_or_fileobj=large, path_in_repo=large.name, repo_id="alice/files")
    found = {entry.path: entry for entry in api.list_repo_tree("alice/files", recursive=True)}
    assert found["folder/words.txt"].lfs is None
    assert found[large.name].lfs.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert len(hub.calls("PUT", "/_lfs/")) == 1
    folder = Path(snapshot_download("alice/files"))
    assert (folder / "folder/words.txt").read_bytes() == b"words"
    assert (folder / large.name).read_bytes() == CONTENT
    again = len(hub.calls("GET", "/resolve/"))
    snapshot_download("alice/files")
    assert len(hub.calls("GET", "/resolve/")) == again


def test_a_private_repository_is_there_for_its_owner_only(api: HfApi) -> None:
    api.create_repo("alice/secret", private=True)
    assert api.model_info("alice/secret").private
    for token in (BOB, False):
        with pytest.raises(RepositoryNotFoundError):
            HfApi(token=token).model_info("alice/secret")
    api.update_repo_settings("alice/secret", private=False)
    assert HfApi(token=BOB).model_info("alice/secret").id == "alice/secret"


def test_a_wrong_token_opens_nothing_and_nobody_writes_elsewhere(api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError, match="401"):
        HfApi(token=STRANGER).create_repo("alice/other")
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi(token=BOB).upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="alice/files")
    assert not api.file_exists("alice/files", "x.txt")


def test_branches_tags_and_commits_name_what_they_named(api: HfApi) -> None:
    def put(text: str, revision: str | None = None) -> str:
        content = text.encode()
        done = api.upload_file(
            path_or_fileobj=content, path_in_repo="a.txt", repo_id="alice/files", revision=revision
        )
        return str(done.oid)

    def get(revision: str | None = None) -> str:
        return Path(hf_hub_download("alice/files", "a.txt", revision=revision)).read_text()

    first = put("first")
    api.create_tag("alice/files", tag="v1")
    api.create_branch("alice/files", branch="trial")
    put("trial", "trial")
    put("second")
    assert [get("v1"), get(first), get("trial"), get()] == ["first", "first", "trial", "second"]
    refs = api.list_repo_refs("alice/files")
    assert [tag.name for tag in refs.tags] == ["v1"]
    assert {branch.name for branch in refs.branches} == {"main", "trial"}
    assert [commit.title for commit in api.list_repo_commits("alice/files")][-1] == "initial commit"
    api.delete_tag("alice/files", tag="v1")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("alice/files", revision="v1")


def test_files_and_repositories_are_deleted(api: HfApi) -> None:
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="alice/files")
    api.delete_file("x.txt", "alice/files")
    assert api.list_repo_files("alice/files") == [".gitattributes"]
    api.delete_repo("alice/files")
    assert not api.repo_exists("alice/files")


def test_a_download_that_breaks_off_goes_on_where_it_was(
    hub: HubServer, api: HfApi, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.upload_file(path_or_fileobj=large, path_in_repo=large.name, repo_id="alice/files")
    hub.faults.append(Fault("GET", r"/resolve/.*large", "cut"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
    path = Path(hf_hub_download("alice/files", large.name))
    assert path.read_bytes() == CONTENT
    ranges = [entry[3] for entry in hub.log if entry[0] == "GET" and "large" in entry[1]]
    kept = (len(CONTENT) // 2) >> 16 << 16
    assert ranges == ["", f"bytes={kept}-"]


def test_an_upload_that_lost_a_bit_is_refused_by_its_hash(hub: HubServer, api: HfApi, large: Path) -> None:
    hub.faults.append(Fault("PUT", "/_lfs/", "flip"))
    with pytest.raises(RuntimeError) as failed:
        api.upload_file(path_or_fileobj=large, path_in_repo=large.name, repo_id="alice/files")
    assert "BadDigest" in str(failed.value.__cause__)
    assert not api.file_exists("alice/files", large.name)


def test_a_download_that_is_not_what_its_hash_says_is_found_out(
    hub: HubServer, api: HfApi, large: Path
) -> None:
    """The client compares sizes only; its own check of the cache tells a changed bit."""
    api.upload_file(path_or_fileobj=large, path_in_repo=large.name, repo_id="alice/files")
    hub.store.corrupt("alice/files", large.name)
    snapshot_download("alice/files")
    found = api.verify_repo_checksums("alice/files")
    assert [wrong["path"] for wrong in found.mismatches] == [large.name]


def test_the_second_of_two_writers_is_told(api: HfApi) -> None:
    parent = api.model_info("alice/files").sha
    for content in (b"one", b"two"):
        operation = CommitOperationAdd("a.txt", content)
        if content == b"one":
            api.create_commit("alice/files", [operation], commit_message="a", parent_commit=parent)
        else:
            with pytest.raises(HfHubHTTPError, match="412"):
                api.create_commit("alice/files", [operation], commit_message="b", parent_commit=parent)
    assert Path(hf_hub_download("alice/files", "a.txt")).read_bytes() == b"one"
