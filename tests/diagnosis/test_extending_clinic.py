"""The example page and command in docs/extending.md."""

import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from test_administration import Person
from typer.testing import CliRunner

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web import rendering
from teledx_fed.store.values import Role

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text("utf-8")
FILES = dict(re.findall(r"In `([^`]+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL))


def module(path: str, folder: Path) -> ModuleType:
    """Import a file from docs/extending.md as a module outside the package."""
    file = folder / Path(path).name
    file.write_text(FILES[path])
    spec = importlib.util.spec_from_file_location(f"example_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    imported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(imported)
    return imported


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the clinic's templates, to which a test can add."""
    folder = tmp_path / "templates"
    shutil.copytree(rendering.TEMPLATES, folder)
    monkeypatch.setattr(rendering, "TEMPLATES", folder)
    rendering._environment.cache_clear()
    yield folder
    rendering._environment.cache_clear()


def test_the_page_is_for_people_who_are_logged_in(clinic: Clinic, templates: Path) -> None:
    name = "teledx_fed/diagnosis/web/templates/waiting.html.jinja"
    (templates / Path(name).name).write_text(FILES[name])
    anna = Person(clinic, "anna", Role.READER)
    anna.client.app.include_router(module("teledx_fed/diagnosis/web/waiting.py", templates).router)  # type: ignore[attr-defined]
    assert "0 studies are not signed." in anna.get("/waiting").text
    anna.client.cookies.clear()
    assert anna.get("/waiting").headers["location"].startswith("/login")


def test_the_command_prints_a_line_or_json(tmp_path: Path) -> None:
    app = module("sites/waiting.py", tmp_path).app
    folder = tmp_path / "site"
    folder.mkdir()
    assert CliRunner().invoke(app, ["--dir", str(folder)]).output == "0 studies are not signed\n"
    assert json.loads(CliRunner().invoke(app, ["--dir", str(folder), "--json"]).output) == {"waiting": 0}
