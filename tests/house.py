"""What the tests of the house share: where the package's source is, and its syntax trees."""

from __future__ import annotations

import ast
import configparser
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("spectra", "tokenization", "modeling", "inference", "metrics", "reports", "hub_cards")
SCRIPTS = ("training_scripts", "benchmarks")


def setup_cfg() -> configparser.ConfigParser:
    """setup.cfg, parsed."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def python_files(*folders: str) -> list[Path]:
    """Every Python file below these folders of the repository, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def package_files() -> list[Path]:
    """Every Python file that is installed."""
    return python_files("src", *FOLDERS)


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    """The name under which a file of the package is imported, such as `msformers.spectra.read`."""
    relative = path.relative_to(ROOT)
    parts = relative.parts[1:] if relative.parts[0] == "src" else ("msformers", *relative.parts)
    return ".".join((*parts[:-1], relative.stem)).removesuffix(".__init__")


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, absolute module or name) of everything a file imports, at any depth, relative imports resolved.

    `from a.b import c` gives `a.b.c`: whether `c` is a module or a name in one, its folder is the same.
    """
    package = module_name(path).split(".")
    if path.stem != "__init__":
        package.pop()
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = [*base, *(node.module or "").split(".")] if node.module else base
            found += [(node.lineno, ".".join([*stem, alias.name])) for alias in node.names]
    return found
