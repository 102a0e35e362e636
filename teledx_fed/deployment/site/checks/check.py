"""The result of a check: a line of `sites check`."""

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from teledx_fed.core.failures import line_for_person
from teledx_fed.deployment.site.settings import SiteDirectory

Result = TypeVar("Result")


class CheckState(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """The result of a check; unprintable characters become spaces, because a server may have sent the text.

    The fields' names are the keys of `sites check --json`.
    """

    name: str
    state: CheckState
    found: str
    remedy: str = ""

    def __post_init__(self) -> None:
        for part in ("found", "remedy"):
            object.__setattr__(self, part, "".join(c if c.isprintable() else " " for c in getattr(self, part)))


Checks = Generator[Check, None, None]


def ok(name: str, finding: str) -> Check:
    return Check(name, CheckState.OK, finding)


def warn(name: str, finding: str, remedy: str) -> Check:
    return Check(name, CheckState.WARN, finding, remedy)


def warn_if(wrong: bool, name: str, finding: str, remedy: str) -> Check:
    return warn(name, finding, remedy) if wrong else ok(name, finding)


def fail(name: str, finding: str, remedy: str) -> Check:
    return Check(name, CheckState.FAIL, finding, remedy)


def guarded(
    name: str, checks: Generator[Check, None, Result], directory: SiteDirectory
) -> Generator[Check, None, Result | None]:
    """Run checks. An exception becomes a failed check, so that other checks still run."""
    try:
        return (yield from checks)
    except Exception as error:  # noqa: BLE001 - people read a reference, the directory's log has the traceback
        yield fail(name, line_for_person(error, directory.folder), "")
    return None
