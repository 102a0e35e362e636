"""The content of TensorBoard and MLflow, read by their own readers."""

import builtins
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invented_run import report, write_run

from teledx_fed.config.settings import Settings
from teledx_fed.core.reports import RoundReport
from teledx_fed.reporting.tracking import PROCESS, MLflow, _machine, tracked

AUROC = "referable_auroc"
ROUNDS = [
    RoundReport(1, "", ("a", "b"), metrics={AUROC: 0.5, "qwk": None}, bytes_up=2_000_000),
    RoundReport(2, "", ("a",), refused={"b": "NaN"}, metrics={AUROC: 0.7}, seconds=3.0),
]


def track(settings: Settings, folder: Path) -> None:
    with tracked(settings, folder) as tracker:
        for line in ROUNDS:
            tracker.round("", line)
        tracker.end(report(("north", "south")))


def fail(settings: Settings, folder: Path, error: BaseException, *rounds: RoundReport) -> None:
    with tracked(settings, folder) as tracker:
        for line in rounds:
            tracker.round("", line)
        raise error


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_learning_curves_settings_and_test_scores(
    tiny_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track(tiny_settings(tracking__to="tensorboard", tracking__tags={"paper": "one"}), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    scalars = events.Tags()["scalars"]
    course = [(event.step, round(event.value, 3)) for event in events.Scalars("validation/referable_auroc")]
    assert course == [(0, 0.5), (1, 0.7)]
    assert [(event.step, event.value) for event in events.Scalars("sites/refused")] == [(1, 0), (2, 1)]
    assert events.Scalars("cost/megabytes_up")[0].value == 2
    assert "validation/qwk" not in scalars
    assert "test/federated/mean_of_sites/referable_auroc" in scalars
    assert {"settings/text_summary", "tag/paper/text_summary", "verdict/text_summary"} <= set(events.Tags()["tensors"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_continues_its_mlflow_run(tiny_settings: Callable[..., Settings], tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    folder = tmp_path / "runs" / "first"
    folder.mkdir(parents=True)
    write_run(folder, report(("north", "south")))
    (folder / "set_aside.csv").write_text("site,name\nnorth,patient-7.png\n")
    places = {"data_root": str(tmp_path / "photographs"), "data__cache": str(tmp_path / "cache")}
    settings = tiny_settings(tracking__to="mlflow", tracking__uri=uri, tracking__tags={"paper": "one"}, **places)
    client = MlflowClient(uri)

    def only_run() -> Any:
        experiment = client.get_experiment_by_name("teledx_fed")
        (run,) = client.search_runs([experiment.experiment_id])
        return run

    with pytest.raises(KeyboardInterrupt):
        fail(settings, folder, KeyboardInterrupt(), ROUNDS[0])
    assert only_run().info.status == "KILLED"
    with pytest.raises(RuntimeError):
        fail(settings, folder, RuntimeError())
    assert only_run().info.status == "FAILED"
    with tracked(settings, folder) as tracker:
        assert only_run().info.status == "RUNNING"
        tracker.round("", ROUNDS[1])
        tracker.end(report(("north", "south")))
    run = only_run()
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    assert run.data.params["federation.rounds"] == "2"
    assert run.data.tags["paper"] == "one"
    course = client.get_metric_history(run.info.run_id, "validation/referable_auroc")
    assert [(point.step, point.value) for point in course] == [(0, 0.5), (1, 0.7)]
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"report.json", "settings.yaml", "rounds.jsonl"} <= kept
    assert not {"set_aside.csv", "tested.safetensors", "config.yaml"} & kept
    artefacts = [client.download_artifacts(run.info.run_id, name) for name in kept]
    contents = " ".join([str(run.data), *(Path(file).read_bytes().decode(errors="replace") for file in artefacts)])
    assert str(tmp_path) not in contents


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_run_killed_while_it_sends_its_settings_continues_its_mlflow_run(
    tiny_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    settings = tiny_settings(tracking__to="mlflow", tracking__uri=f"sqlite:///{tmp_path}/mlflow.db")
    with monkeypatch.context() as killed:
        killed.setattr(MlflowClient, "log_text", broken)
        with pytest.raises(KeyboardInterrupt), tracked(settings, tmp_path):
            pass
    with tracked(settings, tmp_path):
        pass
    client = MlflowClient(settings.tracking.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("teledx_fed").experiment_id])
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["settings.yaml"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_next_run_ends_the_mlflow_runs_of_killed_processes(
    tiny_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    from mlflow.tracking import MlflowClient

    settings = tiny_settings(tracking__to="mlflow", tracking__uri=f"sqlite:///{tmp_path}/mlflow.db")
    folders = [tmp_path / name for name in ("killed", "at-work", "next")]
    for folder in folders:
        folder.mkdir()
    client = MlflowClient(settings.tracking.uri)
    ended = subprocess.Popen(["true"])
    ended.wait()
    for folder, process in zip(folders, (ended.pid, os.getpid()), strict=False):
        tracker = MLflow(settings, folder)
        client.set_tag(tracker._run, PROCESS, f"{_machine()} {process}")
    with tracked(settings, folders[2]):
        pass
    (experiment,) = client.search_experiments(filter_string="name = 'teledx_fed'")
    states = {run.info.run_name: run.info.status for run in client.search_runs([experiment.experiment_id])}
    assert states == {"killed": "KILLED", "at-work": "RUNNING", "next": "RUNNING"}


def broken(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_failing_mlflow_does_not_end_the_training(
    tiny_settings: Callable[..., Settings], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match=r"tracking\.uri must be where MLflow answers, got nonsense://x"):
        track(tiny_settings(tracking__to="mlflow", tracking__uri="nonsense://x"), tmp_path)
    database = tmp_path / "mlflow.db"
    hospitals = {"hospitals": {"St. Mary's": {}}, "image_size": 64}
    settings = tiny_settings(tracking__to="mlflow", tracking__uri=f"sqlite:///{database}", data=hospitals)
    with tracked(settings, tmp_path) as tracker:
        database.write_bytes(b"torn")
        for line in ROUNDS:
            tracker.round("", line)
        tracker.end(report(("north", "south")))
    assert len([record for record in caplog.records if "MLflow does not answer" in record.message]) == 1


def test_a_tracker_that_is_not_installed_is_reported_at_the_start(
    tiny_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith(("mlflow", "torch.utils.tensorboard")):
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    for to in ("mlflow", "tensorboard"):
        with pytest.raises(ValueError, match=rf"tracking\.to must be installed, got {to}. Run pip install "):
            track(tiny_settings(tracking__to=to), tmp_path)
    assert not list(tmp_path.rglob("events*"))
