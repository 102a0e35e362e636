"""A hospital refuses the requests of a hostile server, and keeps running."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.jobs.deployed import Federation, running
from teledx_fed.deployment.common.audit import entries

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TINY = ("model.name=test_efficientnet", "model.initial=none", "federation.rounds=1", "federation.quorum=1")
PLACED = """
from importlib.util import find_spec
from pathlib import Path
from flwr.cli.build import build_fab_from_files
from teledx_fed.deployment.server import control, run_requests
from teledx_fed.deployment.server.settings import ServerDirectory
app = control.APP.replace("server.app:app", "hostile_server:app")
files = {{"pyproject.toml": app.encode(), "hostile_server.py": Path({app!r})}}
files["sites/app.py"] = Path(find_spec("sites.app").origin)
control.bundle = lambda: build_fab_from_files(files)[0]
directory = ServerDirectory(Path({home!r}))
run_requests.submit(directory, *run_requests.compose_request(directory, {asked!r}, {run!r}))
"""
ASKED = ("quick_full", "data.image_size=64", *TINY)


def demanded(federation: Federation, run: str, seconds: float = 300) -> dict[str, Any]:
    """Run a hostile server and return the replies that it received, by request."""
    app = Path(__file__).with_name("hostile_server.py")
    federation.approve(*ASKED)
    federation.python_code(PLACED.format(app=str(app), home=str(federation.server), asked=list(ASKED), run=run))
    answers = federation.server / f"{run}.json"
    federation.wait(answers.exists, f"the end of {run}", seconds)
    return dict(json.loads(answers.read_text()))


def trains(federation: Federation, run: str) -> None:
    federation.order(run, *TINY)
    federation.wait_until_done(run, seconds=240)
    assert federation.rounds(run)[0]["accepted"] == ["prey"]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with running(tmp_path_factory.mktemp("hostile-server")) as started:
        started.enrol("prey")
        started.join("prey")
        started.wait_until_online("prey")
        yield started


def test_each_demand_is_refused_with_a_reason_only(federation: Federation) -> None:
    answers = demanded(federation, "demands")
    assert answers.pop("test scores of a model") == [["tables"]]
    assert answers == {
        "more epochs": ["training other than the plan's"],
        "plain gradients": ["training other than the plan's"],
        "a first model of its own": ["first model other than this site builds from the plan"],
        "raw features": ["request not understood"],
        "photographs": ["request not understood"],
        "a function by its name": ["request not understood"],
        "nothing at all": ["request not understood"],
        "a pickled payload": ["request not understood"],
        "wrong shapes": ["request not understood"],
        "test scores of another": ["another question in place of one that was asked"],
    }
    assert not (federation.folder / "written by the server's payload").exists()


def test_the_hospital_logs_the_demands(federation: Federation) -> None:
    shown = federation.command("sites", "audit", "show", "--dir", federation.site("prey"))
    assert "query.photographs" in shown
    assert "training other than the plan's" in shown


def test_the_server_logs_the_messages_of_another_app(federation: Federation) -> None:
    lines = [entry for entry in entries(federation.server / "audit.jsonl") if "another app" in entry["event"]]
    assert {(entry["event"], entry["site"]) for entry in lines} == {
        ("sent of another app", "prey"),
        ("received of another app", "prey"),
    }
    assert {"query.photographs", "train"} <= {entry["kind"] for entry in lines}
    (started,) = (entry for entry in entries(federation.server / "audit.jsonl") if entry["event"] == "run started")
    assert started["own"] is False


def test_the_hospital_still_trains(federation: Federation) -> None:
    trains(federation, "honest")


def test_a_payload_larger_than_memory_only_ends_the_connection(tmp_path: Path) -> None:
    """A resource limit replaces MemoryMax of the unit: the payload has 3 GiB, a process may use 2 GiB."""
    with running(tmp_path, environment={"HOSTILE_GIB": "3"}) as federation:
        federation.enrol("prey")
        federation.join("prey", {resource.RLIMIT_DATA: 2 * 2**30})
        federation.wait_until_online("prey")
        assert demanded(federation, "huge", seconds=600) == {"huge": ["ClientApp stopped responding."]}
        federation.wait_until_online("prey")
        trains(federation, "afterwards")
