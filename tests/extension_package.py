"""The worked examples of docs/extending.md, installed as pip installs a package."""

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


def install(heading: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install the example of a section: its module and its metadata in `folder`. Return the name of its entry point."""
    blocks = example(heading)
    ((group, points),) = tomllib.loads(blocks["toml"])["project"]["entry-points"].items()
    ((name, value),) = points.items()
    module = value.partition(":")[0]
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    (folder / f"{module}.py").write_text(blocks["python"])
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)
    return name
