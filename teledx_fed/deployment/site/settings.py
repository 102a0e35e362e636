"""A hospital's own settings (`site.yaml`), and the paths in its folder."""

from dataclasses import dataclass, field
from datetime import time
from functools import cached_property
from pathlib import Path

from teledx_fed.config.data import PartitionSettings, SourceSettings
from teledx_fed.config.federation import OutboundSettings
from teledx_fed.config.loading import read
from teledx_fed.core.checks import must, one_of, within
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.deployment.common.audit import AuditLog
from teledx_fed.deployment.common.settings import WatchSettings, checked_address, checked_name


@dataclass
class OwnDataSettings:
    """Where and how the hospital stores photographs and grades.

    `grading` maps its own scheme to ICDR, `oedema` its words to yes, no and unknown.
    """

    layout: str = "folder"
    root: str = ""
    grading: dict[str, int] = field(default_factory=dict)
    oedema: dict[str, str] = field(default_factory=dict)
    file_pattern: str | None = None
    on_bad: str = "fail"
    workers: int = 2

    def __post_init__(self) -> None:
        one_of("data.on_bad", self.on_bad, ("fail", "skip"))
        within("data.workers", self.workers, 1, 256)
        _ = self.source
        absolute = not self.root or Path(self.root).is_absolute()
        must(absolute, "data.root", "be an absolute path", self.root, "A service starts in another folder than you.")

    @property
    def source(self) -> SourceSettings:
        return SourceSettings(self.layout, self.root, self.grading, self.oedema, self.file_pattern)


@dataclass
class OwnPartitionSettings:
    """The shares of the hospital's patients for validation and test; they must stay as at first use."""

    validation: float = 0.2
    test: float = 0.3

    def __post_init__(self) -> None:
        PartitionSettings(validation=self.validation, test=self.test)


@dataclass
class LimitSettings:
    """What a plan may ask for; null sets no limit.

    The default lists omit what lets a coordinator reconstruct photographs: vision transformers (one linear layer reads
    each patch), heads with a hidden layer (it can select single photographs) and plain SGD (its step is a gradient).
    `learning_rate` and `steps` (of one round) are [least, most]. `batch_size` and `training_patients` are minima,
    `epochs` is the maximum of one round. If a plan clips gradients below `clip_norm`, AdamW behaves like plain SGD.
    `questions_a_day` counts all kinds, because each answer reveals something about the data. `test_answers` is the
    total of answers from a test set, whatever the names of plans and runs. `memory`, `cache` (prepared photographs and
    features) and `disk` (what stays free) are in GB. `hours` are in local time; `20:00-06:00` goes past midnight.
    """

    networks: list[str] = field(default_factory=lambda: [f"tf_efficientnet_b{size}" for size in range(3)])
    heads: list[str] = field(default_factory=lambda: ["grade"])
    optimizers: list[str] = field(default_factory=lambda: ["adamw", "adam"])
    learning_rate: list[float] = field(default_factory=lambda: [1e-5, 1e-2])
    training_patients: int = 50
    batch_size: int = 8
    clip_norm: float = 0.1
    steps: list[int] = field(default_factory=lambda: [4, 20_000])
    epochs: int | None = 50
    image_size: int = 1024
    rounds_a_day: int | None = None
    questions_a_day: int | None = 200
    test_answers: int = 5
    hours: str | None = None
    cores: int = 2
    memory: float = 8.0
    gpu_memory: float = 1.0
    cache: float = 50.0
    disk: float = 2.0

    def __post_init__(self) -> None:
        for name in ("epochs", "rounds_a_day", "questions_a_day", "image_size", "training_patients", "batch_size"):
            if (value := getattr(self, name)) is not None:
                within(f"limits.{name}", value, 1, 1e9)
        for name in ("learning_rate", "steps"):
            ordered = len(value := getattr(self, name)) == 2 and 0 < value[0] <= value[1]
            must(ordered, f"limits.{name}", "be [least, most], above 0", value, "For example as sites init writes it.")
        within("limits.clip_norm", self.clip_norm, 0, 1e9)
        within("limits.test_answers", self.test_answers, 0, 1e9)
        within("limits.cores", self.cores, 1, 1024)
        within("limits.gpu_memory", self.gpu_memory, 0.01, 1)
        within("limits.memory", self.memory, 1, 1e6)
        within("limits.cache", self.cache, 0.001, 1e6)
        within("limits.disk", self.disk, 0, 1e6)
        self.window()

    def window(self) -> tuple[time, time] | None:
        """Return when the hospital's hours begin and end; None if there is no limit."""
        if self.hours is None:
            return None
        try:
            begin, end = map(time.fromisoformat, self.hours.split("-"))
        except ValueError as error:
            raise ConfigurationError(
                f"limits.hours must be HH:MM-HH:MM, got {self.hours!r}. For nights write 20:00-06:00."
            ) from error
        return begin, end


@dataclass
class SiteSettings:
    name: str = ""
    server: str = ""
    data: OwnDataSettings = field(default_factory=OwnDataSettings)
    device: str = "auto"
    proxy: str | None = None
    partition: OwnPartitionSettings = field(default_factory=OwnPartitionSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    outbound: OutboundSettings = field(default_factory=OutboundSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)

    def __post_init__(self) -> None:
        checked_name("name", self.name)
        checked_address("server", self.server)
        one_of("device", self.device, ("auto", "cpu", "cuda"))


@dataclass(frozen=True)
class SiteDirectory:
    """The paths in a hospital's folder, as `python -m sites init` creates it."""

    folder: Path

    @cached_property
    def settings(self) -> SiteSettings:
        return read(self.folder / "site.yaml", SiteSettings)

    @property
    def authority(self) -> Path:
        """The certificate of the authority that issued the server's certificate."""
        return self.folder / "ca.crt"

    @property
    def private_key(self) -> Path:
        return self.folder / "keys" / "site.key"

    @property
    def public_key(self) -> Path:
        return self.folder / "keys" / "site.pub"

    @property
    def split_key(self) -> Path:
        """The secret key that assigns patients to training, validation and test."""
        return self.folder / "secrets" / "split.key"

    @property
    def executor_key(self) -> Path:
        """The secret with which the worker authenticates to its SuperNode."""
        return self.folder / "secrets" / "executor.key"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def answered(self) -> Path:
        return self.state / "answered.json"

    def run(self, name: str) -> Path:
        """Return the folder of a run's state, kept between rounds."""
        return self.state / "runs" / name

    @property
    def test_answers(self) -> Path:
        return self.state / "test-answers.jsonl"

    @property
    def approvals(self) -> Path:
        return self.folder / "approvals"

    def approval(self, plan: str) -> Path:
        return self.approvals / f"{plan}.json"

    def model(self, digest: str) -> Path:
        """Return the file of a model, by its SHA-256, that an approved plan starts from."""
        return self.folder / "models" / f"{digest}.safetensors"

    @property
    def node_log(self) -> Path:
        """The output of the SuperNode."""
        return self.state / "supernode.log"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def champion(self) -> Path:
        """The bundle that this hospital diagnoses with."""
        return self.folder / "champion"

    @property
    def audit_log(self) -> AuditLog:
        """The log, with a key that is not `private_key`: the user who trains may have no access to that."""
        return AuditLog(self.folder / "audit.jsonl", self.folder / "secrets" / "audit.key")

    @property
    def excluded(self) -> Path:
        """Patients who withdrew, one a line, named as in the hospital's own files."""
        return self.folder / "excluded.txt"
