"""Fixtures for all tests of the deployment; this file also lets them import the helpers in this folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def permissive() -> Iterator[None]:
    """Clear the umask: the code itself must set private modes."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "server" / "certificates"
