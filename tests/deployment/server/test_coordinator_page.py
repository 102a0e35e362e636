import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from invented_federation import HOSTILE, NODES, NOW, directory_in, flower_run, night, report, run

from teledx_fed.core.reports import RoundReport
from teledx_fed.deployment.server.overview import Node, Overview, overview
from teledx_fed.deployment.server.web.page import COOKIE, ago, app, render, server

TOKEN = "a-token-that-nobody-guesses"
See = Callable[..., Overview]


@pytest.fixture
def see(tmp_path: Path) -> See:
    """Make an overview of one run, or of no run if `reports` is None."""

    def made(
        reports: Sequence[RoundReport] | None,
        nodes: Sequence[Node] | None = NODES,
        status: str = "running",
        ended: float = 40,
    ) -> Overview:
        server = directory_in(tmp_path)
        if reports is not None:
            run(server, "night-3", reports, ended=ended)
        return overview(server, nodes, [flower_run("night-3", status, "no quorum")], NOW)

    return made


@pytest.fixture
def visit(see: See) -> Iterator[TestClient]:
    status = see(night())
    with TestClient(app(lambda: status, TOKEN)) as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=wrong", "/?token=ä", "/api/overview.json", "/page.css", "/x"]
)
def test_without_a_token_the_page_shows_nothing(visit: TestClient, path: str) -> None:
    answer = visit.get(path)
    assert answer.status_code == 401
    assert "python -m server page" in answer.text
    assert "night-3" not in answer.text
    assert "set-cookie" not in answer.headers


def test_the_token_is_stored_in_a_cookie_that_scripts_cannot_read(visit: TestClient) -> None:
    answer = visit.get("/", params={"token": TOKEN})
    assert answer.status_code == 200
    assert set(answer.headers["set-cookie"].lower().split("; ")) == {
        f"{COOKIE}={TOKEN}",
        "httponly",
        "path=/",
        "samesite=strict",
    }
    for path in ("/", "/api/overview.json", "/page.css", "/page.js"):
        assert visit.get(path).status_code == 200
    visit.cookies.set(COOKIE, "wrong")
    assert visit.get("/", headers={"Cookie": f"{COOKIE}=wrong"}).status_code == 401


def test_over_tls_the_cookie_is_secure(see: See) -> None:
    status = see(night())
    client = TestClient(app(lambda: status, TOKEN), base_url="https://testserver")
    assert "; secure" in client.get("/", params={"token": TOKEN}).headers["set-cookie"].lower()


def test_headers_of_a_proxy_are_ignored(see: See, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    status = see(night())
    config = server(lambda: status, TOKEN, "127.0.0.1", 0).config
    config.load()
    client = TestClient(config.loaded_app, client=("127.0.0.1", 1))
    answer = client.get("/", params={"token": TOKEN}, headers={"X-Forwarded-Proto": "https"})
    assert "; secure" not in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("path", ["/", "/page.css", "/none", f"/?token={TOKEN}"])
def test_every_answer_forbids_foreign_scripts_frames_and_caches(visit: TestClient, path: str) -> None:
    headers = visit.get(path).headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_the_page_is_read_only(visit: TestClient) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert visit.request(method, "/", params={"token": TOKEN}).status_code == 405
    assert visit.get("/docs").status_code == visit.get("/openapi.json").status_code == 404


@pytest.mark.parametrize("token", ["", "short"])
def test_a_token_that_could_be_guessed_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match=r"token must have at least 16 characters"):
        app(lambda: pytest.fail("not asked for"), token)


def test_the_values_are_available_as_json(visit: TestClient) -> None:
    values = visit.get("/api/overview.json", params={"token": TOKEN}).json()
    assert values["runs"][0]["round"] == 12
    assert values["sites"][1]["last_fault"]["reason"] == HOSTILE


def test_text_of_a_site_is_escaped(see: See) -> None:
    page = render(see(night()))
    assert HOSTILE not in page
    assert escape(HOSTILE, quote=False) in page.replace("&#39;", "'")


def test_a_night_of_training(see: See) -> None:
    page = render(see(night()))
    assert "<b>night-3</b> is in round 13 of 20." in page
    assert 'aria-label="Referable AUROC from 0.585 after round 0 to 0.887 after round 11"' in page
    assert "round 12: <bdi>no reply before the deadline</bdi>" in page
    assert "3 of 4" in page
    assert "python -m server resume" not in page


@pytest.mark.parametrize(
    ("nodes", "done"), [((), 0), ((replace(NODES[0], online=False),), 1), (NODES, 2)], ids=["new", "admitted", "online"]
)
def test_before_the_first_run_the_page_shows_the_next_step(see: See, nodes: Sequence[Node], done: int) -> None:
    page = render(see(None, nodes))
    assert "No run yet." in page
    assert page.count('<li class="done">') == done
    assert "python -m server admit" in page


def test_before_the_first_round_the_page_explains_when_scores_come(see: See) -> None:
    page = render(see([]))
    assert "is in round 1 of 20" in page
    assert "The first scores come after round 1" in page


def test_without_scores_there_is_no_chart(see: See) -> None:
    page = render(see([replace(report(1), metrics={})]))
    assert "No site has sent scores yet" in page
    assert "<svg" not in page


@pytest.mark.parametrize(
    ("situation", "phrases"),
    [
        ({"status": "failed"}, ["has stopped after round 12 of 20", "no quorum", "python -m server resume night-3"]),
        ({"ended": 9000}, ["has stalled after round 12 of 20", "No round has ended since"]),
        ({"nodes": None}, ["The server does not answer", "python -m server start"]),
    ],
)
def test_a_problem_is_shown_with_a_remedy(see: See, situation: dict[str, Any], phrases: list[str]) -> None:
    page = render(see(night(), **situation))
    assert [text for text in phrases if text not in page] == []


@pytest.mark.parametrize(("days", "phrase"), [(12, "expires in 12 days"), (-1, "has expired")])
def test_an_expiring_certificate_is_shown_with_a_remedy(see: See, days: int, phrase: str) -> None:
    page = render(replace(see(night()), certificate_days=days))
    assert phrase in page
    assert "python -m server renew" in page
    assert "python -m server renew" not in render(replace(see(None), certificate_days=30))


def test_the_report_after_the_last_round_is_not_a_round(see: See) -> None:
    page = render(see([report(round) for round in range(1, 22)]))
    assert "has ended its 20 rounds, and is being tested" in page
    assert "after round 20" in page
    assert '<th scope="row">21</th>' not in page
    assert page.count("last scores") == len(NODES)
    assert "The 8 earlier rounds" in page


@pytest.mark.parametrize(
    ("time", "phrase"),
    [
        ("2026-11-23T14:03:22+00:00", "0 s ago"),
        ("2026-11-23T14:02:30+00:00", "50 s ago"),
        ("2026-11-23T13:50:00+00:00", "13 min ago"),
        ("2026-11-23T11:58:00+00:00", "2 h 05 min ago"),
        ("2026-11-20T11:58:00Z", "3 days ago"),
    ],
)
def test_how_long_ago(time: str, phrase: str) -> None:
    assert ago(NOW, time) == phrase


@pytest.mark.parametrize("error", [RuntimeError("the north's secret"), ValueError("the north's secret")])
def test_an_unexpected_error_is_a_reference_number_and_its_traceback_is_in_the_log(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Overview:
        raise error

    answer = TestClient(app(fail, TOKEN)).get("/", params={"token": TOKEN})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    reference = re.search("reference [0-9a-f]{8}", answer.text)
    assert reference is not None
    assert reference[0] in caplog.text
    assert "the north's secret" in caplog.text
