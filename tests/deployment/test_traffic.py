"""The decrypted network traffic, as the person who runs the server could read it."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from benchmarks.jobs.deployed import Federation, running
from benchmarks.jobs.wire_tap import WireTap, tapped
from teledx_fed.core.files import write_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CANARY = "Kanarienvogel-4711"
TINY = ("model.name=test_efficientnet", "model.initial=none")
RUN_OF_PIXELS = 24


@pytest.fixture(scope="module")
def tapped_federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Federation, WireTap]]:
    """Two hospitals behind the tap; the name of one photograph, and so of its patient, is `CANARY`."""
    with (
        running(tmp_path_factory.mktemp("tapped")) as federation,
        tapped(federation.server / "certificates", federation.port) as tap,
    ):
        for name in ("north", "south"):
            federation.enrol(name, port=tap.port)
        photographs = federation.folder / "photographs" / "north"
        next(photographs.rglob("north-7.png")).rename(photographs / "2" / f"{CANARY}.png")
        for name in ("north", "south"):
            federation.join(name)
        federation.order("recorded", *TINY, "federation.rounds=2", "federation.quorum=2")
        federation.wait_until_done("recorded")
        yield federation, tap


def test_models_passed_the_tap(tapped_federation: tuple[Federation, WireTap]) -> None:
    _, tap = tapped_federation
    assert b"/v1/fleet/push-object" in tap.recorded
    assert len(tap.recorded) > 10**6


def test_no_name_of_a_file_patient_or_folder_is_sent(tapped_federation: tuple[Federation, WireTap]) -> None:
    federation, tap = tapped_federation
    names = [path.stem for path in (federation.folder / "photographs").rglob("*.png")]
    assert CANARY in names
    leaked = [name for name in (*names, str(federation.folder), "photographs") if name.encode() in tap.recorded]
    assert leaked == []


def test_no_pixels_are_sent(tapped_federation: tuple[Federation, WireTap]) -> None:
    federation, tap = tapped_federation
    recorded = bytes(tap.recorded)
    for path in (federation.folder / "photographs").rglob("*.png"):
        pixels = np.asarray(Image.open(path))
        row = pixels[len(pixels) // 2].tobytes()
        middle = row[len(row) // 2 :][:RUN_OF_PIXELS]
        as_floats = np.frombuffer(middle, np.uint8).astype(np.float32).tobytes()
        assert middle not in recorded, path
        assert as_floats not in recorded, path
        assert path.read_bytes()[64 : 64 + RUN_OF_PIXELS] not in recorded, path


def test_a_site_does_not_unpack_the_app_bundle(tapped_federation: tuple[Federation, WireTap]) -> None:
    federation, _ = tapped_federation
    unpacked = [path for name in ("north", "south") for path in federation.site(name).rglob("app.py")]
    assert unpacked == []
    assert list((federation.server / "flwr").rglob("app.py"))


def test_a_malicious_app_bundle_never_runs(tapped_federation: tuple[Federation, WireTap]) -> None:
    """The server's app would write a file at every hospital; the round completes, and there is no file."""
    federation, _ = tapped_federation
    victim = federation.folder / "written by the server's code"
    malicious = federation.folder / "malicious"
    source = (Path(__file__).parents[2] / "sites" / "app.py").read_text()
    write_text(malicious / "app.py", f"open({str(victim)!r}, 'w').close()\n{source}")
    script = f"""
import sys
from pathlib import Path
from teledx_fed.deployment.server import control, run_requests
from teledx_fed.deployment.server.settings import ServerDirectory
from flwr.cli.build import build_fab_from_files
from importlib.util import find_spec
files = {{"pyproject.toml": control.APP.encode(), "sites/app.py": Path({str(malicious / "app.py")!r})}}
files["server/app.py"] = Path(find_spec("server.app").origin)
control.bundle = lambda: build_fab_from_files(files)[0]
directory = ServerDirectory(Path({str(federation.server)!r}))
asked = ["quick_full", "data.image_size=64", "federation.rounds=1", *{TINY!r}]
run_requests.submit(directory, *run_requests.compose_request(directory, asked, "malicious"))
"""
    federation.approve("quick_full", "data.image_size=64", "federation.rounds=1", *TINY)
    federation.python_code(script)
    federation.wait_until_done("malicious")
    assert federation.rounds("malicious")[0]["accepted"] == ["north", "south"]
    assert not victim.exists()


@pytest.mark.parametrize(
    "call", ["/v1/control/start-run", "/v1/control/register-node", "/v1/control/list-nodes", "/v1/runtime/acquire-task"]
)
def test_a_hospital_cannot_reach_the_coordinator_s_calls(
    tapped_federation: tuple[Federation, WireTap], call: str
) -> None:
    federation, _ = tapped_federation
    reply = httpx.post(f"https://localhost:{federation.port}{call}", verify=federation.trusting(), trust_env=False)
    assert reply.status_code == 404


def test_a_recorded_request_is_refused(tapped_federation: tuple[Federation, WireTap]) -> None:
    """An attacker who broke TLS sends a hospital's recorded request again."""
    federation, tap = tapped_federation
    pull = rb"POST /v1/fleet/pull-messages HTTP/1.1\r\n(?:.+\r\n)+\r\n"
    *_, request = re.finditer(pull, bytes(tap.recorded))  # the last one: the filter keeps a signature for 330 s
    header = request[0]
    length = int(re.search(rb"(?i)content-length: (\d+)", header)[1])  # type: ignore[index]
    body = bytes(tap.recorded)[request.end() : request.end() + length]
    assert federation.send_to_server(header + body).startswith(b"HTTP/1.1 401")
    log = (federation.server / "audit.jsonl").read_text()
    assert "a request that was sent before" in log
