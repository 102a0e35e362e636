from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from invented_federation import NODES, NOW, directory_in, flower_run, night, run
from prometheus_client.parser import text_string_to_metric_families

from teledx_fed.deployment.common.events import Disk
from teledx_fed.deployment.common.metrics import Metrics, exposition
from teledx_fed.deployment.server.monitoring import server_metrics
from teledx_fed.deployment.server.overview import overview
from teledx_fed.deployment.site.monitoring import Tally, site_metrics

ROOM = Disk(free=5, total=100)
EXPIRES = datetime.fromtimestamp(1_800_000_000, UTC)


def read(metrics: Metrics) -> dict[str, float]:
    """Return our samples by name and label values."""
    families = text_string_to_metric_families(exposition(metrics).decode())
    samples: Iterable[tuple[str, dict[str, str], float]] = (sample[:3] for one in families for sample in one.samples)
    return {
        " ".join([name.removeprefix("teledx_"), *labels.values()]): value
        for name, labels, value in samples
        if name.startswith("teledx_")
    }


def test_metrics_of_a_server(tmp_path: Path) -> None:
    server = directory_in(tmp_path)
    run(server, "night-3", night())
    status = overview(server, NODES, [flower_run("night-3")], NOW)
    assert read(server_metrics(status, EXPIRES)) == {
        "server_sites_online": 3,
        "server_certificate_expiry_timestamp_seconds": 1_800_000_000,
        "server_run_state running": 1,
        "server_run_state stalled": 0,
        "server_run_state stopped": 0,
        "server_run_state finished": 0,
        "server_run_round": 12,
        "server_run_rounds": 20,
        "server_run_bytes up": 744_000_000,
        "server_run_bytes down": 768_000_000,
        "server_round_sites accepted": 2,
        "server_round_sites refused": 1,
        "server_round_sites silent": 1,
        "server_round_seconds": pytest.approx(60.2),
    }


def test_a_server_without_a_run(tmp_path: Path) -> None:
    assert read(server_metrics(overview(directory_in(tmp_path), [], [], NOW), None)) == {"server_sites_online": 0}


def test_metrics_of_a_site() -> None:
    tally = Tally()
    tally.count("train", "answered", sent=15_000_000)
    tally.count("train", "refused")
    tally.count("query.counts", "answered", sent=200)
    tally.last -= 60
    metrics = read(site_metrics(tally, True, ROOM, EXPIRES))
    assert {name: value for name, value in metrics.items() if value and "quiet" not in name} == {
        "site_messages_total train answered": 1,
        "site_messages_total train refused": 1,
        "site_messages_total query answered": 1,
        "site_sent_bytes_total": 15_000_200,
        "site_supernode_up": 1,
        "site_disk_free_bytes": 5,
        "site_authority_certificate_expiry_timestamp_seconds": 1_800_000_000,
    }
    assert 60 <= metrics["site_quiet_seconds"] < 70


def test_a_server_cannot_make_a_site_s_metrics_grow() -> None:
    tally = Tally()
    before = len(read(site_metrics(tally, True, ROOM, EXPIRES)))
    for i in range(100):
        tally.count(f"invented-{i}", "failed")
    metrics = read(site_metrics(tally, True, ROOM, EXPIRES))
    assert len(metrics) == before
    assert metrics["site_messages_total other failed"] == 100


def test_a_kind_fails_until_a_message_of_it_succeeds() -> None:
    tally = Tally()
    tally.count("train", "failed")
    assert tally.failing == {"train"}
    tally.count("evaluate", "answered")
    assert tally.failing == {"train"}
    tally.count("train", "refused")
    assert tally.failing == set()


def test_metrics_include_those_of_the_process() -> None:
    assert b"process_resident_memory_bytes" in exposition(site_metrics(Tally(), True, ROOM, None))
