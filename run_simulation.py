"""Every hospital in this process: `python run_simulation.py experiment=quick`."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from teledx_fed.config import loading
from teledx_fed.config.settings import CHOICES, Settings
from teledx_fed.core.errors import ConfigurationError, TeledxError
from teledx_fed.core.failures import LOG, line_for_person, of_machine, report_errors
from teledx_fed.core.files import LOCK, exclusive, write_text

OmegaConf.register_new_resolver("first", lambda *choices: next(choice for choice in choices if choice))


SETTINGS = "config.yaml"
ENDED_BY_SIGNAL = 128
"""Plus the number of the signal, as in shells: 130 for Ctrl-C."""


@dataclass
class Command:
    """Runs of one command: the folders of finished runs, and the errors of failed runs by their choices."""

    made: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    sweep: Path | None = None
    lock: ExitStack = field(default_factory=ExitStack)
    """Lock of the sweep's folder, until the command ends."""

    def run(self, composed: DictConfig) -> None:
        """Make one run in the folder that Hydra chose. In a sweep, a failure does not stop the other runs."""
        job = HydraConfig.get()
        folder, is_sweep = Path(job.runtime.output_dir), job.mode == RunMode.MULTIRUN
        if is_sweep and self.sweep is None:
            self.sweep = Path(job.sweep.dir)
            self.lock.enter_context(exclusive(self.sweep / LOCK))
        try:
            _run(composed, folder)
        except KeyboardInterrupt as interrupt:
            number = interrupt.args[0] if interrupt.args else signal.SIGINT
            print(f"interrupted: continue with {_how_to_continue(folder)}", file=sys.stderr)
            sys.exit(ENDED_BY_SIGNAL + number)
        except Exception as error:  # noqa: BLE001 - people read a reference, the log has the traceback
            line = line_for_person(error, folder)
            if of_machine(error):
                line += f" Then continue the run with {_how_to_continue(folder)}."
            if not is_sweep:
                sys.exit(f"error: {line}")
            choices = [choice for choice in job.overrides.task if not choice.startswith(("folder=", "data_root="))]
            self.failed[" ".join(choices)] = line
            print(f"error: {line}", file=sys.stderr)
        else:
            self.made.append(folder)
            print(f"run folder: {folder}")

    def finish(self) -> None:
        """Write a sweep's table, and exit with code 1 if a run failed."""
        if self.sweep and len(self.made) > 1:
            from teledx_fed.reporting.sweep import write_sweep

            try:
                print(f"table: {write_sweep(self.made, self.failed, self.sweep)}")
            except TeledxError as error:
                print(f"no table: {error}")
        self.lock.close()
        if self.failed:
            sys.exit(f"error: {len(self.failed)} of {len(self.made) + len(self.failed)} runs failed")


def _how_to_continue(folder: Path) -> str:
    """Return the command that continues an interrupted run."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return f"the same command with folder={HydraConfig.get().sweep.dir}"
    return f"resume={folder}" if (folder / SETTINGS).exists() else "the same command"


def _run(composed: DictConfig, folder: Path) -> None:
    if composed.resume is not None:
        _check_resume(composed.resume, folder)
    with exclusive(folder / LOCK):
        new = _is_empty(folder)
        settings = _settings(composed, folder)
        from teledx_fed.experiment import run_experiment  # torch and timm, which --help does not need

        with _emptied_on_refusal(folder) if new else nullcontext():
            run_experiment(settings, folder)


def _check_resume(resume: str, folder: Path) -> None:
    if others := [choice for choice in HydraConfig.get().overrides.task if not choice.startswith("resume=")]:
        raise ConfigurationError(
            f"resume must come alone, got {' '.join(others)}. A run keeps the settings in its {SETTINGS}."
        )
    if not (folder / SETTINGS).exists():
        raise ConfigurationError(
            f"resume must be the folder of a run, got {resume}, which has no {SETTINGS}. Name the folder of a run."
        )


def _is_empty(folder: Path) -> bool:
    return all(path.name in (LOCK, LOG) for path in folder.iterdir())


def _settings(composed: DictConfig, folder: Path) -> Settings:
    """Return the composed settings after saving them in the run folder, or the saved ones if the run continues."""
    saved, choices = folder / SETTINGS, list(HydraConfig.get().overrides.task)
    _check_groups(choices)
    if composed.resume is None:
        if composed.hospitals is not None:
            _use_own_hospitals(composed, choices)
        settings = replace(loading.build(composed, local=True), folder=str(folder))
        if saved.exists():
            if HydraConfig.get().mode == RunMode.MULTIRUN and loading.load(saved, local=True) == settings:
                return settings
            raise ConfigurationError(
                f"folder must be new, got {folder}, which contains a run. Set resume={folder}, or another folder."
            )
        if not _is_empty(folder):
            raise ConfigurationError(
                f"folder must be new or empty, got {folder}, which contains other files. Name another folder."
            )
        loading.save(settings, saved)
        write_text(folder / CHOICES, json.dumps(choices, indent=1) + "\n")
        return settings
    return loading.load(saved, local=True)


def _use_own_hospitals(composed: DictConfig, choices: list[str]) -> None:
    """Replace the hospitals of `data` by those of the researcher's file `hospitals`."""
    from teledx_fed.data.own_hospitals import load  # pydicom and OpenCV, which --help does not need

    if others := [choice for choice in choices if choice.startswith("data=") and choice != "data=mine"]:
        raise ConfigurationError(f"hospitals must come without {others[0]}, got both. Remove data=, or set data=mine.")
    hospitals = load(Path(composed.hospitals))
    composed.data.sources, composed.data.hospitals = dict(hospitals.sources), dict(hospitals.drawn)


def _check_groups(choices: list[str]) -> None:
    """Refuse two files for one group: Hydra would use the last without a warning."""
    for choice in choices:
        group, _, value = choice.partition("=")
        if value.startswith("[") and (loading.CONF / group).is_dir():
            several = f" Name several faults with faults.kinds={value}." if group == "faults" else ""
            raise ConfigurationError(f"{group} must be one name, got {value}. Choose one.{several}")


@contextmanager
def _emptied_on_refusal(folder: Path) -> Iterator[None]:
    """Empty a new run's folder if a `TeledxError` ends the run before the first round.

    Any other error deletes nothing: the user can free the disk and continue, or look for the fault.
    """
    try:
        yield
    except TeledxError:
        if not any(folder.rglob("rounds.jsonl")):
            for path in folder.iterdir():
                if path.name != LOCK:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End a run as Ctrl-C does, on SIGTERM of a job scheduler or SIGHUP of a closed terminal."""
    raise KeyboardInterrupt(number)


def usage() -> str:
    """Return the help text, in half the time of Hydra's own help."""
    groups = sorted(group for group in (Path(__file__).parent / "conf").iterdir() if group.is_dir())
    choices = [
        f"  {group.name}=" + "|".join(sorted(file.stem for file in group.glob("*.yaml")))
        for group in groups
        if group.name != "hydra"
    ]
    return "\n".join(
        [
            f"{__doc__}\n\nChoices, each a file in conf/:",
            *choices,
            "\nSettings with their defaults. A choice changes some; change others as in federation.rounds=3:",
            OmegaConf.to_yaml(OmegaConf.structured(Settings)),
            "--cfg job shows the composed settings; seed=0,1,2 --multirun makes three runs; --hydra-help shows more",
        ]
    )


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(usage())
        sys.exit()
    if wrong := loading.command_line_problem(sys.argv[1:]):
        sys.exit(f"error: {wrong}")
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.umask(0o077)  # Hydra makes the run's folder, which holds patients' names
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # waiting threads soon leave their cores to other runs
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra prints its own traceback and exits
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _interrupt)
    command = Command()
    with report_errors(Path()):
        try:
            hydra.main(version_base="1.3", config_path=str(loading.CONF), config_name="config")(command.run)()
        except CompactHydraException as error:
            sys.exit(f"error: {loading.hydra_message(error)}")
        command.finish()
