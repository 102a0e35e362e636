"""Settings that sites and server share: names, addresses, and monitoring."""

import re
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import urlsplit

from teledx_fed.core.checks import must

RELEASE = version("teledx-fed")
LOOPBACK = "127.0.0.1"
LOOPBACK_HOSTS = "127.0.0.1,localhost"
"""The value of NO_PROXY: a proxy is never used for these."""
QUIET_FLOWER = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
"""Environment of Flower's processes: they send nothing to its makers."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
WRITTEN = "letters, digits, dots, dashes and underscores, at most 63"


def checked_name(name: str, value: str) -> str:
    """Return a name that is a valid file name."""
    must(NAME.fullmatch(value) is not None, name, f"be written with {WRITTEN}", value, "Choose another.")
    return value


def checked_address(name: str, value: str) -> tuple[str, int]:
    """Split `HOST:PORT` into host and port."""
    host, _, port = value.rpartition(":")
    valid = bool(host) and port.isdecimal() and 0 < int(port) < 65536
    must(valid, name, "be HOST:PORT", value, "For example fl.example.org:9092.")
    return host.strip("[]"), int(port)


@dataclass
class WatchSettings:
    """The address of health and metrics (null: no listener), and the webhook for events (null: none)."""

    listen: str | None = None
    webhook: str | None = None

    def __post_init__(self) -> None:
        if self.listen is not None:
            checked_address("watch.listen", self.listen)
        if self.webhook is not None:
            url = urlsplit(self.webhook)
            valid = url.scheme in ("http", "https") and bool(url.hostname)
            must(valid, "watch.webhook", "be an http:// or https:// address", "another", "Correct it, or write null.")
