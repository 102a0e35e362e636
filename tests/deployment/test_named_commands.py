"""Every command in a page, a message or a guide exists."""

import re
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"python -m (server|sites) ([a-z]+)(?: ([a-z]+))?")
TEXTS = [
    path
    for folder, suffixes in (("teledx_fed", (".py", ".jinja")), ("docs", (".md",)), ("packaging", (".sh",)))
    for path in (ROOT / folder).rglob("*")
    if path.suffix in suffixes
]


def commands(program: str) -> dict[str, set[str]]:
    """Return commands with their subcommands."""
    module = pytest.importorskip(f"{program}.__main__")
    group = typer.main.get_command(module.app).commands
    return {name: set(getattr(command, "commands", {})) for name, command in group.items()}


def test_every_command_in_a_text_exists() -> None:
    named = {program: commands(program) for program in ("server", "sites")}
    missing = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in TEXTS
        for match in NAMED.finditer(path.read_text("utf-8"))
        if match[2] not in named[match[1]] or (named[match[1]][match[2]] and match[3] not in named[match[1]][match[2]])
    ]
    assert missing == []
