"""Which failures are one line for a person, and which keep their traceback."""

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from teledx_fed.core.checks import must
from teledx_fed.core.failures import line_of, of_machine, told_plainly

FULL = Path("/dev/full")


def refuse(number: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(number, "as the system says it", "/ward/run")

    return fail


def save_array() -> None:
    with FULL.open("wb") as file:
        np.save(file, np.zeros(10_000))


def refuse_as(library: str, message: str) -> None:
    raise type("LibraryError", (Exception,), {"__module__": library})(message)


def error_of(fail: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any
        fail()
    return caught.value


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "/ward/run must have room, got: No space left on device. Free some"),
        (errno.EDQUOT, "/ward/run must have room"),
        (errno.EROFS, "/ward/run must be writable, got: Read-only file system. Mount it"),
        (errno.EACCES, "/ward/run must be open to this user, got: Permission denied. Give"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOLCK, "with locks"),
    ],
)
def test_what_the_machine_refuses_is_a_line_with_what_to_do(number: int, what: str) -> None:
    assert what in str(line_of(error_of(refuse(number))))


@pytest.mark.parametrize(
    "fail",
    [
        lambda: FULL.write_text("x" * 10_000),
        save_array,
        lambda: refuse_as("safetensors", "I/O error: No space left on device (os error 28)"),
        lambda: (_ for _ in ()).throw(sqlite3.OperationalError("database or disk is full")),
    ],
)
@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_known_whatever_library_writes(fail: Callable[[], object]) -> None:
    assert "No space left on device" in str(of_machine(error_of(fail)))


def test_a_full_disk_is_known_behind_another_error() -> None:
    def fail() -> None:
        try:
            refuse(errno.ENOSPC)()
        except OSError as error:
            raise RuntimeError("could not write") from error

    assert "must have room" in str(of_machine(error_of(fail)))


def test_a_worded_refusal_is_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"error: rounds must be positive, got 0\. Try 1\."), told_plainly():
        must(False, "rounds", "be positive", 0, "Try 1.")


@pytest.mark.parametrize(
    "fail",
    [
        lambda: np.concatenate([np.zeros((2, 2)), np.zeros(3)]),
        lambda: int("three"),
        lambda: {}["absent"],
        lambda: Path("/nowhere/at/all").read_text(),
    ],
)
def test_a_fault_in_the_program_keeps_its_traceback(fail: Callable[[], object]) -> None:
    assert line_of(error_of(fail)) is None
    with pytest.raises(type(error_of(fail))), told_plainly():
        fail()
