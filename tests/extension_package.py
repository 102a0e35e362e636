"""Packages with entry points, written as pip installs them; above all the worked examples of docs/extending.md."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text("utf-8")


def example(heading: str) -> dict[str, str]:
    """Return the blocks of code in the section of this heading, by language."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL))


def write_package(folder: Path, entry_points: str, **modules: str) -> Path:
    """Write modules, and the metadata of a package with these entry points beside them. Return the folder."""
    package = next(iter(modules), "empty")
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def write_example(heading: str, folder: Path) -> Path:
    """Write the package of a section, and return its folder."""
    group, name, value = _entry_point(heading)
    return write_package(folder, f"[{group}]\n{name} = {value}\n", **{_module(value): example(heading)["python"]})


def install(heading: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install the package of a section in this process, and return the name of its entry point."""
    _, name, value = _entry_point(heading)
    monkeypatch.syspath_prepend(write_example(heading, folder))
    monkeypatch.delitem(sys.modules, _module(value), raising=False)
    return name


def _entry_point(heading: str) -> tuple[str, str, str]:
    ((group, points),) = tomllib.loads(example(heading)["toml"])["project"]["entry-points"].items()
    ((name, value),) = points.items()
    return group, name, value


def _module(value: str) -> str:
    return value.partition(":")[0]
