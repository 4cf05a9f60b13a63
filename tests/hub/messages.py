"""What the routes of the tests' Hub are asked, what they answer, and how they refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


class Refusal(Exception):
    """An answer that is no success: status, the code the clients tell errors apart by, and a sentence."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass
class Request:
    """A request as a route sees it; `query` holds the first value of each key."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    user: str | None

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"{}")


@dataclass
class Answer:
    """What a route says: JSON, or bytes."""

    content: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
