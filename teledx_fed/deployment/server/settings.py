"""The coordinator's settings of its server (`server.yaml`), and the paths in the server's folder."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from teledx_fed.config.loading import read
from teledx_fed.core.checks import must, within
from teledx_fed.deployment.common.audit import AuditLog
from teledx_fed.deployment.common.settings import WatchSettings, checked_name

FOLDER_VARIABLE = "TELEDX_FED_SERVER"
"""The environment variable with the coordinator's folder, for the app that Flower starts for a run."""


@dataclass
class ServerSettings:
    """`hosts` are the names and addresses by which hospitals reach `port`; `control_port` answers only this machine.

    `purpose` is in every plan that hospitals approve.
    `largest_request_mib` limits the size of a request, `requests_a_second` the mean rate of an address over 10 s.
    `wait_seconds` is how long a run waits for the sites that it needs.
    """

    hosts: list[str] = field(default_factory=list)
    purpose: str = "grading of diabetic retinopathy"
    listen: str = "0.0.0.0"
    port: int = 9092
    control_port: int = 9093
    wait_seconds: float = 600.0
    largest_request_mib: float = 16.0
    requests_a_second: float = 100.0
    watch: WatchSettings = field(default_factory=WatchSettings)

    def __post_init__(self) -> None:
        must(bool(self.hosts), "hosts", "name at least one", self.hosts, "Hospitals reach the server by it.")
        for name in ("port", "control_port"):
            within(name, getattr(self, name), 1, 65535)
        must(self.port != self.control_port, "control_port", "differ from port", self.port, "Choose another.")
        for name in ("wait_seconds", "largest_request_mib", "requests_a_second"):
            must(getattr(self, name) > 0, name, "be positive", getattr(self, name), "Change it.")


@dataclass(frozen=True)
class ServerDirectory:
    """The paths in a coordinator's folder, as `python -m server init` creates it."""

    folder: Path

    @cached_property
    def settings(self) -> ServerSettings:
        return read(self.folder / "server.yaml", ServerSettings)

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    @property
    def authority(self) -> Path:
        return self.certificates / "ca.crt"

    @property
    def certificate(self) -> Path:
        return self.certificates / "server.crt"

    @property
    def loopback(self) -> Path:
        """Certificates for this machine's own commands, independent of the certificate for hospitals."""
        return self.certificates / "loopback"

    @property
    def database(self) -> Path:
        return self.folder / "state" / "superlink.db"

    @property
    def flower(self) -> Path:
        """Where Flower unpacks the server's own app."""
        return self.folder / "flwr"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def run(self, name: str) -> Path:
        return self.runs / checked_name("run", name)

    @property
    def audit_log(self) -> AuditLog:
        return AuditLog(self.folder / "audit.jsonl", self.folder / "keys" / "audit.key")
