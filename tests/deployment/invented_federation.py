"""A coordinator's folder with a run, in the form that a server writes."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from teledx_fed.config.federation import FederationSettings
from teledx_fed.core.reports import RoundReport
from teledx_fed.deployment.server.overview import FlowerRun, Node
from teledx_fed.deployment.server.settings import ServerDirectory

NOW = datetime(2026, 11, 23, 14, 3, 20, tzinfo=UTC)
SITES = ("aravind", "ddr", "eyepacs", "messidor")
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"


def flower_run(run: str, status: str = "running", details: str = "") -> FlowerRun:
    return FlowerRun(1, run, status, details)


NODES = tuple(
    Node(name, name != "messidor", f"2026-11-23T{hour:02}:14:05+00:00")
    for name, hour in zip(SITES, (6, 9, 9, 1), strict=True)
)


def directory_in(folder: Path) -> ServerDirectory:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.yaml").write_text("hosts: [fl.example.org]\n")
    return ServerDirectory(folder)


def report(round: int, refused: Iterable[str] = (), silent: Iterable[str] = (), reason: str = HOSTILE) -> RoundReport:
    """Make a report with scores on one learning curve; those of round 1 are the initial model's."""
    learned = 1 - 0.75**round
    return RoundReport(
        round=round,
        ended=(NOW - timedelta(seconds=40, minutes=12 - round)).isoformat(),
        accepted=tuple(name for name in SITES if name not in {*refused, *silent}),
        refused=dict.fromkeys(refused, reason),
        silent=tuple(silent),
        metrics={"referable_auroc": 0.48 + 0.42 * learned, "qwk": -0.1 + 0.8 * learned},
        bytes_up=62_000_000,
        bytes_down=64_000_000,
        seconds=48.2 + round,
    )


def night() -> tuple[RoundReport, ...]:
    """Make twelve rounds: one site goes offline, and one reply is refused with a reason in hostile HTML."""
    troubled = {7: report(7, silent=["messidor"]), 12: report(12, refused=["ddr"], silent=["messidor"])}
    return tuple(troubled.get(round, report(round)) for round in range(1, 13))


def run(
    server: ServerDirectory,
    name: str,
    reports: Sequence[RoundReport],
    rounds: int = 20,
    ended: float = 40,
    lines: str = "",
) -> Path:
    """Write a run whose last round ended `ended` seconds before `NOW`; `lines` follow its reports."""
    folder = server.run(name)
    folder.mkdir(parents=True)
    settings = json.dumps({"federation": asdict(FederationSettings(rounds=rounds))})
    (folder / "request.json").write_text(json.dumps({"run": name, "plan": "deployed", "settings": settings}))
    reported = "".join(json.dumps(asdict(report)) + "\n" for report in reports)
    (folder / "rounds.jsonl").write_text(reported + lines)
    then = (NOW - timedelta(seconds=ended)).timestamp()
    for path in folder.iterdir():
        os.utime(path, (then, then))
    return folder
