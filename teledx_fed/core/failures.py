"""Report errors to people: one line with what to do, or a reference number of the traceback in the log."""

import errno
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from sqlite3 import Error as SQLiteError
from tempfile import gettempdir
from traceback import format_exception

from teledx_fed.core.errors import TeledxError
from teledx_fed.core.files import append_private

LOG = "errors.log"
"""File for tracebacks of unexpected errors, in the folder of a run, a hospital or the coordinator."""

FREE = ("have free space", "Free some disk space, or choose another folder.")
PERMIT = ("be accessible to this user", "Give this user access to it (chown, chmod), or choose another folder.")
MORE_FILES = ("be opened", "Raise the limit of open files (ulimit -n).")
REMEDIES = {
    errno.ENOSPC: FREE,
    errno.EDQUOT: FREE,
    errno.EROFS: ("be writable", "Mount it for writing, or choose another folder."),
    errno.EACCES: PERMIT,
    errno.EPERM: PERMIT,
    errno.EMFILE: MORE_FILES,
    errno.ENFILE: MORE_FILES,
    errno.ENOLCK: (
        "be on a file system with file locks",
        "Mount this network folder with locks, or choose a local folder.",
    ),
    errno.EEXIST: ("be new", "Choose another name."),
}
"""By error number: what must hold, and what to do."""

WORDS = {
    r"\(os error (\d+)\)": None,
    r"\d+ requested and \d+ written": errno.ENOSPC,
    r"database or disk is full": errno.ENOSPC,
    r"readonly database": errno.EROFS,
    r"unable to open database file": errno.EACCES,
}
"""Messages of safetensors, NumPy and SQLite for system errors: these libraries do not set `errno`."""

log = logging.getLogger(__name__)


def line_of(error: BaseException) -> str | None:
    """Return what must hold, what was found and what to do; None for an unexpected error."""
    return str(error) if isinstance(error, TeledxError) else of_machine(error)


def of_machine(error: BaseException) -> str | None:
    """Return the line for a failure of disk, permissions or limits: the run can continue after the user fixes it."""
    for cause in _chain(error):
        number = _number(cause)
        if number in REMEDIES:
            place = getattr(cause, "filename", None) or "a file"
            requirement, remedy = REMEDIES[number]
            return f"{place} must {requirement}, got: {os.strerror(number)}. {remedy}"
    return None


def line_for_person(error: Exception, folder: Path) -> str:
    """Return the line of an expected error. Write the traceback of an unexpected one to the folder's log."""
    if line := line_of(error):
        return line
    reference = token_hex(4)
    time = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}"
    path = _append(folder, f"{time} reference {reference}\n{''.join(format_exception(error))}\n")
    return f"unexpected error, reference {reference}. Report it with the traceback in {path}."


def log_unexpected(error: Exception) -> str:
    """Log the traceback under a random reference. Return a page's text without the error's: it may name a patient."""
    reference = token_hex(4)
    log.error("reference %s", reference, exc_info=error)
    return f"An unexpected error, reference {reference}. Report this number: its traceback is in the server's log."


@contextmanager
def report_errors(folder: Path) -> Iterator[None]:
    """Print an error as one line on standard error, and exit with code 1."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - people read a reference, the log has the traceback
        sys.exit(f"error: {line_for_person(error, folder)}")


def _append(folder: Path, entry: str) -> Path:
    """Append to the log in the folder, or to a temporary file if that fails. Return the path."""
    try:
        return append_private(folder / LOG, entry)
    except OSError:
        return append_private(Path(gettempdir()) / f"teledx-{token_hex(4)}-{LOG}", entry)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if not isinstance(error, OSError | SQLiteError) and not type(error).__module__.startswith("safetensors"):
        return None
    for pattern, number in WORDS.items():
        if match := re.search(pattern, str(error)):
            return number or int(match[1])
    return None
