import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count

import httpx
import pytest

from teledx_fed.deployment.common.metrics import Metrics, gauge
from teledx_fed.deployment.common.monitoring import repeatedly, watched


def free() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


@contextmanager
def watching(
    health: Callable[[], Mapping[str, bool]] = dict,
    metrics: Callable[[], Metrics] = lambda: iter([gauge("up", "Up", 1)]),
) -> Iterator[Callable[[str], httpx.Response]]:
    address = free()
    with watched(address, metrics, health):
        yield lambda path: httpx.get(f"http://{address}{path}", trust_env=False)


@pytest.mark.parametrize(("database", "status"), [(True, 200), (False, 503)])
def test_health_requires_every_check(database: bool, status: int) -> None:
    with watching(lambda: {"listening": True, "database": database}) as get:
        answer = get("/healthz")
    assert answer.status_code == status
    assert answer.json() == {"healthy": database, "checks": {"listening": True, "database": database}}


def test_metrics_are_computed_for_each_request() -> None:
    numbers = count(1)
    with watching(metrics=lambda: iter([gauge("up", "Up", next(numbers))])) as get:
        assert "teledx_up 1.0" in get("/metrics").text
        assert "teledx_up 2.0" in get("/metrics?again").text


def test_other_paths_are_not_found() -> None:
    with watching() as get:
        assert get("/").status_code == 404


def test_a_check_that_fails_is_not_health(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Mapping[str, bool]:
        raise OSError("the disk of patient 7 is gone")

    with watching(broken) as get:
        answer = get("/healthz")
    assert answer.status_code == 503
    assert "patient 7" in caplog.text
    assert "patient 7" not in answer.text


def test_the_server_ends_with_its_block() -> None:
    with watching() as get:
        get("/healthz")
    with pytest.raises(httpx.ConnectError):
        get("/healthz")


def test_a_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        taken = pytest.raises(ValueError, match=r"watch\.listen must be free, got '127.* Choose another port\.")
        with taken, watched(address, list, dict):
            pass


def test_without_an_address_nothing_listens() -> None:
    before = threading.active_count()
    with watched(None, list, dict):
        assert threading.active_count() == before


def test_the_server_sends_no_dns_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda *name: pytest.fail("a name was looked up"))
    with watching() as get:
        assert get("/healthz").status_code == 200


def test_a_failed_task_runs_again(caplog: pytest.LogCaptureFixture) -> None:
    tried, often = [], threading.Event()

    def act() -> None:
        tried.append(1)
        if len(tried) == 3:
            often.set()
        raise ValueError("no answer")

    with repeatedly(act, seconds=0.01):
        assert often.wait(10)
    assert "no answer" in caplog.text
