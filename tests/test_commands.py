"""Error reports of every command-line program."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import hydra
import pytest
import typer
from click.testing import CliRunner

import run_simulation
from server.__main__ import app as server
from sites.__main__ import app as sites
from teledx_fed.commands import HERE, Folder, program
from teledx_fed.config.loading import CONF
from teledx_fed.core.errors import ConfigurationError, TeledxError
from teledx_fed.core.failures import LOG
from teledx_fed.reporting.__main__ import app as reporting

SECRET = "Anna Bauer, born 1950"
UNEXPECTED = (RuntimeError(SECRET), ValueError(SECRET))
APPS = {"sites": sites, "server": server, "reporting": reporting}


def fail_with(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", UNEXPECTED, ids=["RuntimeError", "ValueError"])
@pytest.mark.parametrize("name", APPS)
def test_an_unexpected_error_is_a_reference_number_and_its_traceback_is_in_the_log(
    name: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = typer.main.get_command(APPS[name])
    assert isinstance(commands, click.Group)
    commands.add_command(click.Command("planted", callback=fail_with(error)))
    result = CliRunner().invoke(commands, ["planted"])
    assert result.exit_code == 1
    assert_referred(result.output, tmp_path)


def test_the_log_is_in_the_folder_that_the_command_works_in(tmp_path: Path) -> None:
    app = program()

    @app.command()
    def work(folder: Folder = HERE) -> None:
        raise RuntimeError(SECRET)

    app.callback()(lambda: None)
    assert_referred(CliRunner().invoke(typer.main.get_command(app), ["work", "--dir", str(tmp_path)]).output, tmp_path)


def test_an_expected_error_is_one_line_and_is_not_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = typer.main.get_command(sites)
    assert isinstance(commands, click.Group)
    commands.add_command(click.Command("planted", callback=fail_with(TeledxError("eye must be left, got up."))))
    assert CliRunner().invoke(commands, ["planted"]).output == "error: eye must be left, got up.\n"
    assert list(tmp_path.iterdir()) == []


def assert_referred(output: str, folder: Path) -> None:
    """Check that the output has a reference number and no error text, and the folder's log the traceback."""
    assert SECRET not in output
    reference = re.search("reference [0-9a-f]{8}", output)
    assert reference is not None, output
    logged = (folder / LOG).read_text()
    assert reference[0] in logged
    assert "Traceback" in logged
    assert SECRET in logged


def simulate(folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a simulation that fails in its preparation, and return its last line."""
    experiment = ModuleType("teledx_fed.experiment")  # without torch

    def run_experiment(*_: object) -> None:
        (folder / "splits").mkdir()
        raise error

    vars(experiment)["run_experiment"] = run_experiment
    monkeypatch.setitem(sys.modules, "teledx_fed.experiment", experiment)
    monkeypatch.setattr(sys, "argv", ["run_simulation.py", "experiment=quick", f"folder={folder}"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(SystemExit) as ended:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(run_simulation.Command().run)()
    return str(ended.value.code)


@pytest.mark.parametrize("error", UNEXPECTED, ids=["RuntimeError", "ValueError"])
def test_an_unexpected_error_before_the_first_round_keeps_the_run_folder(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_referred(simulate(tmp_path / "run", error, monkeypatch), tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"config.yaml", "splits"}


def test_refused_settings_free_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = ConfigurationError("faults.sites must name hospitals")
    assert simulate(tmp_path / "run", refused, monkeypatch) == f"error: {refused}"
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("command", ["user disable anna", "lineage p1", "forget 30"])
def test_a_folder_that_does_not_exist_is_refused_and_not_made(command: str, tmp_path: Path) -> None:
    words = command.split()
    result = CliRunner().invoke(typer.main.get_command(sites), [*words, "--dir", str(tmp_path / "typo")])
    assert (result.exit_code, result.output[:40]) == (1, "error: --dir must be a folder that exist")
    assert not (tmp_path / "typo").exists()
