"""Finished run folders: their report, settings, test predictions, and how runs differ."""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from yaml import YAMLError

from teledx_fed.config.loading import load, without_places
from teledx_fed.config.settings import CHOICES, Settings
from teledx_fed.core.errors import ConfigurationError, IntegrityError
from teledx_fed.evaluation import test_predictions
from teledx_fed.evaluation.test_predictions import Evaluation, concatenate_folds
from teledx_fed.reporting.schema import SCHEMA
from teledx_fed.reporting.wording import MODELS

TESTED = "tested.safetensors"
NOT_COMPARED = (
    *("folder", "resume", "data_root", "bundles", "tracking"),
    *("data.cache", "data.workers", "simulation.workers"),
)

PATH_SETTINGS = ("folder", "resume", "data.cache", "tracking.uri")
PATH = re.compile(r"[^\s,:={}\[\]'\"]*(://|/)[^\s,{}\[\]'\"]*")

Json = Mapping[str, Any]
Read = TypeVar("Read")


@dataclass(frozen=True)
class Run:
    """A run folder, read at first use."""

    folder: Path

    @cached_property
    def report(self) -> Json:
        path = self.folder / "report.json"
        if not path.exists():
            raise ConfigurationError(f"{self.folder} must be the folder of a finished run, got no report.json in it.")
        report: Json = _read(path, _json)
        if (schema := report.get("schema")) != SCHEMA:
            raise IntegrityError(f"{path} must have schema {SCHEMA!r}, got {schema!r}. Run it again with this version.")
        return report

    @cached_property
    def settings(self) -> Settings:
        return _read(self.folder / "config.yaml", partial(load, local=True))

    @cached_property
    def choices(self) -> list[str]:
        path = self.folder / CHOICES
        return _read(path, _json) if path.exists() else []

    @cached_property
    def repeats(self) -> list[Evaluation]:
        """Return by seed the test predictions of all folds."""
        by_seed = groupby(self.report["parts"], key=lambda part: part["seed"])
        return [
            concatenate_folds([_read(self._of(part, TESTED), test_predictions.read) for part in parts])
            for _, parts in by_seed
        ]

    @cached_property
    def rounds(self) -> list[list[Json]]:
        """Return the lines of rounds.jsonl of each part."""
        return [_read(self._of(part, "rounds.jsonl"), json_lines) for part in self.report["parts"]]

    def _of(self, part: Json, file: str) -> Path:
        return self.folder / part["name"] / file

    @property
    def command(self) -> str:
        """Return the command of the run without paths."""
        kept = [without_paths(choice) for choice in self.choices if _name(choice) not in PATH_SETTINGS]
        return shlex.join(["python", "run_simulation.py", *kept])


def _read(path: Path, read: Callable[[Path], Read]) -> Read:
    try:
        return read(path)
    except (OSError, ValueError, SafetensorError, YAMLError) as error:
        raise IntegrityError(f"{path} must be as its run wrote it, got: {error}. Run it again.") from error


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def json_lines(path: Path) -> list[Json]:
    """Read a file with one JSON value a line."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def same_data(runs: Sequence[Run]) -> None:
    """Raise a `ConfigurationError` where runs differ in photographs or grades: they cannot be compared."""
    first, *others = runs
    for run in others:
        if run.report["data"] != first.report["data"]:
            raise ConfigurationError(
                f"runs must be of the same photographs and grades, got others in {run.folder} than in {first.folder}. "
                "Compare runs of one data set, with one data.seed."
            )


def differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return by dotted name the values of settings in which the runs differ, except paths."""
    flattened = [flat(without_places(run.settings)) | {"model.file": _file(run.settings)} for run in runs]
    names = dict.fromkeys(name for settings in flattened for name in settings)
    values = {
        name: [settings.get(name) for settings in flattened] for name in names if not name.startswith(NOT_COMPARED)
    }
    return {name: by_run for name, by_run in values.items() if any(value != by_run[0] for value in by_run)}


def _file(settings: Settings) -> str | None:
    return settings.model.file and Path(settings.model.file).name


def without_paths(text: str) -> str:
    """Return the text with paths replaced by PATH, so that it can be shared."""
    return "data_root=PATH" if _name(text) == "data_root" else PATH.sub("PATH", text)


def numbered(names: Sequence[str]) -> list[str]:
    """Return the names without paths, numbered where they are equal."""
    texts = [without_paths(name) for name in names]
    return [f"{name} {texts[: i + 1].count(name)}" if texts.count(name) > 1 else name for i, name in enumerate(texts)]


def _name(choice: str) -> str:
    """Return the setting that a choice sets: data.sources of `+data.sources=…`."""
    return choice.lstrip("+~").partition("=")[0]


def flat(settings: Json, before: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name."""
    values: dict[str, Any] = {}
    for name, value in settings.items():
        nested = isinstance(value, dict) and value
        values |= flat(value, f"{before}{name}.") if nested else {f"{before}{name}": value}
    return values


def names(runs: Sequence[Run]) -> list[str]:
    """Return names of runs: the choices that not all runs have, or else their folders."""
    if len(runs) == 1:
        return [MODELS["federated"]]
    chosen = [
        ", ".join(_short(without_paths(choice)) for choice in run.choices if _differs(choice, runs)) for run in runs
    ]
    if all(chosen) and len(set(chosen)) == len(runs):
        return chosen
    return numbered([run.folder.resolve().name for run in runs])


def _differs(choice: str, runs: Sequence[Run]) -> bool:
    return not _name(choice).startswith(NOT_COMPARED) and any(choice not in run.choices for run in runs)


def _short(choice: str) -> str:
    """Shorten a choice: `strategy=krum` to krum, `partition.alpha=0.1` to alpha 0.1."""
    name, _, value = choice.lstrip("+").partition("=")
    last = name.rsplit(".", 1)[-1]
    label = name if last in {field.name for field in fields(Settings)} else last
    return value if "." not in name and value[:1].isalpha() else f"{label} {value}"
