"""Fixtures for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder (MSFORMERS_DATA, else ../shared beside the repository)."""
    path = Path(os.environ.get("MSFORMERS_DATA", Path(__file__).resolve().parents[2] / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"no shared data at {path} (set MSFORMERS_DATA)")
    return path
