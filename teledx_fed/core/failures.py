"""Failures that the user can fix: print one line that states what to do. Any other failure keeps its traceback."""

import dis
import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from sqlite3 import Error as SQLiteError

OURS = ("teledx_fed", "sites", "server", "run_simulation", "__main__")
"""Packages whose `raise` statements word their errors for people."""

FREE = ("have room", "Free some space there, or name another place.")
PERMIT = ("be open to this user", "Give this user access to it (chown, chmod), or name another place.")
MORE_FILES = ("be opened", "Raise the limit of open files (ulimit -n).")
REMEDIES = {
    errno.ENOSPC: FREE,
    errno.EDQUOT: FREE,
    errno.EROFS: ("be writable", "Mount it for writing, or name another place."),
    errno.EACCES: PERMIT,
    errno.EPERM: PERMIT,
    errno.EMFILE: MORE_FILES,
    errno.ENFILE: MORE_FILES,
    errno.ENOLCK: (
        "lie where files can be locked",
        "Mount this network folder with locks, or name a local folder.",
    ),
    errno.EEXIST: ("be new", "Name another place."),
}
"""What must hold, and what to do where it does not."""

WORDS = {
    r"\(os error (\d+)\)": None,
    r"\d+ requested and \d+ written": errno.ENOSPC,
    r"database or disk is full": errno.ENOSPC,
    r"readonly database": errno.EROFS,
    r"unable to open database file": errno.EACCES,
}
"""How safetensors, NumPy and SQLite word what the operating system refused: they raise errors without its number."""


def line_of(error: BaseException) -> str | None:
    """Return what must hold, what was found and what to do; None if the user cannot fix the failure."""
    if isinstance(error, ConnectionError) or (isinstance(error, ValueError) and _is_worded(error)):
        return str(error)
    return of_machine(error)


def of_machine(error: BaseException) -> str | None:
    """Return the line for a failure of disk, permissions or limits: the run can continue after the user fixes it."""
    for each in _chain(error):
        number = _number(each)
        if number in REMEDIES:
            place = getattr(each, "filename", None) or "a file"
            requirement, remedy = REMEDIES[number]
            return f"{place} must {requirement}, got: {os.strerror(number)}. {remedy}"
    return None


@contextmanager
def told_plainly() -> Iterator[None]:
    """Print a failure that the user can fix as one line on standard error, and exit with code 1."""
    try:
        yield
    except Exception as error:
        if (line := line_of(error)) is None:
            raise
        sys.exit(f"error: {line}")


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
        if found := re.search(pattern, str(error)):
            return number or int(found[1])
    return None


def _is_worded(error: ValueError) -> bool:
    """Raised by a `raise` statement of this project. A ValueError of NumPy or PyTorch is a fault in a program."""
    if type(error) is not ValueError:
        return True
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    if innermost is None:
        return True
    frame, instruction = innermost.tb_frame, innermost.tb_lasti
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package in OURS and frame.f_code.co_code[instruction] == dis.opmap["RAISE_VARARGS"]
