"""Routes below /api: accounts, repositories, revisions, commits, listings."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import yaml
from hub.messages import Answer, Refusal, Request
from hub.store import LFS_BYTES, LFS_SUFFIXES, Commit, File, Repository

if TYPE_CHECKING:
    from hub.server import HubServer

REPOSITORY = r"/api/(model|dataset|space)s/([^/]+/[^/]+)"
DATE = "2026-01-01T00:00:00.000Z"


def whoami(hub: HubServer, request: Request) -> Answer:
    """Whose token it is."""
    if request.user is None:
        raise Refusal(401, "Invalid username or password.")
    token = {"displayName": "tests", "role": "write"}
    auth = {"type": "access_token", "accessToken": token}
    return Answer({"name": request.user, "type": "user", "orgs": [], "auth": auth})


def create(hub: HubServer, request: Request) -> Answer:
    """A new repository."""
    asked = request.json
    if request.user is None:
        raise Refusal(401, "Invalid username or password.")
    kind = asked.get("type") or "model"
    name = f"{asked.get('organization') or request.user}/{asked['name']}"
    if name.split("/")[0] != request.user:
        raise Refusal(403, f"You don't have the rights to create a {kind} under the namespace {name}")
    private = asked.get("private") or asked.get("visibility") == "private"
    known = hub.store.repositories.get((kind, name))
    if known:
        url = f"{hub.url}/{known.path}"
        told = {"error": f"You already created this {kind} repo: {name}", "url": url}
        return Answer(told, 409, {"X-Error-Message": told["error"]})
    made = hub.store.create(kind, name, request.user, bool(private))
    return Answer({"url": f"{hub.url}/{made.path}", "name": name, "id": name})


def delete(hub: HubServer, request: Request) -> Answer:
    """Remove a repository."""
    asked = request.json
    kind, name = asked.get("type") or "model", f"{asked.get('organization') or request.user}/{asked['name']}"
    hub.store.find(kind, name, request.user, write=True)
    del hub.store.repositories[(kind, name)]
    return Answer()


def validate(hub: HubServer, request: Request) -> Answer:
    """Whether the head of a card is YAML."""
    head = request.json["content"].split("---\n")
    try:
        yaml.safe_load(head[1] if len(head) > 2 else "")
    except yaml.YAMLError as error:
        return Answer({"errors": [{"message": str(error)}], "warnings": []}, 400)
    return Answer({"errors": [], "warnings": []})


def info(hub: HubServer, request: Request, kind: str, name: str, revision: str | None = None) -> Answer:
    """A repository at a revision."""
    repository = hub.store.find(kind, name, request.user)
    commit = repository.resolve(revision or "main")
    siblings = [{"rfilename": path} for path in sorted(repository.commits[commit].files)]
    told = {"_id": name, "id": name, "modelId": name, "author": repository.owner, "sha": commit}
    told |= {"private": repository.private, "disabled": False, "gated": False, "downloads": 0, "likes": 0}
    return Answer({**told, "tags": [], "lastModified": DATE, "createdAt": DATE, "siblings": siblings})


def preupload(hub: HubServer, request: Request, kind: str, name: str, revision: str) -> Answer:
    """Which files go to large-file storage, and what the repository has under their names."""
    repository = hub.store.find(kind, name, request.user, write=True)
    present = repository.commits[repository.resolve(revision)].files
    told = []
    for item in request.json["files"]:
        path, known = item["path"], present.get(item["path"])
        mode = "lfs" if item["size"] > LFS_BYTES or path.endswith(LFS_SUFFIXES) else "regular"
        oid = {"oid": known.etag} if known else {}
        told.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **oid})
    return Answer({"files": told})


def commit(hub: HubServer, request: Request, kind: str, name: str, branch: str) -> Answer:
    """Apply the operations of a commit, all or none."""
    repository = hub.store.find(kind, name, request.user, write=True)
    if branch in repository.tags:
        raise Refusal(400, f"{branch} is a tag; commits go to branches")
    parent = repository.resolve(branch)
    files, title = dict(repository.commits[parent].files), ""
    for operation in map(json.loads, request.body.splitlines()):
        value = operation["value"]
        if operation["key"] == "header":
            title = value["summary"]
            if value.get("parentCommit", parent) != parent:
                raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        else:
            _apply(hub, files, operation["key"], value)
    made = repository.add(branch, Commit(files, title, parent))
    url = f"{hub.url}/{repository.path}/commit/{made}"
    return Answer({"success": True, "commitOid": made, "commitUrl": url, "hookOutput": ""})


def _apply(hub: HubServer, files: dict[str, File], key: str, value: dict[str, Any]) -> None:
    path = value["path"]
    if key == "file":
        files[path] = hub.store.file(hub.store.put(base64.b64decode(value["content"])), False)
    elif key == "lfsFile":
        files[path] = hub.store.file(value["oid"], True)
    elif key == "deletedFile":
        files.pop(path, None)
    elif key == "deletedFolder":
        for inside in [known for known in files if known.startswith(path.rstrip("/") + "/")]:
            del files[inside]
    else:
        raise Refusal(400, f"unknown operation {key}")


def tree(
    hub: HubServer, request: Request, kind: str, name: str, revision: str, below: str | None = None
) -> Answer:
    """Files and folders below a path."""
    repository = hub.store.find(kind, name, request.user)
    files = repository.commits[repository.resolve(revision)].files
    prefix = f"{below}/" if below else ""
    recursive = request.query.get("recursive", "").lower() in ("true", "1")
    listed: dict[str, dict[str, Any]] = {}
    for path, file in sorted(files.items()):
        parts = path.removeprefix(prefix).split("/")
        if not path.startswith(prefix):
            continue
        for depth in range(1, len(parts) if recursive else min(2, len(parts))):
            folder = prefix + "/".join(parts[:depth])
            listed.setdefault(folder, {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0})
        if recursive or len(parts) == 1:
            listed[path] = file.entry(path)
    if below and not listed:
        raise Refusal(404, f"{below} does not exist on {revision}", "EntryNotFound")
    return Answer(list(listed.values()))


def paths_info(hub: HubServer, request: Request, kind: str, name: str, revision: str) -> Answer:
    """Files asked for by name."""
    repository = hub.store.find(kind, name, request.user)
    files = repository.commits[repository.resolve(revision)].files
    asked = request.json["paths"]
    wanted = [asked] if isinstance(asked, str) else asked
    return Answer([files[path].entry(path) for path in wanted if path in files])


def refs(hub: HubServer, request: Request, kind: str, name: str) -> Answer:
    """Branches and tags."""
    repository = hub.store.find(kind, name, request.user)
    return Answer(
        {
            "branches": _refs(repository.branches, "refs/heads/"),
            "tags": _refs(repository.tags, "refs/tags/"),
            "converts": [],
        }
    )


def _refs(named: dict[str, str], prefix: str) -> list[dict[str, str]]:
    return [{"name": name, "ref": prefix + name, "targetCommit": oid} for name, oid in named.items()]


def history(hub: HubServer, request: Request, kind: str, name: str, revision: str) -> Answer:
    """Commits of a branch, newest first."""
    repository = hub.store.find(kind, name, request.user)
    listed, at = [], repository.resolve(revision) if revision else None
    while at:
        entry = repository.commits[at]
        listed.append({"id": at, "title": entry.title, "message": "", "authors": [], "date": DATE})
        at = entry.parent
    return Answer(listed)


def add_branch(hub: HubServer, request: Request, kind: str, name: str, branch: str) -> Answer:
    """A branch from a commit, a branch or a tag."""
    repository = _writable(hub, request, kind, name, branch)
    repository.branches[branch] = repository.resolve(request.json.get("startingPoint") or "main")
    return Answer()


def add_tag(hub: HubServer, request: Request, kind: str, name: str, revision: str) -> Answer:
    """A tag of a revision."""
    repository = _writable(hub, request, kind, name, request.json["tag"])
    repository.tags[request.json["tag"]] = repository.resolve(revision)
    return Answer()


def _writable(hub: HubServer, request: Request, kind: str, name: str, ref: str) -> Repository:
    repository = hub.store.find(kind, name, request.user, write=True)
    if ref in repository.branches or ref in repository.tags:
        raise Refusal(409, f"Reference {ref} already exists")
    return repository


def drop_branch(hub: HubServer, request: Request, kind: str, name: str, branch: str) -> Answer:
    """Forget a branch."""
    hub.store.find(kind, name, request.user, write=True).branches.pop(branch, None)
    return Answer()


def drop_tag(hub: HubServer, request: Request, kind: str, name: str, tag: str) -> Answer:
    """Forget a tag."""
    hub.store.find(kind, name, request.user, write=True).tags.pop(tag, None)
    return Answer()


def settings(hub: HubServer, request: Request, kind: str, name: str) -> Answer:
    """Make a repository private or public."""
    asked = request.json
    private = asked.get("private", asked.get("visibility") == "private")
    hub.store.find(kind, name, request.user, write=True).private = bool(private)
    return Answer({"private": private})


def harnesses(hub: HubServer, request: Request) -> Answer:
    """Which assistants the clients should look for: none."""
    return Answer({})


ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/api/whoami-v2", whoami),
    ("POST", "/api/repos/create", create),
    ("DELETE", "/api/repos/delete", delete),
    ("POST", "/api/validate-yaml", validate),
    ("GET", "/api/agent-harnesses", harnesses),
    ("GET", REPOSITORY, info),
    ("GET", rf"{REPOSITORY}/revision/([^/]+)", info),
    ("POST", rf"{REPOSITORY}/preupload/([^/]+)", preupload),
    ("POST", rf"{REPOSITORY}/commit/([^/]+)", commit),
    ("GET", rf"{REPOSITORY}/tree/([^/]+)(?:/(.*))?", tree),
    ("POST", rf"{REPOSITORY}/paths-info/([^/]+)", paths_info),
    ("GET", rf"{REPOSITORY}/refs", refs),
    ("GET", rf"{REPOSITORY}/commits/([^/]+)", history),
    ("POST", rf"{REPOSITORY}/branch/([^/]+)", add_branch),
    ("DELETE", rf"{REPOSITORY}/branch/([^/]+)", drop_branch),
    ("POST", rf"{REPOSITORY}/tag/([^/]+)", add_tag),
    ("DELETE", rf"{REPOSITORY}/tag/([^/]+)", drop_tag),
    ("PUT", rf"{REPOSITORY}/settings", settings),
)
