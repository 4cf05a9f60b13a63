"""What every self-contained HTML page is made with: templates, style, the one script and its hash, and a safe way to write."""

from __future__ import annotations

import base64
import hashlib
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .views import anchor
from .wording import formula_html, number, text

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent


class ReportError(ValueError):
    """A report that cannot be written; names the path and the remedy."""


@cache
def environment() -> Environment:
    """The templates of this folder: everything is escaped, and a name that is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(number=number, formula=formula_html, clean=text, anchor=anchor, markup=Markup)
    return made


@cache
def source(name: str) -> str:
    """The text of a file of this folder, such as a style sheet."""
    return (FOLDER / name).read_text(encoding="utf-8")


def script_hash(script: str) -> str:
    """The hash by which the page's security policy allows this one script and no other."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def checked_path(path: str | Path) -> Path:
    """The path of a report, once its folder is there.

    Raises:
        ReportError: it is not.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ReportError(f"{path}: folder {str(path.parent)!r} does not exist; create it first")
    return path


def write_page(page: str, path: Path) -> None:
    """Write a page; it appears under its name only when complete."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(page, encoding="utf-8", errors="replace", newline="\n")
    os.replace(partial, path)
