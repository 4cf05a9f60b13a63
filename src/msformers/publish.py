"""Publishing on the Hub: folders of models, adapters, processors and banks; card first, then weights."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .publish_plan import Item, Plan, PublishError, RepoType, plan_push
from .publish_rules import ADAPTER, CARD, HUB_ID, TOKEN

logger = logging.getLogger(__name__)
MAIN = "main"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did.

    Attributes:
        plan: what it meant to do.
        url: of the repository at the revision; "" after a dry run.
        commit: id of the commit that holds everything; "" after a dry run.
        sent: paths that were new or had changed. unchanged: paths the repository had already.
    """

    plan: Plan
    url: str = ""
    commit: str = ""
    sent: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    *,
    repo_type: RepoType | None = None,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    token: str | None = None,
) -> Pushed:
    """Publish a folder: the card in a commit of its own, then everything else in one more.

    Large files are sent one by one before the commit, and the Hub keeps those that arrived; after an interruption the
    same call sends only what is missing. Files of the repository that the folder has not are left alone.

    Args:
        folder: of a model, adapter (PEFT), processor or tokenizer, or of a molecule bank.
        repo_id: owner/name; the repository is made if there is none.
        repo_type: "model" or "dataset"; None: a bank is a dataset, the others are models.
        private: make the repository private; refused if it exists and is public.
        revision: branch to push to, made if there is none; None: main.
        dry_run: only look at the folder; the network is not used.
        token: of the Hub; None takes HF_TOKEN, or what `hf auth login` stored.

    Raises:
        PublishError: the folder may not be published (nothing was sent then), the Hub refuses, someone else pushed at
            the same time, or what arrived is not what was sent. No message holds the token.
    """
    if not HUB_ID.fullmatch(repo_id):
        raise PublishError(f"{repo_id!r}: is no name of a repository; give owner/name")
    plan = plan_push(folder, repo_type)
    if dry_run:
        return Pushed(plan)
    plan.check()
    return _Push(plan, repo_id, revision or MAIN, token).run(private)


class _Push:
    """One push of a plan to a branch."""

    def __init__(self, plan: Plan, repo_id: str, branch: str, token: str | None) -> None:
        from huggingface_hub import HfApi, get_token

        self.plan, self.repo_id, self.branch = plan, repo_id, branch
        self.secret = (token or get_token() or "").strip()
        if not self.secret:
            raise PublishError("no token for the Hub; log in with `hf auth login`, or set HF_TOKEN")
        if not re.fullmatch(r"[!-~]+", self.secret):
            # the clients would put it into their error
            raise PublishError("the token holds characters that no token has; log in with `hf auth login`")
        self.api = HfApi(token=self.secret, library_name="msformers")
        self.where: dict[str, Any] = {"repo_id": repo_id, "repo_type": plan.repo_type}

    def run(self, private: bool) -> Pushed:
        """Make repository and branch, send what they lack, see that it arrived."""
        with self._told():
            if self.plan.kind == "adapter":
                self._check_base()
            self._open(private)
            head, present = self._present()
            todo = [item for item in self.plan.items if not _same(item, present.get(item.path))]
            card = [item for item in todo if item.path == CARD]
            rest = [item for item in todo if item.path != CARD]
            for items, title in ((card, "Card"), (rest, f"{self.plan.kind.capitalize()} by msformers")):
                if items:
                    head = self._commit(items, title, head)
            if todo:
                self._verify(todo, head)
        sent = tuple(item.path for item in todo)
        unchanged = tuple(item.path for item in self.plan.items if item.path not in sent)
        prefix = "datasets/" if self.plan.repo_type == "dataset" else ""
        url = f"{self.api.endpoint}/{prefix}{self.repo_id}/tree/{self.branch}"
        return Pushed(self.plan, url, head, sent, unchanged)

    def _check_base(self) -> None:
        """The base of an adapter has to be on the Hub, or nobody can load the adapter."""
        import json

        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        config = json.loads((self.plan.folder / ADAPTER).read_text(encoding="utf-8"))
        base, revision = config["base_model_name_or_path"], config["revision"]
        try:
            named, current = (self.api.model_info(base, revision=name).sha for name in (revision, None))
        except (RepositoryNotFoundError, RevisionNotFoundError):
            raise PublishError(
                f"{self.plan.folder / ADAPTER}: base {base!r} at revision {revision!r} is not on the Hub; push the base "
                "first, or correct base_model_name_or_path and revision"
            ) from None
        if named != current:
            logger.warning(
                "%s has moved on since %r, and AutoModel.from_pretrained(adapter) takes its newest state; say in the card to "
                "load it with from_pretrained(%r, revision=%r) and load_adapter(%r)",
                *(base, revision, base, revision, self.repo_id),
            )

    def _open(self, private: bool) -> None:
        """Repository and branch, made where they are missing."""
        self.api.create_repo(**self.where, private=private, exist_ok=True)
        if private and not self.api.repo_info(**self.where).private:
            remedy = f"hf repo settings {self.repo_id} --private, or leave --private out"
            raise PublishError(f"{self.repo_id}: exists and is public, nothing was sent; {remedy}")
        refs = self.api.list_repo_refs(**self.where)
        if self.branch in {tag.name for tag in refs.tags}:
            raise PublishError(
                f"{self.repo_id}: {self.branch!r} is a tag, which stays as it is; name a branch"
            )
        if self.branch not in {branch.name for branch in refs.branches}:
            self.api.create_branch(**self.where, branch=self.branch)

    def _present(self) -> tuple[str, dict[str, Any]]:
        """The branch's commit, and its files by path."""
        head = str(self.api.repo_info(**self.where, revision=self.branch).sha)
        return head, self._tree(head)

    def _tree(self, commit: str) -> dict[str, Any]:
        tree = self.api.list_repo_tree(**self.where, revision=commit, recursive=True)
        return {entry.path: entry for entry in tree}

    def _commit(self, items: list[Item], title: str, parent: str) -> str:
        """Send large files one by one, then commit; only onto the commit that was seen."""
        from huggingface_hub import CommitOperationAdd

        operations = [CommitOperationAdd(item.path, item.source) for item in items]
        for item, operation in zip(items, operations, strict=True):
            if item.lfs:
                self.api.preupload_lfs_files(
                    **self.where, additions=[operation], revision=self.branch, free_memory=False
                )
                logger.info("sent %s, %.1f MB", item.path, item.size / 1e6)
        made = self.api.create_commit(
            **self.where,
            operations=operations,
            commit_message=title,
            revision=self.branch,
            parent_commit=parent,
        )
        logger.info("committed %d files to %s: %s", len(items), self.repo_id, title)
        return str(made.oid)

    def _verify(self, items: list[Item], commit: str) -> None:
        """Every file on the Hub has the hash it has here."""
        present = self._tree(commit)
        wrong = [item.path for item in items if not _same(item, present.get(item.path))]
        if wrong:
            raise PublishError(f"{self.repo_id}: arrived damaged: {', '.join(wrong)}; push again")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of clients and network as ours, without their chain, which could hold the token."""
        from huggingface_hub.errors import HTTPError

        try:
            yield
        except PublishError:
            raise
        except (HTTPError, OSError, ValueError, RuntimeError) as error:
            raise PublishError(self._explain(error)) from None

    def _explain(self, error: BaseException) -> str:
        if isinstance(error, RuntimeError) and error.__cause__:
            error = error.__cause__  # what the client says is only that an upload failed
        status = getattr(getattr(error, "response", None), "status_code", None)
        again = "run the same command again; what has arrived is not sent twice"
        known = {
            401: f"the Hub does not accept the token, or {self.repo_id} is not yours to see; log in with `hf auth login`",
            403: f"the token may not write to {self.repo_id}; take one with write access; {again}",
            412: f"someone else pushed to {self.branch} at the same time, nothing of theirs was overwritten; {again}",
        }
        said = (
            " ".join(TOKEN.sub("***", str(error).replace(self.secret, "***")).split()) or type(error).__name__
        )
        return f"{self.repo_id}: {known.get(status or 0, again)} ({said})"


def _same(item: Item, entry: Any) -> bool:
    """Whether an entry of the repository's tree is this file."""
    if entry is None or getattr(entry, "size", None) != item.size:
        return False
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == item.sha256())
    return bool(entry.blob_id == item.git_oid())
