"""Expected errors are one line; others have a reference number, and a traceback in the log."""

import errno
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from teledx_fed.core import errors
from teledx_fed.core.checks import must
from teledx_fed.core.failures import LOG, line_of, log_unexpected, of_machine, report_errors

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
        (errno.ENOSPC, "/ward/run must have free space, got: No space left on device. Free some"),
        (errno.EDQUOT, "/ward/run must have free space"),
        (errno.EROFS, "/ward/run must be writable, got: Read-only file system. Mount it"),
        (errno.EACCES, "/ward/run must be accessible to this user, got: Permission denied. Give"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOLCK, "with locks"),
    ],
)
def test_a_system_error_becomes_one_line_with_a_remedy(number: int, what: str) -> None:
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
def test_a_full_disk_is_recognised_in_the_errors_of_each_library(fail: Callable[[], object]) -> None:
    assert "No space left on device" in str(of_machine(error_of(fail)))


def test_a_full_disk_is_recognised_as_the_cause_of_another_error() -> None:
    def fail() -> None:
        try:
            refuse(errno.ENOSPC)()
        except OSError as error:
            raise RuntimeError("could not write") from error

    assert "must have free space" in str(of_machine(error_of(fail)))


def test_an_expected_error_is_shown_unchanged(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: rounds must be positive, got 0\. Try 1\."), report_errors(tmp_path):
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
def test_an_unexpected_error_is_a_reference_number_and_its_traceback_is_in_the_log(
    fail: Callable[[], object], tmp_path: Path
) -> None:
    assert line_of(error := error_of(fail)) is None
    with pytest.raises(SystemExit) as ended, report_errors(tmp_path):
        fail()
    assert str(error) not in str(ended.value.code)
    reference = re.search("reference ([0-9a-f]{8})", str(ended.value.code))
    logged = (tmp_path / LOG).read_text()
    assert reference is not None
    assert reference[0] in logged
    assert "Traceback" in logged
    assert str(error) in logged
    assert (tmp_path / LOG).stat().st_mode & 0o077 == 0, "a traceback may name patients"


def test_the_log_of_a_folder_that_cannot_be_written_is_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teledx_fed.core.failures.gettempdir", lambda: str(tmp_path))
    with pytest.raises(SystemExit, match="reference"), report_errors(tmp_path / "absent"):
        raise RuntimeError("Anna Bauer")
    (written,) = tmp_path.glob(f"*{LOG}")
    assert "Anna Bauer" in written.read_text()


def test_a_page_shows_the_reference_that_the_log_has(caplog: pytest.LogCaptureFixture) -> None:
    shown = log_unexpected(RuntimeError("Anna Bauer"))
    assert "Anna Bauer" not in shown
    assert re.findall("reference ([0-9a-f]{8})", shown) == re.findall("reference ([0-9a-f]{8})", caplog.text)
    assert "Anna Bauer" in caplog.text


def test_the_error_tree_equals_the_one_in_the_docstring() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    assert {kind.__name__ for kind in kinds} == set(re.findall(r"\w+Error(?=  | *$)", str(errors.__doc__), re.M))
    assert all(issubclass(kind, errors.TeledxError) for kind in kinds)
    assert {kind for kind in kinds if issubclass(kind, ValueError)} == {
        errors.ConfigurationError,
        errors.DataError,
        errors.IntegrityError,
    }
