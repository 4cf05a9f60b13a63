"""`msformers push`: folders to the Hub."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .publish_plan import Plan

logger = logging.getLogger(__name__)
SUMMARY = "a folder to the Hub: model, adapter, processor or bank"
DESCRIPTION = """Publish a folder on the Hub: the card first, then the rest. A bank becomes a dataset.

Refused, before anything is sent: pickles and foreign code, paths of this computer, access tokens, a missing card or
licence, an adapter whose base is no Hub id at a stated revision. After an interruption the same command goes on.
The token is taken from HF_TOKEN or from hf auth login.

examples:
  msformers push my-model me/my-model --dry-run
  msformers push my-adapter me/my-adapter --private
  msformers push bank me/my-bank --revision v2"""


def add_push(parser: argparse.ArgumentParser) -> None:
    """Options of `push`."""
    from .cli_arguments import add_common

    add = parser.add_argument
    add(
        "folder",
        metavar="FOLDER",
        help="what save_pretrained or msformers bank build wrote, with a README.md",
    )
    add("repo_id", metavar="REPO_ID", help="owner/name on the Hub; made if there is none")
    add("--private", action="store_true", help="only you can see it")
    add("--revision", metavar="R", help="branch to push to, made if there is none (default: main)")
    add("--dry-run", action="store_true", help="list what would go and what is refused; nothing is sent")
    types = "of the repository (default: dataset for a bank, model otherwise)"
    add("--type", choices=("model", "dataset"), help=types)
    add_common(parser)


def run(arguments: argparse.Namespace) -> None:
    """Push the folder, or with --dry-run list what would go; errors of `push_to_hub`."""
    from huggingface_hub.utils import disable_progress_bars

    from .publish import push_to_hub

    if arguments.quiet:
        disable_progress_bars()
    pushed = push_to_hub(
        arguments.folder,
        arguments.repo_id,
        repo_type=arguments.type,
        private=arguments.private,
        revision=arguments.revision,
        dry_run=arguments.dry_run,
    )
    if arguments.dry_run:
        sys.stdout.write(describe(pushed.plan, arguments.repo_id))
        pushed.plan.check()
        return
    logger.info("%d files sent, %d were there already", len(pushed.sent), len(pushed.unchanged))
    sys.stdout.write(f"{pushed.url}\n")


def describe(plan: Plan, repo_id: str) -> str:
    """The list of a dry run: a line per file in the order they would go, then what stays and what is refused."""
    from .command_support import table_line

    widths = (max([len(item.path) for item in plan.items] + [4]), 12, 7)
    lines = [f"{plan.folder} ({plan.kind}) -> {plan.repo_type} {repo_id}\n"]
    lines.append(table_line(("file", "bytes", "storage"), widths))
    for item in plan.items:
        lines.append(table_line((item.path, str(item.size), "LFS" if item.lfs else "regular"), widths))
    lines.append(f"{len(plan.items)} files, {plan.size} bytes\n")
    lines += [f"left out: {name}\n" for name in plan.left_out]
    lines += [f"refused: {reason}\n" for reason in plan.refused]
    return "".join(lines)
