"""Health checks and Prometheus metrics of a clinic."""

import re
import shutil
import subprocess
import time
from collections import namedtuple
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import httpx
import pytest
from clinic_reader import READING, Reader
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from serving import free_port, served
from sqlalchemy.exc import OperationalError

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.diagnose import open_bundle
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.identified import open_identified
from teledx_fed.store.store import open_store

DOCS = Path(__file__).parents[2] / "docs/diagnosis.md"
Usage = namedtuple("Usage", ["total", "used", "free"])


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path, photographs) -> Iterator[Clinic]:
    """A clinic with a study that waits, and a backup."""
    folder = tmp_path_factory.mktemp("clinic")
    store, identified = open_store("", folder), open_identified("", folder)
    opened = Clinic(store, identified, open_bundle(bundle_folder, 1), ReferralSettings(), b"k" * 32, threads=2)
    opened.receive(photographs.submitted("waits", patient="4712"))
    store.backup(folder / "backup.zip")
    yield opened
    opened.close()


def visitor(clinic: Clinic, address: str = "127.0.0.1", **settings: object) -> TestClient:
    served = app(clinic, DiagnosisSettings(**settings))  # type: ignore[arg-type]
    return TestClient(served, base_url="http://127.0.0.1", client=(address, 1), raise_server_exceptions=False)


def samples(text: str) -> dict[str, float]:
    """Return the values of teledx_fed's metrics, by name and label values."""
    families = list(text_string_to_metric_families(text))
    assert [family.name for family in families if family.type == "unknown" or not family.documentation] == []
    return {
        " ".join([sample.name.removeprefix("teledx_clinic_"), *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("teledx_")
    }


@pytest.mark.slow
def test_the_health_check_needs_no_log_in(clinic: Clinic) -> None:
    answer = visitor(clinic, "10.9.9.9").get("/healthz")
    checks = dict.fromkeys(("database", "identities", "model", "disk"), True)
    assert (answer.status_code, answer.json()) == (200, {"healthy": True, "checks": checks})


@pytest.mark.slow
def test_the_health_check_names_only_the_failed_check(clinic: Clinic, tmp_path: Path, monkeypatch) -> None:
    def unwell(check: str) -> None:
        answer = visitor(clinic).get("/healthz")
        assert (answer.status_code, answer.json()["checks"][check], "tmp" in answer.text) == (503, False, False)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40 - 1000, 1000))
        unwell("disk")
    with monkeypatch.context() as patch:
        patch.setattr(clinic.bundle, "folder", tmp_path / "gone")
        unwell("model")

    def down(*_: object) -> None:
        raise OperationalError("SELECT secret", {}, Exception("connection refused"))

    with monkeypatch.context() as patch:
        patch.setattr(clinic.store._database.engine, "connect", down)
        unwell("database")
        text = visitor(clinic).get("/metrics").text
        assert {"database_up": 0, "disk_free_bytes": pytest.approx(2**40, rel=1)}.items() <= samples(text).items()
        assert not any(name.startswith("studies") for name in samples(text))


@pytest.mark.parametrize(
    ("address", "networks", "status"),
    [
        ("127.0.0.1", None, 200),
        ("::1", None, 200),
        ("10.0.0.7", None, 403),
        ("10.0.0.7", ["10.0.0.0/24"], 200),
        ("10.0.1.7", ["10.0.0.0/24"], 403),
        ("127.0.0.1", [], 403),
        ("testclient", None, 403),
    ],
)
def test_only_listed_addresses_may_read_metrics(
    clinic: Clinic, address: str, networks: list[str] | None, status: int
) -> None:
    settings = {} if networks is None else {"metrics_from": networks}
    answer = visitor(clinic, address, **settings).get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"})
    assert (answer.status_code, "teledx_clinic_" in answer.text) == (status, status == 200)


def test_an_invalid_network_is_refused() -> None:
    with pytest.raises(ValueError, match="metrics_from must be addresses or networks, got 'prometheus'"):
        DiagnosisSettings(metrics_from=["prometheus"])


def test_metrics_of_a_day_have_no_names(clinic: Clinic, photographs) -> None:
    reader = Reader(clinic, DiagnosisSettings())
    study = clinic.receive(photographs.submitted(patient="4711")).study.id
    token, link = clinic.store.access.add_link("clinic by the sea", timedelta(hours=1))
    reader.get(f"/studies/{study}")
    reader.client.get(f"/link/{token}")
    reader.client.get("/nowhere/4711")
    reader.client.post(f"/link/{token}", files={"right": ("r", b"no photograph")})
    reader.confirm(study, reader.read(study, "yes", **READING))
    answer = TestClient(reader.client.app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    values, path = samples(answer.text), "http_request_duration_seconds_count"
    assert {
        "studies signed device": 1,
        "studies diagnosed device": 1,
        "studies_waiting refer": 0,
        "readings signed overruled": 1,
        "refused_submissions_total link": 1,
        "database_up": 1,
        f"{path} GET /studies/{{study}} 2xx": 2,
        f"{path} GET /link/{{token}} 2xx": 1,
        f"{path} POST /studies/{{study}}/reading 3xx": 1,
        f"{path} none none 4xx": 1,
    }.items() <= values.items()
    assert sum(value for name, value in values.items() if name.startswith("suggestions ")) == 2
    assert sum(value for name, value in values.items() if name.startswith("studies_waiting ")) == 1
    assert 0 < values["oldest_waiting_seconds"] < 600
    assert abs(values["last_backup_timestamp_seconds"] - datetime.now(UTC).timestamp()) < 600
    for secret in ("4711", "anna", study, token, link.id, "camera", "sea", clinic.patients.pseudonym_of("4711")):
        assert secret not in answer.text, secret


def test_unknown_paths_and_methods_add_no_metrics(clinic: Clinic) -> None:
    anyone = visitor(clinic)
    anyone.get("/nowhere")
    anyone.request("BREW", "/")
    before = len(samples(anyone.get("/metrics").text))
    for number in range(20):
        anyone.get(f"/nowhere/{number}")
        anyone.request(f"BREW{number}", "/upload")
        anyone.post(f"/link/{number}", content=b"x")
    assert len(samples(anyone.get("/metrics").text)) <= before + 30


def rules() -> str:
    (text,) = re.findall(r"```yaml\n(groups:\n.*?)```", DOCS.read_text(), re.DOTALL)
    return str(text)


def test_the_metrics_named_in_the_guide_exist(clinic: Clinic) -> None:
    anyone = visitor(clinic)
    anyone.get("/")
    there = set(re.findall(r"^# TYPE (teledx_\w+)", anyone.get("/metrics").text, re.MULTILINE))
    there |= {f"{name}_total" for name in there} | {f"{name}_{part}" for name in there for part in ("count", "bucket")}
    named = set(re.findall(r"teledx_clinic_\w+", DOCS.read_text()))
    assert named
    assert named - there == set()


@pytest.mark.slow
def test_promtool_finds_no_fault(clinic: Clinic, tmp_path: Path) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool, which comes with Debian's prometheus, is not installed")
    anyone = visitor(clinic)
    anyone.get("/nowhere")
    checked = subprocess.run([tool, "check", "metrics"], input=anyone.get("/metrics").content, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    (tmp_path / "rules.yaml").write_text(rules())
    ruled = subprocess.run([tool, "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True)
    assert ruled.returncode == 0, ruled.stdout + ruled.stderr


@pytest.mark.slow
def test_prometheus_itself_scrapes_a_clinic_and_fires_an_alert(clinic: Clinic, tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Debian's prometheus is not installed")
    clinic_port, port = free_port(), free_port()
    (tmp_path / "rules.yaml").write_text(re.sub(r"for: \w+", "for: 0s", rules()).replace("> 26 * 3600", "> -1"))
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(port=clinic_port))
    listen = [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with served(clinic, DiagnosisSettings(port=clinic_port)):
        process = subprocess.Popen([program, "--config.file=prometheus.yml", *listen], cwd=tmp_path, stderr=DEVNULL)
        try:
            (waiting,) = until_answered(port, "sum(teledx_clinic_studies_waiting)")
            alerts = until_answered(port, 'ALERTS{alertstate="firing"}')
        finally:
            process.terminate()
            process.wait()
    assert float(waiting["value"][1]) >= 1
    assert {alert["metric"]["alertname"] for alert in alerts} == {"NoBackup"}


CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [rules.yaml]
scrape_configs:
  - job_name: clinic
    static_configs: [targets: ["127.0.0.1:{port}"]]
"""


def until_answered(port: int, query: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query}).json()
        except (httpx.TransportError, ValueError):
            answer = {"data": {"result": []}}
        if result := answer["data"]["result"]:
            return list(result)
        time.sleep(0.2)
    raise AssertionError(f"{query} has no answer")
