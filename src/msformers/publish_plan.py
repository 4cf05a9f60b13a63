"""What a push would send: the kind of a folder, its files in order, and what stands in the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .inference.retrieval.bank_build import PROBLEMS
from .inference.retrieval.bank_store import MANIFEST, BankError, read_manifest
from .publish_rules import (
    ADAPTER,
    CARD,
    TENSORS,
    Refused,
    check_adapter,
    check_card,
    check_file,
    check_json,
)

Kind = Literal["model", "adapter", "processor", "bank", "dataset"]
RepoType = Literal["model", "dataset"]
PROCESSORS = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json", "tokenizer.json")
SKIPPED = frozenset(
    {".git", ".cache", ".huggingface", "__pycache__", ".gitignore", ".ipynb_checkpoints", ".DS_Store"}
)
# what the Hub keeps outside git: these endings (its default .gitattributes), anything large, anything that is not text
LFS_SUFFIXES = frozenset({TENSORS, ".parquet", ".arrow", ".bin", ".zip", ".gz", ".zst"})
LFS_BYTES = 10 << 20


class PublishError(ValueError):
    """A folder that is not published, or a push that failed; says what to do. Never holds a token."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file to publish.

    Attributes:
        path: in the repository, with "/".
        source: the file, or its content where that is not what the folder has.
        size: bytes.
        lfs: whether the Hub is expected to keep it in large-file storage; the Hub has the last word.
    """

    path: str
    source: Path | bytes
    size: int
    lfs: bool

    def sha256(self) -> str:
        """SHA-256 of the content, the name of a large file."""
        return self._digest(hashlib.sha256())

    def git_oid(self) -> str:
        """Git's name of the content, the name of a regular file."""
        return self._digest(hashlib.sha1(b"blob %d\0" % self.size))

    def _digest(self, digest: hashlib._Hash) -> str:
        if isinstance(self.source, bytes):
            digest.update(self.source)
        else:
            with self.source.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a push would do.

    Attributes:
        folder, kind, repo_type: what is published, as what.
        items: files in the order they go: card, configuration and text, weights.
        refused: why it is not published; empty if it may be.
        left_out: files of the folder that stay behind.
    """

    folder: Path
    kind: Kind
    repo_type: RepoType
    items: tuple[Item, ...]
    refused: tuple[Refused, ...]
    left_out: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(item.size for item in self.items)

    def check(self) -> None:
        """Raises `PublishError` with every reason, if there is one."""
        if self.refused:
            reasons = "\n".join(f"  {reason}" for reason in self.refused)
            raise PublishError(f"{self.folder}: not published, nothing was sent:\n{reasons}")


def plan_push(folder: str | Path, repo_type: RepoType | None = None) -> Plan:
    """Look at a folder without touching the network.

    Args:
        folder: of a model, adapter, processor or tokenizer, of a molecule bank, or of a dataset.
        repo_type: None takes "dataset" for a bank, "model" otherwise.

    Raises:
        PublishError: there is no such folder, or it is none of these.
    """
    root = Path(folder)
    if not root.is_dir():
        raise PublishError(f"{root}: is no folder; give the folder that save_pretrained or bank build wrote")
    kind = _kind(root, repo_type)
    items: list[Item] = []
    refused = [*check_card(root), *(check_adapter(root) if kind == "adapter" else ())]
    left_out: list[str] = []
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        if SKIPPED & set(name.split("/")) or (kind == "bank" and name == PROBLEMS):
            left_out.append(name)
            continue
        content: Path | bytes = path
        if kind == "bank" and name == MANIFEST:
            content = _portable_manifest(path)
            refused.extend(check_json(content.decode(), name))
        else:
            refused.extend(check_file(path, name))
        items.append(_item(name, content))
    named = {item.path: item for item in items}
    if kind == "bank":
        refused.extend(_check_bank(root, named))
    if kind == "model":
        refused.extend(_check_weights(root, named))
    type_: RepoType = repo_type or ("dataset" if kind == "bank" else "model")
    return Plan(root, kind, type_, tuple(sorted(items, key=_order)), tuple(refused), tuple(left_out))


def _kind(root: Path, repo_type: RepoType | None) -> Kind:
    """What a folder holds, told by its files."""
    if (root / MANIFEST).is_file() or (root / ".building").is_dir():
        if repo_type == "model":
            raise PublishError(
                f"{root}: is a molecule bank; leave --type out, banks are published as datasets"
            )
        return "bank"
    kinds: dict[Kind, tuple[str, ...]] = {
        "adapter": (ADAPTER,),
        "model": ("config.json",),
        "processor": PROCESSORS,
    }
    for kind, names in kinds.items():
        if any((root / name).is_file() for name in names):
            if repo_type == "dataset":
                raise PublishError(f"{root}: is a folder of a {kind}, no dataset; leave --type out")
            return kind
    if repo_type == "dataset":
        return "dataset"
    told = f"none of config.json, {ADAPTER}, {', '.join(PROCESSORS)}, {MANIFEST}"
    raise PublishError(
        f"{root}: holds no model, adapter, processor or bank ({told}); for data, give --type dataset"
    )


def _files(root: Path) -> Iterator[Path]:
    """Every file below a folder, by name."""
    yield from sorted(path for path in root.rglob("*") if path.is_file())


def _item(name: str, source: Path | bytes) -> Item:
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    lfs = size > 0 and (Path(name).suffix.lower() in LFS_SUFFIXES or size > LFS_BYTES or _binary(source))
    return Item(name, source, size, lfs)


def _binary(source: Path | bytes) -> bool:
    if isinstance(source, bytes):
        return b"\0" in source[:1024]
    with source.open("rb") as stream:
        return b"\0" in stream.read(1024)


def _order(item: Item) -> tuple[bool, bool, int, str]:
    return item.path != CARD, item.lfs, item.size if item.lfs else 0, item.path


def _portable_manifest(path: Path) -> bytes:
    """A bank's manifest as it is published: sources by file name, since their folders are nobody else's business."""
    try:
        manifest = read_manifest(path.parent)
    except BankError:
        return path.read_bytes()
    for listed in (manifest.get("sources", ()), manifest.get("built_from", {}).get("sources", ())):
        for source in listed:
            source["path"] = Path(source["path"]).name
    return json.dumps(manifest, indent=1).encode()


def _check_weights(root: Path, items: dict[str, Item]) -> Iterator[Refused]:
    """Whether a model has weights, and every shard that its index names."""
    again = "save the model again with save_pretrained"
    if not any(name.endswith(TENSORS) for name in items):
        yield Refused("model.safetensors", "is missing: config.json alone is no model", again)
    for name in (name for name in items if name.endswith(f"{TENSORS}.index.json")):
        try:
            shards = set(json.loads((root / name).read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            yield Refused(name, "is no index of weights", again)
            continue
        folder = name.rpartition("/")[0]
        for shard in sorted(shards):
            if (f"{folder}/{shard}" if folder else shard) not in items:
                yield Refused(shard, f"is in {name}, but not in the folder", again)


def _check_bank(root: Path, items: dict[str, Item]) -> Iterator[Refused]:
    """Whether a bank is finished, and its files are the ones that were built."""
    again = "build the bank again with --overwrite"
    try:
        manifest = read_manifest(root)
    except BankError as error:
        yield Refused(MANIFEST, str(error), again)
        return
    for entry in (manifest["molecules"], *manifest["shards"]):
        item = items.get(entry["file"])
        if item is None:
            yield Refused(entry["file"], "is in the manifest, but not in the folder", again)
        elif item.sha256() != entry["sha256"]:
            yield Refused(entry["file"], "has changed since the bank was built (SHA-256)", again)
