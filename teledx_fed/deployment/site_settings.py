"""What a hospital decides for itself: `site.yaml`, and the folder that it lies in."""

import re
from dataclasses import dataclass, field
from datetime import date, time
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from teledx_fed.checks import must, one_of, within
from teledx_fed.federation_settings import OutboundSettings
from teledx_fed.settings import read

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
WRITTEN = "letters, digits, dots, dashes and underscores, at most 63"


def checked_name(name: str, value: str) -> str:
    """A name that can be a file's."""
    must(NAME.fullmatch(value) is not None, name, f"be written with {WRITTEN}", value, "Choose another.")
    return value


def checked_address(name: str, value: str) -> tuple[str, int]:
    """HOST and PORT of `HOST:PORT`."""
    host, _, port = value.rpartition(":")
    good = bool(host) and port.isdecimal() and 0 < int(port) < 65536
    must(good, name, "be HOST:PORT", value, "For example fl.example.org:9092.")
    return host.strip("[]"), int(port)


@dataclass
class OwnDataSettings:
    """Photographs and grades as they lie at the hospital; `grading` maps its own scheme to ICDR."""

    layout: str = "folder"
    root: str = ""
    grading: dict[str, int] = field(default_factory=dict)
    file_pattern: str | None = None
    on_bad: str = "fail"
    workers: int = 2

    def __post_init__(self) -> None:
        one_of("data.on_bad", self.on_bad, ("fail", "skip"))
        within("data.workers", self.workers, 1, 256)


@dataclass
class LimitSettings:
    """What a coordinator may ask for at most; null sets no limit.

    `epochs` and `batches` are those of one round; `questions_a_day` are of any kind, for each tells something of the
    data; photographs are prepared at `image_size` at most; `hours` are in local time, `20:00-06:00` goes past midnight.
    `epsilon` bounds what a run may spend: training without differential privacy spends without bound.
    """

    epochs: int | None = 50
    batches: int | None = None
    rounds_a_day: int | None = None
    questions_a_day: int | None = 200
    image_size: int = 1024
    epsilon: float | None = None
    hours: str | None = None
    cores: int = 2
    gpu_memory: float = 1.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batches", "rounds_a_day", "questions_a_day", "image_size"):
            if (value := getattr(self, name)) is not None:
                within(f"limits.{name}", value, 1, 1e9)
        if self.epsilon is not None:
            must(self.epsilon > 0, "limits.epsilon", "be positive", self.epsilon, "Leave it out for no limit.")
        within("limits.cores", self.cores, 1, 1024)
        within("limits.gpu_memory", self.gpu_memory, 0.01, 1)
        self.window()

    def window(self) -> tuple[time, time] | None:
        """From when until when the hospital computes."""
        if self.hours is None:
            return None
        try:
            begin, end = map(time.fromisoformat, self.hours.split("-"))
        except ValueError as error:
            raise ValueError(
                f"limits.hours must be HH:MM-HH:MM, got {self.hours!r}. For nights write 20:00-06:00."
            ) from error
        return begin, end


@dataclass
class ApprovalSettings:
    """The hospital's consent; without `reference`, `purpose` and a day to come in `expires`, it answers nothing."""

    reference: str = ""
    purpose: str = ""
    experiments: list[str] = field(default_factory=list)
    expires: str = ""

    def __post_init__(self) -> None:
        if self.expires:
            try:
                date.fromisoformat(self.expires)
            except ValueError as error:
                raise ValueError(
                    f"approval.expires must be a day, got {self.expires!r}. Write it as 2027-01-31, in quotes."
                ) from error

    def given(self, today: date) -> bool:
        return bool(self.reference and self.purpose and self.expires) and today <= date.fromisoformat(self.expires)


@dataclass
class WatchSettings:
    """Where health and metrics can be read, on this machine alone unless another address is named, and who is told."""

    listen: str | None = None
    webhook: str | None = None

    def __post_init__(self) -> None:
        if self.listen is not None:
            checked_address("watch.listen", self.listen)
        if self.webhook is not None:
            url = urlsplit(self.webhook)
            good = url.scheme in ("http", "https") and bool(url.hostname)
            must(good, "watch.webhook", "be an http:// or https:// address", "another", "Correct it, or say null.")


@dataclass
class SiteSettings:
    name: str = ""
    server: str = ""
    data: OwnDataSettings = field(default_factory=OwnDataSettings)
    device: str = "auto"
    proxy: str | None = None
    approval: ApprovalSettings = field(default_factory=ApprovalSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    outbound: OutboundSettings = field(default_factory=OutboundSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)

    def __post_init__(self) -> None:
        checked_name("name", self.name)
        checked_address("server", self.server)
        one_of("device", self.device, ("auto", "cpu", "cuda"))


@dataclass(frozen=True)
class SiteHome:
    """A hospital's folder, as `python -m sites init` lays it out."""

    folder: Path

    @cached_property
    def settings(self) -> SiteSettings:
        return read(self.folder / "site.yaml", SiteSettings)

    @property
    def authority(self) -> Path:
        """The certificate that the server's must go back to."""
        return self.folder / "ca.crt"

    @property
    def private_key(self) -> Path:
        return self.folder / "keys" / "site.key"

    @property
    def public_key(self) -> Path:
        return self.folder / "keys" / "site.pub"

    @property
    def split_key(self) -> Path:
        """The secret that says on which side of its split a patient lies."""
        return self.folder / "secrets" / "split.key"

    @property
    def executor_key(self) -> Path:
        """What the worker shows the SuperNode beside it."""
        return self.folder / "secrets" / "executor.key"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def answered(self) -> Path:
        return self.state / "answered.json"

    def run(self, name: str) -> Path:
        """What is kept from round to round of one run."""
        return self.state / "runs" / name

    @property
    def node_log(self) -> Path:
        """What the SuperNode says."""
        return self.state / "supernode.log"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def champion(self) -> Path:
        """The bundle that this hospital diagnoses with."""
        return self.folder / "champion"

    @property
    def audit(self) -> Path:
        return self.folder / "audit.jsonl"

    @property
    def excluded(self) -> Path:
        """Patients who withdrew, one a line, as the hospital's own files name them."""
        return self.folder / "excluded.txt"
