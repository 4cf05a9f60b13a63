"""What a Hub server of the tests keeps: blobs on disk, repositories with their commits, branches and tags in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.messages import Refusal

ALICE, BOB, STRANGER = (f"hf_{name * 7}" for name in ("alice", "bobby", "nobod"))
TOKENS = {ALICE: "alice", BOB: "bob"}
LFS_BYTES = 1_000_000
LFS_SUFFIXES = (".safetensors", ".bin", ".parquet")
POINTER_BYTES = 134


@dataclass(frozen=True)
class File:
    """A file of a commit: SHA-256 of its content, git's name of it, size in bytes, whether large-file storage holds it."""

    sha256: str
    git_oid: str
    size: int
    lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git_oid

    def entry(self, path: str) -> dict[str, Any]:
        """As the tree of a repository lists it."""
        pointer = {"oid": self.sha256, "size": self.size, "pointerSize": POINTER_BYTES}
        listed = {"type": "file", "path": path, "size": self.size, "oid": self.git_oid}
        return {**listed, "lfs": pointer} if self.lfs else listed


@dataclass
class Commit:
    """All files after a commit, by path."""

    files: dict[str, File]
    title: str
    parent: str | None = None


@dataclass
class Repository:
    """A repository of one owner; `branches` and `tags` name commits, `order` is their sequence."""

    kind: str
    name: str
    owner: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, branch: str, commit: Commit) -> str:
        """Append a commit; returns its id."""
        told = f"{self.kind} {self.name} {len(self.order)} {commit.title} {commit.parent}"
        oid = hashlib.sha1(told.encode()).hexdigest()
        self.commits[oid] = commit
        self.order.append(oid)
        self.branches[branch] = oid
        return oid

    def resolve(self, revision: str) -> str:
        """The commit a branch, a tag or a commit id names."""
        found = self.branches.get(revision) or self.tags.get(revision)
        found = found or (revision if revision in self.commits else None)
        if found is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    @property
    def path(self) -> str:
        """Below the server's address, as browsers see it."""
        return self.name if self.kind == "model" else f"{self.kind}s/{self.name}"


class Store:
    """Every repository of a server, and who may do what with it.

    Args:
        folder: where blobs are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repositories: dict[tuple[str, str], Repository] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes) -> str:
        """Keep content; returns its SHA-256."""
        sha256 = hashlib.sha256(content).hexdigest()
        (self.folder / sha256).write_bytes(content)
        return sha256

    def has(self, sha256: str) -> bool:
        return (self.folder / sha256).is_file()

    def get(self, sha256: str) -> bytes:
        return (self.folder / sha256).read_bytes()

    def file(self, sha256: str, lfs: bool) -> File:
        """The blob as a file of a commit."""
        if not self.has(sha256):
            raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {sha256}")
        content = self.get(sha256)
        git_oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return File(sha256, git_oid, len(content), lfs)

    def corrupt(self, name: str, path: str, kind: str = "model", revision: str = "main") -> None:
        """Flip a bit of a stored file behind everybody's back; its size and its names stay."""
        repository = self.repositories[(kind, name)]
        blob = self.folder / repository.commits[repository.resolve(revision)].files[path].sha256
        content = bytearray(blob.read_bytes())
        content[-1] ^= 1
        blob.write_bytes(content)

    def create(self, kind: str, name: str, owner: str, private: bool) -> Repository:
        """A new repository with a first commit, as the Hub makes them."""
        if (kind, name) in self.repositories:
            raise Refusal(409, f"You already created this {kind} repo: {name}")
        attributes = "".join(f"*{end} filter=lfs diff=lfs merge=lfs -text\n" for end in LFS_SUFFIXES)
        first = {".gitattributes": self.file(self.put(attributes.encode()), False)}
        repository = Repository(kind, name, owner, private)
        repository.add("main", Commit(first, "initial commit"))
        self.repositories[(kind, name)] = repository
        return repository

    def find(self, kind: str, name: str, user: str | None, write: bool = False) -> Repository:
        """The repository, if the user may read it (or write to it)."""
        repository = self.repositories.get((kind, name))
        if repository is None or (repository.private and user != repository.owner):
            raise Refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        if write and user is None:
            raise Refusal(401, "Invalid username or password.")
        if write and user != repository.owner:
            raise Refusal(403, f"Forbidden: you ({user}) don't have the rights to write to {name}")
        return repository
