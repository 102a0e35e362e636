"""The errors that commands and pages show to people. Any other exception is a fault in the program.

    TeledxError
    ├── ConfigurationError   a setting, an option or a description of hospitals is invalid   (also a ValueError)
    ├── DataError            a file, a table, a photograph or a form is invalid              (also a ValueError)
    │   └── IntegrityError   stored content is not as it was written
    ├── RefusedError         a rule forbids the request: wrong password, used link, folder in use
    └── UnavailableError     a service does not answer

A message names what must hold, what was found and what to do.
"""


class TeledxError(Exception):
    """The root: catch this to show any error of the tree."""


class ConfigurationError(TeledxError, ValueError):
    """A setting, an option or a description of hospitals is invalid."""


class DataError(TeledxError, ValueError):
    """A file, a table, a photograph or a form is invalid."""


class IntegrityError(DataError):
    """Stored content is not as it was written: damaged, changed, or of another run or version."""


class RefusedError(TeledxError):
    """A rule forbids the request."""


class UnavailableError(TeledxError):
    """A service does not answer."""
