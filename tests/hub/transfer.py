"""Routes that move content: large files up, any file down."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hub.messages import Answer, Refusal, Request

if TYPE_CHECKING:
    from hub.server import HubServer

REPOSITORY = r"/(?:(dataset|space)s/)?([^/]+/[^/]+)"


def lfs_batch(hub: HubServer, request: Request, kind: str | None, name: str) -> Answer:
    """Where to put large files; a file that is there already is not asked for."""
    hub.store.find(kind or "model", name, request.user, write=True)
    objects = []
    for item in request.json["objects"]:
        if not hub.store.has(item["oid"]):
            upload = {"href": f"{hub.url}/_lfs/{item['oid']}", "header": {}}
            item = {**item, "actions": {"upload": upload, "verify": {"href": f"{hub.url}/_verify"}}}
        objects.append(item)
    return Answer({"transfer": "basic", "objects": objects})


def lfs_put(hub: HubServer, request: Request, oid: str) -> Answer:
    """Take a large file, if it is what its name says."""
    sha256 = hub.store.put(request.body)
    if sha256 != oid:
        raise Refusal(400, f"BadDigest: the content has SHA-256 {sha256}, not {oid}")
    return Answer()


def lfs_verify(hub: HubServer, request: Request) -> Answer:
    """Told after an upload."""
    if not hub.store.has(request.json["oid"]):
        raise Refusal(404, "Object does not exist")
    return Answer()


def resolve(
    hub: HubServer, request: Request, kind: str | None, name: str, revision: str, path: str
) -> Answer:
    """A file of a revision, or the part of it that the Range header names."""
    repository = hub.store.find(kind or "model", name, request.user)
    commit = repository.resolve(revision)
    file = repository.commits[commit].files.get(path)
    headers = {"X-Repo-Commit": commit}
    if file is None:
        missing = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
        return Answer({"error": "Entry not found"}, 404, {**headers, **missing})
    content = hub.store.get(file.sha256)
    headers |= {"ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
    if file.lfs:
        headers |= {"X-Linked-Size": str(file.size), "X-Linked-Etag": f'"{file.etag}"'}
    span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if not span:
        return Answer(content, 200, headers)
    first, last = int(span[1]), min(int(span[2] or file.size - 1), file.size - 1)
    return Answer(
        content[first : last + 1], 206, {**headers, "Content-Range": f"bytes {first}-{last}/{file.size}"}
    )


ROUTES = (
    ("POST", rf"{REPOSITORY}\.git/info/lfs/objects/batch", lfs_batch),
    ("PUT", r"/_lfs/([0-9a-f]{64})", lfs_put),
    ("POST", r"/_verify", lfs_verify),
    ("GET HEAD", rf"{REPOSITORY}/resolve/([^/]+)/(.+)", resolve),
)
