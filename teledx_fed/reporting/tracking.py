"""Trackers: runs in TensorBoard or MLflow, each imported only when it is used."""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from socket import gethostname
from textwrap import shorten
from typing import Any
from uuid import getnode

from teledx_fed.config.loading import as_yaml, without_places
from teledx_fed.config.settings import Settings
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.files import write_text
from teledx_fed.core.reports import RoundReport
from teledx_fed.evaluation.metrics import PRIMARY
from teledx_fed.reporting.runs import flat
from teledx_fed.reporting.wording import MODELS, verdict

ARTEFACTS = ("report.html", "report.json", "rounds.jsonl", "model.safetensors")
"""Files that can be shared: none of them names a photograph, a patient or a path."""
MLFLOW_RUN = "mlflow_run.json"
PROCESS = "teledx_fed.process"
"""The MLflow tag with the hash of the machine and the process number of a run."""
ORPHANS = 1000
LONGEST, LONGEST_LINE = 500, 160

Scalar = tuple[str, float, int]
"""A metric's name, its value, and the number of rounds."""

log = logging.getLogger(__name__)


class Tracker:
    """Receives the rounds of all parts, then the report, or the error that ended the run; this one records nothing."""

    def round(self, part: str, report: RoundReport) -> None: ...

    def end(self, report: Mapping[str, Any]) -> None: ...

    def fail(self, error: BaseException) -> None: ...


class TensorBoard(Tracker):
    """Event files in `tensorboard/`: a folder for the rounds of each part; test scores in the top folder."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer, self._writers = SummaryWriter, dict[str, Any]()
        self._folder = folder / "tensorboard"
        self._of("").add_text("settings", f"```yaml\n{as_yaml(without_places(settings))}```")
        for name, value in settings.tracking.tags.items():
            self._of("").add_text(f"tag/{name}", value)

    def round(self, part: str, report: RoundReport) -> None:
        for scalar in _round_scalars(report):
            self._of(part).add_scalar(*scalar)
        self._of(part).flush()

    def end(self, report: Mapping[str, Any]) -> None:
        self._of("").add_text("verdict", verdict(report))
        for scalar in _test_scalars(report):
            self._of("").add_scalar(*scalar)
        self._close()

    def fail(self, error: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _of(self, part: str) -> Any:
        if part not in self._writers:
            self._writers[part] = self._writer(str(self._folder / part))
        return self._writers[part]


class MLflow(Tracker):
    """One MLflow run for a run folder; a resumed run continues it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}.items():
            os.environ.setdefault(name, value)
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        self._folder, self._metric, self._failure, self._failed = folder, Metric, MlflowException, False
        try:
            self._begin(settings, folder / MLFLOW_RUN)
        except MlflowException as error:
            uri = settings.tracking.uri
            raise ConfigurationError(f"tracking.uri must be where MLflow answers, got {uri}: {_line(error)}") from error

    def _begin(self, settings: Settings, run_file: Path) -> None:
        from mlflow.tracking import MlflowClient

        tracking = settings.tracking
        self._client = MlflowClient(tracking.uri)
        earlier = self._client.get_experiment_by_name(tracking.experiment)
        experiment = earlier.experiment_id if earlier else self._client.create_experiment(tracking.experiment)
        self._end_orphans(experiment)
        if run_file.exists():
            self._run = json.loads(run_file.read_text())["run"]
            self._client.update_run(self._run, "RUNNING")
        else:
            self._run = self._client.create_run(
                experiment, run_name=run_file.parent.name, tags=tracking.tags
            ).info.run_id
            write_text(run_file, json.dumps({"run": self._run}) + "\n")
        self._client.set_tag(self._run, PROCESS, f"{_machine()} {os.getpid()}")
        for name, value in flat(without_places(settings)).items():  # also if resumed: a killed run may lack some
            self._client.log_param(self._run, _key(name), str(value)[:LONGEST])
        self._client.log_text(self._run, as_yaml(without_places(settings)), "settings.yaml")

    def _end_orphans(self, experiment: str) -> None:
        """End the MLflow runs of processes that were killed on this machine."""
        for run in self._client.search_runs([experiment], "attributes.status = 'RUNNING'", max_results=ORPHANS):
            machine, _, process = run.data.tags.get(PROCESS, "").partition(" ")
            if machine == _machine() and not _lives(int(process)):
                self._client.set_terminated(run.info.run_id, "KILLED")

    def round(self, part: str, report: RoundReport) -> None:
        before = f"{part}/" if part else ""
        self._log([(f"{before}{name}", value, step) for name, value, step in _round_scalars(report)])

    def end(self, report: Mapping[str, Any]) -> None:
        self._log(_test_scalars(report))
        self._send(partial(self._conclude, report))

    def fail(self, error: BaseException) -> None:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        self._send(partial(self._client.set_terminated, self._run, status))

    def _conclude(self, report: Mapping[str, Any]) -> None:
        self._client.set_tag(self._run, "verdict", verdict(report))
        for name in ARTEFACTS:
            if (self._folder / name).exists():
                self._client.log_artifact(self._run, str(self._folder / name))
        self._client.set_terminated(self._run)

    def _log(self, scalars: Sequence[Scalar]) -> None:
        """Log all scalars at once: a killed run logs none."""
        now = int(time.time() * 1000)
        metrics = [self._metric(_key(name), value, now, step) for name, value, step in scalars]
        self._send(partial(self._client.log_batch, self._run, metrics))

    def _send(self, request: Callable[[], object]) -> None:
        """Send to MLflow. If it fails, log one warning and send no more."""
        if self._failed:
            return
        try:
            request()
        except self._failure as error:
            self._failed = True
            log.warning("MLflow does not answer; the rest of this run is not sent to it: %s", _line(error))


TRACKERS: Mapping[str, Callable[[Settings, Path], Tracker]] = {
    "none": lambda settings, folder: Tracker(),
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}


@contextmanager
def tracked(settings: Settings, folder: Path) -> Iterator[Tracker]:
    """Yield the tracker of a run. Raise a `ConfigurationError` at the start if its package is not installed."""
    to = settings.tracking.to
    try:
        tracker = TRACKERS[to](settings, folder)
    except ImportError as error:
        remedy = "Run pip install '.[tracking]' in the checkout."
        raise ConfigurationError(f"tracking.to must be installed, got {to}. {remedy}") from error
    try:
        yield tracker
    except BaseException as error:
        try:
            tracker.fail(error)
        except OSError as another:  # a full disk, perhaps: show the first failure
            log.warning("the tracker could not record that the run ended: %s", _line(another))
        raise


def _machine() -> str:
    """Return a hash of the machine, not its name."""
    return sha256(f"{gethostname()} {getnode()}".encode()).hexdigest()[:12]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def _key(name: str) -> str:
    """Return a name that MLflow accepts."""
    return re.sub(r"[^\w\-. /]", "_", name)


def _line(error: Exception) -> str:
    return shorten(str(error).partition("\n")[0], LONGEST_LINE)


def _round_scalars(report: RoundReport) -> list[Scalar]:
    """Return a round's scalars; scores are of the model at its start, so of the step before."""
    scores = {f"validation/{name}": value for name, value in report.metrics.items() if value is not None}
    of_round = {
        **{f"sites/{state}": float(len(getattr(report, state))) for state in ("accepted", "refused", "silent")},
        "cost/megabytes_up": report.bytes_up / 1e6,
        "cost/megabytes_down": report.bytes_down / 1e6,
        "cost/seconds": report.seconds,
    }
    before = [(name, value, report.round - 1) for name, value in scores.items()]
    return before + [(name, value, report.round) for name, value in of_round.items()]


def _test_scalars(report: Mapping[str, Any]) -> list[Scalar]:
    models = {model: report[model] for model in MODELS if model in report}
    return [
        (f"test/{model}/{place}/{name}", scores[place][name]["value"], 0)
        for model, scores in models.items()
        for place in ("mean_of_sites", "worst_of_sites")
        for name in PRIMARY
        if scores[place].get(name) is not None
    ]
