"""README.md as data: its code blocks, and the tables that are generated. Run this file to bring the tables up to date."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


@dataclass(frozen=True)
class Block:
    """A fenced code block, the line its code starts at, and the HTML comment right above it, such as `command: run`."""

    language: str
    code: str
    line: int
    comment: str


def blocks(language: str) -> list[Block]:
    """The README's blocks of one language, in order."""
    text = README.read_text(encoding="utf-8")
    pattern = re.compile(r"(?:<!-- ([^\n]*) -->\n)?```(\w+)\n(.*?)```\n", re.DOTALL)
    found = [
        Block(m[2], m[3], text[: m.start(3)].count("\n") + 1, m[1] or "") for m in pattern.finditer(text)
    ]
    return [block for block in found if block.language == language]


def shipped_checkpoints() -> list[Path]:
    """Folders of `hub_cards` that hold a model."""
    return sorted(path.parent for path in (ROOT / "hub_cards").glob("*/config.json"))


def front_matter(folder: Path) -> dict[str, str]:
    """The one-line entries of the YAML head of a card."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    head = card.split("---")[1] if card.startswith("---") else ""
    return dict(re.findall(r"^(\w+): *(\S.*)$", head, re.MULTILINE))


def checkpoint_table() -> str:
    """Every shipped checkpoint with its architecture, size and licence."""
    rows = ["| checkpoint | architecture | size | licence of the weights |", "|---|---|---|---|"]
    for folder in shipped_checkpoints():
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        licence = front_matter(folder).get("license", "not stated")
        link = f"[{folder.name}](hub_cards/{folder.name}/README.md)"
        rows.append(f"| {link} | {config['model_type']} | {megabytes:.0f} MB | {licence} |")
    return "\n".join(rows)


def model_table() -> str:
    """Every registered architecture."""
    import msformers

    rows = ["| name | kind | published in | licence of the original |", "|---|---|---|---|"]
    for name, entry in sorted(msformers.MODELS.items()):
        rows.append(f"| `{name}` | {entry.kind} | {entry.paper} | {entry.licence} |")
    return "\n".join(rows)


def with_tables(text: str) -> str:
    """The README's text with both tables as they should be now."""
    for name, table in (("checkpoints", checkpoint_table()), ("models", model_table())):
        start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
        head, rest = text.split(start)
        text = f"{head}{start}\n{table}\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
