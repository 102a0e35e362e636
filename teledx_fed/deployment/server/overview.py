"""The state of a federation: runs and rounds from the coordinator's folder, sites from the server."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from teledx_fed.core.reports import RoundReport
from teledx_fed.deployment.common.certificates import days_left
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.server.settings import ServerDirectory

REQUEST, ROUNDS, MODEL = "request.json", "rounds.jsonl", "model.safetensors"
"""Files in a run's folder: its request, a report for each round, the released model."""
AT_WORK = ("pending", "starting", "running")
"""The server's states of a run that has not ended."""
SILENT = "no reply before the deadline"
MARGIN = timedelta(minutes=1)
"""Extra time for a round to aggregate and write, beyond its deadline and the wait for sites."""


class RunState(StrEnum):
    RUNNING = "running"
    STALLED = "stalled"
    STOPPED = "stopped"
    FINISHED = "finished"

    @property
    def at_work(self) -> bool:
        return self in (RunState.RUNNING, RunState.STALLED)


@dataclass(frozen=True)
class Node:
    """An admitted site in the server's database. Times are ISO 8601, here and below."""

    name: str
    online: bool
    online_since: str | None = None


@dataclass(frozen=True)
class FlowerRun:
    """A run in Flower's database; a run that was resumed has several of them."""

    id: int
    run: str
    status: str
    details: str


@dataclass(frozen=True)
class Reply:
    """A site's last accepted reply; `time` is when its round ended."""

    round: int
    time: str


@dataclass(frozen=True)
class SiteFault:
    round: int
    reason: str


@dataclass(frozen=True)
class SiteStanding:
    """The state of an admitted site in the newest run."""

    name: str
    online: bool
    online_since: str | None
    last_reply: Reply | None
    last_fault: SiteFault | None


@dataclass(frozen=True)
class RunStanding:
    """The state of a run; `round` counts ended rounds, `metrics` are those of the last model that was scored.

    `details` is the server's record of how the run ended.
    """

    name: str
    state: RunState
    details: str
    round: int
    rounds: int | None
    changed: str
    metrics: Mapping[str, float | None]
    bytes_up: int
    bytes_down: int


@dataclass(frozen=True)
class Overview:
    """The state of a federation: active runs first, then the newest; `rounds` and `sites` are of the first run.

    `up` is whether the server answers. If it does not, `sites` are those that took part, all shown as offline.
    """

    time: str
    up: bool
    certificate_days: int | None
    runs: tuple[RunStanding, ...]
    rounds: tuple[RoundReport, ...]
    sites: tuple[SiteStanding, ...]

    @property
    def run(self) -> RunStanding | None:
        return self.runs[0] if self.runs else None


def overview(
    directory: ServerDirectory, nodes: Sequence[Node] | None, runs: Sequence[FlowerRun], now: datetime | None = None
) -> Overview:
    """Return the overview; `nodes` is None if no server answers. Of runs of one name the first in `runs` counts."""
    now = now or datetime.now(UTC)
    folders = [path for path in directory.runs.iterdir() if path.is_dir()] if directory.runs.is_dir() else []
    newest = {run.run: run for run in reversed(runs)}
    standings = sorted(
        (_run(folder, newest.get(folder.name), directory.settings.wait_seconds, now) for folder in folders),
        key=lambda run: (run.state.at_work, run.changed),
        reverse=True,
    )
    rounds = reports(directory.run(standings[0].name)) if standings else ()
    return Overview(
        time=now.isoformat(timespec="seconds"),
        up=nodes is not None,
        certificate_days=days_left(directory.certificate, now) if directory.certificate.exists() else None,
        runs=tuple(standings),
        rounds=rounds,
        sites=tuple(_sites(_nodes_of(rounds) if nodes is None else nodes, rounds)),
    )


def reports(folder: Path) -> tuple[RoundReport, ...]:
    """Return the reports of a run's ended rounds."""
    path = folder / ROUNDS
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    return tuple(_report(line) for line in lines if line.endswith("\n"))


def _report(line: str) -> RoundReport:
    """Parse a report and ignore fields that only another release has."""
    values: dict[str, Any] = json.loads(line)
    fitting = {field.name: values[field.name] for field in fields(RoundReport) if field.name in values}
    return RoundReport(**fitting | {name: tuple(fitting[name]) for name in ("accepted", "silent")})


def _run(folder: Path, flower_run: FlowerRun | None, wait_seconds: float, now: datetime) -> RunStanding:
    federation, ended, changed = _federation(folder), reports(folder), _changed(folder)
    rounds = federation.get("rounds")
    last = ended[-1].round if ended else 0
    longest = timedelta(seconds=federation.get("deadline_seconds", 0) + wait_seconds) + MARGIN
    return RunStanding(
        name=folder.name,
        state=_state(folder, flower_run, overdue=now - changed > longest),
        details=flower_run.details if flower_run else "",
        round=last if rounds is None else min(last, rounds),
        rounds=rounds,
        changed=changed.isoformat(timespec="seconds"),
        metrics=next((report.metrics for report in reversed(ended) if report.metrics), {}),
        bytes_up=sum(report.bytes_up for report in ended),
        bytes_down=sum(report.bytes_down for report in ended),
    )


def _state(folder: Path, flower_run: FlowerRun | None, overdue: bool) -> RunState:
    if flower_run and flower_run.status in AT_WORK:
        return RunState.STALLED if overdue else RunState.RUNNING
    return RunState.FINISHED if (folder / MODEL).exists() else RunState.STOPPED


def _changed(folder: Path) -> datetime:
    """Return when the run last started, resumed or ended a round, in UTC."""
    written = [path for name in (REQUEST, ROUNDS) if (path := folder / name).exists()]
    return datetime.fromtimestamp(max(path.stat().st_mtime for path in written or [folder]), UTC)


def _federation(folder: Path) -> Mapping[str, Any]:
    """Return the `federation` settings of the run's request, if any."""
    request = folder / REQUEST
    return json.loads(json.loads(request.read_text("utf-8"))["settings"])["federation"] if request.exists() else {}


def _sites(nodes: Iterable[Node], rounds: Sequence[RoundReport]) -> Iterable[SiteStanding]:
    for node in sorted(nodes, key=lambda node: node.name):
        newest_first = rounds[::-1]
        reply = next((Reply(one.round, one.ended) for one in newest_first if node.name in one.accepted), None)
        fault = next((fault for one in newest_first if (fault := fault_in(one, node.name))), None)
        yield SiteStanding(node.name, node.online, node.online_since, reply, fault)


def _nodes_of(rounds: Sequence[RoundReport]) -> list[Node]:
    names = {name for report in rounds for name in (*report.accepted, *report.refused, *report.silent)}
    return [Node(name, online=False) for name in names]


def fault_in(report: RoundReport, site: str) -> SiteFault | None:
    """Return the fault of a site in a round; a refusal outside its hours is not a fault."""
    if site in report.silent:
        return SiteFault(report.round, SILENT)
    reason = report.refused.get(site)
    return None if reason is None or reason == Refusal.NOT_NOW else SiteFault(report.round, reason)
