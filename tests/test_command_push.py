"""What may be published, told without a network; the pushes themselves are in tests/hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import msformers
from msformers import command_push
from msformers.checkpoints import list_shipped
from msformers.cli import build_parser
from msformers.publish import PublishError, push_to_hub
from msformers.publish_plan import plan_push
from msformers.publish_rules import HUB_ID, LOCAL_PATH, TOKEN

CARD = "---\nlicense: cc-by-4.0\n---\n\n# Test\n"
SECRET = "hf_" + "aB3" * 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny encoder, ready to publish."""
    path = tmp_path / "model"
    entry = msformers.MODELS["lsm1"]
    entry.model_class(entry.tiny_config()).save_pretrained(path)
    (path / "README.md").write_text(CARD)
    return path


def refusals(folder: Path, **options: Any) -> list[str]:
    """The reasons, as the user reads them."""
    return [str(reason) for reason in plan_push(folder, **options).refused]


def test_a_good_folder_goes_card_first_and_weights_last(folder: Path) -> None:
    (folder / ".cache").mkdir()
    (folder / ".cache/x.json").write_text("{}")
    plan = plan_push(folder)
    assert plan.refused == ()
    assert (plan.kind, plan.repo_type) == ("model", "model")
    names = [item.path for item in plan.items]
    assert names[0] == "README.md" and names[-1] == "model.safetensors"
    assert {item.path for item in plan.items if item.lfs} == {"model.safetensors"}
    assert plan.size == sum((folder / name).stat().st_size for name in names)
    assert plan.left_out == (".cache/x.json",)


@pytest.mark.parametrize("name", [shipped.name for shipped in list_shipped()])
def test_what_the_package_ships_may_be_published(name: str) -> None:
    found = {shipped.name: shipped for shipped in list_shipped()}[name]
    assert refusals(found.path) == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("pytorch_model.bin", b"PK\x03\x04", "pickled objects"),
        ("optimizer.pt", b"x", "pickled objects"),
        ("data.json", b"\x80\x04\x95.", "is not text"),
        ("modeling_other.py", b"import os\n", "is code that is not part of this msformers"),
        ("deep/run.sh", b"echo\n", "is code"),
        ("extra.safetensors", b"\x10\0\0\0\0\0\0\0{}", "is no complete safetensors file"),
        ("table.parquet", b"\x80\x04\x95.", "is no .parquet file"),
        ("weights.xyz", b"x", "is of no kind that is published"),
        ("notes.json", b"{", "is no JSON"),
        ("notes.json", b'{"a": ["/work/runs/one"]}', "a.0 = '/work/runs/one' is a path on this computer"),
        ("notes.json", b'{"a": "C:\\\\Users\\\\eve"}', "is a path on this computer"),
        ("notes.json", b'{"a": "made in /home/eve today"}', "is a path on this computer"),
        ("log.csv", b"step,file\n1,/home/eve/x\n", "line 2 names a local path, '/home/eve'"),
        ("extra.json", b'{"auto_map": {"AutoModel": "eve/repo--code.Model"}}', "code of another repository"),
        ("notes.txt", f"one\ntoken {SECRET}\n".encode(), "line 2 holds an access token"),
    ],
)
def test_what_runs_leaks_or_is_broken_is_refused(
    folder: Path, name: str, content: bytes, reason: str
) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    if name == "extra.json":
        path = path.rename(folder / "processor_config.json")
    found = refusals(folder)
    assert len(found) == 1, found
    assert reason in found[0] and path.name in found[0] and "; " in found[0]
    assert SECRET not in found[0]
    with pytest.raises(PublishError, match="nothing was sent"):
        push_to_hub(folder, "alice/model", token=SECRET)


def test_a_model_has_all_its_weights(folder: Path) -> None:
    whole = msformers.MODELS["lsm1"].model_class.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    (found,) = refusals(folder)
    assert "model.safetensors: is missing" in found
    whole.save_pretrained(folder, max_shard_size="60KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1 and refusals(folder) == []
    shards[1].unlink()
    (found,) = refusals(folder)
    assert f"{shards[1].name}: is in model.safetensors.index.json, but not in the folder" in found


def test_unchanged_code_of_msformers_may_go_along(folder: Path) -> None:
    ours = Path(msformers.MODELS["lsm1"].model_class.__init__.__code__.co_filename)
    copy = Path(shutil.copy(ours, folder / "lsm1.py"))
    assert refusals(folder) == []
    copy.write_text(copy.read_text() + "\n")
    assert len(refusals(folder)) == 1


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (None, "is missing"),
        ("# Words\n", "has no head"),
        ("---\ntags: [a]\n---\n", "states no licence"),
        ("---\nlicense:\n---\n", "states no licence"),
        ("---\nlicense: [\n---\n", "is no YAML"),
        ("---\nlicense: mit\nbase_model: /tmp/base\n---\n", "base_model = '/tmp/base' is a path"),
    ],
)
def test_a_card_states_a_licence_and_no_path(folder: Path, card: str | None, reason: str) -> None:
    (folder / "README.md").unlink()
    if card is not None:
        (folder / "README.md").write_text(card)
    (found,) = refusals(folder)
    assert found.startswith("README.md: ") and reason in found


@pytest.mark.parametrize(
    ("base", "revision", "reasons"),
    [
        ("msformers/lsm1-small", "v1", []),
        ("/tmp/base", "v1", ["base_model_name_or_path = '/tmp/base' is no Hub id"]),
        ("lsm1-small", "v1", ["is no Hub id"]),
        ("msformers/lsm1-small", None, ["revision = None states no revision"]),
        (None, None, ["is no Hub id", "states no revision"]),
        (["a/b"], 3, ["is no Hub id", "states no revision"]),
    ],
)
def test_an_adapter_names_its_base_and_revision(
    tmp_path: Path, base: Any, revision: Any, reasons: list[str]
) -> None:
    (tmp_path / "README.md").write_text(CARD)
    config = {"base_model_name_or_path": base, "revision": revision}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    plan = plan_push(tmp_path)
    assert plan.kind == "adapter"
    assert len(plan.refused) == len(reasons)
    for reason, found in zip(reasons, plan.refused, strict=True):
        assert reason in str(found)


def test_a_folder_of_nothing_or_of_another_type_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="is no folder"):
        plan_push(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PublishError, match="holds no model, adapter, processor or bank"):
        plan_push(tmp_path / "empty")
    with pytest.raises(PublishError, match="leave --type out"):
        plan_push(folder, "dataset")
    with pytest.raises(PublishError, match="give owner/name"):
        push_to_hub(folder, "model")


def test_any_folder_of_data_is_a_dataset_if_asked(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    pq.write_table(pa.table({"smiles": ["CCO"]}), tmp_path / "data.parquet")
    plan = plan_push(tmp_path, "dataset")
    assert (plan.kind, plan.repo_type, plan.refused) == ("dataset", "dataset", ())
    assert [(item.path, item.lfs) for item in plan.items] == [("README.md", False), ("data.parquet", True)]


def test_a_dry_run_lists_files_and_fails_where_a_push_would(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = build_parser().parse_args(["push", str(folder), "alice/model", "--dry-run"])
    command_push.run(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder} (model) -> model alice/model"
    rows = {cells[0]: cells[1:] for cells in map(str.split, lines[2:-1])}
    size = (folder / "model.safetensors").stat().st_size
    assert rows["model.safetensors"] == [str(size), "LFS"] and rows["README.md"][1] == "regular"
    (folder / "optimizer.pt").write_bytes(b"x")
    with pytest.raises(PublishError, match=r"optimizer\.pt"):
        command_push.run(arguments)
    assert "refused: optimizer.pt: " in capsys.readouterr().out


def test_molecules_and_ids_are_no_paths() -> None:
    for text in (
        "/C=C/C",
        "C/C=C/C",
        "msformers/lsm1-small",
        "a/b/c",
        "~",
        "/",
        "100/200",
        "[C:1]",
        "O=C1",
    ):
        assert not LOCAL_PATH.match(text), text
    for text in (
        "/tmp/x",
        "./x",
        "../x",
        "~/x",
        "C:\\x",
        "D:/x",
        "\\\\host\\x",
        "file:///x",
        "/work/run 1/x.ckpt",
    ):
        assert LOCAL_PATH.match(text), text
    assert HUB_ID.fullmatch("a/b-c.d") and not HUB_ID.fullmatch("a/b/c") and not HUB_ID.fullmatch("/tmp")
    assert TOKEN.search(f"x {SECRET}") and not TOKEN.search("hf_hub_download")
