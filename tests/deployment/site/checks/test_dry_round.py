"""The checks of a hospital's photographs and of a round of training on them; and all checks together."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from loopback import named, states
from typer.testing import CliRunner

from sites.__main__ import app
from teledx_fed.config.settings import Settings
from teledx_fed.core.failures import LOG
from teledx_fed.core.reports import SILENT
from teledx_fed.deployment.site.checks import run_all
from teledx_fed.deployment.site.checks.check import Check, CheckState, fail, ok
from teledx_fed.deployment.site.settings import SiteDirectory

Write = Callable[..., SiteDirectory]
SMALL = {"training_patients": 5, "steps": [1, 1000], "cores": 1}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Ten photographs of each of three grades, a copy with the same grade, and a copy with another grade."""
    rng = np.random.default_rng(0)
    for number in range(30):
        disc = np.zeros((64, 64, 3), np.uint8)
        cv2.circle(disc, (32, 32), 30, tuple(rng.integers(60, 250, 3).tolist()), -1)
        disc[20:44, 20:44] = rng.integers(40, 250, (24, 24, 3))
        folder = tmp_path / "photographs" / str(number % 3)
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"eye{number}.png"), disc)
    copy(folder.parent, "0/eye0.png", "0/again.png")
    copy(folder.parent, "1/eye1.png", "2/other.png")
    return folder.parent


def copy(folder: Path, source: str, target: str) -> None:
    (folder / target).write_bytes((folder / source).read_bytes())


def offline(directory: SiteDirectory, settings: Settings) -> dict[str, Check]:
    return named(run_all.checks(directory, True, SILENT, settings))


@pytest.fixture
def settings(tiny_settings: Callable[..., Settings]) -> Settings:
    return tiny_settings()


def test_good_data_and_a_round_of_training(write: Write, photographs: Path, settings: Settings) -> None:
    directory = write(data={"root": str(photographs)}, limits=SMALL, device="cpu")
    (photographs / "2" / "eye.heic").write_bytes(b"of a telephone")
    results = offline(directory, settings)
    wrong = {name: state for name, state in states(results).items() if state != "ok" and name != "disk"}
    assert wrong == {"approval": "warn", "network": "warn", "files": "warn", "patients": "warn", "copies": "warn"}
    assert results["files"].found == (
        "29 photographs are used, 3 set aside; 1 file is not taken: 1 .heic (not a photograph that this program reads)"
    )
    assert results["grades"].found == "29 photographs by ICDR grade 0: 10, 1: 9, 2: 10; labels of layout folder"
    assert results["patients"].found.startswith("29 with 29 photographs, unknown: ")
    assert results["copies"].found == "1 copies set aside, 2 with copies of another grade"
    assert results["device"].found == "the CPU"
    assert "ms a photograph; a round of one epoch over " in results["training"].found
    assert "needed for 32 photographs" in results["disk"].found
    assert not (directory.state / "splits").exists()
    assert not (directory.state / "runs").exists()
    assert len((directory.state / "set-aside.txt").read_text().splitlines()) == 4


@pytest.mark.parametrize(("on_bad", "state"), [("fail", "fail"), ("skip", "warn")])
def test_photographs_that_cannot_be_read(
    write: Write, photographs: Path, settings: Settings, on_bad: str, state: str
) -> None:
    for number in range(0, 15, 3):
        (photographs / "0" / f"eye{number}.png").write_bytes(b"no image")
    results = offline(write(data={"root": str(photographs), "on_bad": on_bad}, limits={"cores": 1}), settings)
    assert results["data"].state == state
    assert results["data"].found.startswith("5 problems: ")
    assert results["data"].found.endswith("; and 2 more")
    assert "set-aside.txt" in results["data"].remedy
    assert results["training"].state is CheckState.OK


def test_missing_data(write: Write, tmp_path: Path, settings: Settings) -> None:
    results = offline(write(data={"root": str(tmp_path / "nowhere")}), settings)
    assert results["data"].state is CheckState.FAIL
    assert "training" not in results
    empty = tmp_path / "empty"
    empty.mkdir()
    results = offline(write(data={"root": str(empty)}), settings)
    assert states(results)["data"] == states(results)["grades"] == "fail"


def test_too_few_patients(write: Write, photographs: Path, settings: Settings) -> None:
    for file in photographs.rglob("eye[1-9]*.png"):
        file.unlink()
    results = offline(write(data={"root": str(photographs)}), settings)
    assert results["data"].state is CheckState.FAIL
    assert "patient" in results["data"].found


def test_a_full_disk(write: Write, photographs: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(total=10**12, free=10**5))
    directory = write(data={"root": str(photographs)})
    results = offline(directory, settings)
    assert results["disk"].state is CheckState.FAIL
    assert "grades" not in results
    assert not directory.cache.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_a_missing_gpu(write: Write, photographs: Path, settings: Settings) -> None:
    results = offline(write(data={"root": str(photographs)}, device="cuda"), settings)
    assert results["device"].state is CheckState.FAIL
    assert results["training"].state is CheckState.FAIL


def test_limits_that_allow_no_training(write: Write, photographs: Path, settings: Settings) -> None:
    results = offline(write(data={"root": str(photographs)}, limits={"cores": 1}), settings)
    assert results["limits"].state is CheckState.WARN
    assert "patients is refused: fewer training patients than limits.training_patients" in results["limits"].found


def test_an_unexpected_error_shows_a_reference_and_other_checks_still_run(
    write: Write, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def broken(directory: SiteDirectory) -> Iterator[Check]:
        yield ok("memory", "some")
        raise KeyError("patient Njeri")

    monkeypatch.setitem(run_all.LOCAL_CHECKS, "memory", broken)
    directory = write()
    results = list(run_all.checks(directory, True, SILENT, settings))
    (failed,) = [check for check in results if check.name == "memory" and check.state is CheckState.FAIL]
    assert (reference := re.match(r"unexpected error, reference (\w+)\.", failed.found))
    assert "Njeri" not in failed.found + failed.remedy
    traceback = (directory.folder / LOG).read_text()
    assert reference[1] in traceback
    assert "patient Njeri" in traceback
    assert results[-1].name == "data"


def test_an_invalid_site_yaml(write: Write) -> None:
    directory = write(device="abacus")
    (check,) = run_all.checks(directory, False, SILENT)
    assert "device must be one of auto, cpu, cuda" in check.found


def test_the_command(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    checks = [ok("name", "known"), fail("clock", "4 s ahead", "Set it.")]
    monkeypatch.setattr(run_all, "checks", lambda directory, offline, reporter: iter(checks))
    command = ["check", "--dir", str(write().folder)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert result.stdout == "ok   name         known\nfail clock        4 s ahead\n                  Set it.\n"
    result = CliRunner().invoke(app, [*command, "--json"])
    assert [Check(**json.loads(line)) for line in result.stdout.splitlines()] == checks
    checks.pop()
    assert CliRunner().invoke(app, command).exit_code == 0
