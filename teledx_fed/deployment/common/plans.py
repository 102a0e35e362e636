"""A plan: all settings of a run that a hospital acts on, as canonical JSON, identified by its SHA-256 digest."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from teledx_fed.config.loading import build
from teledx_fed.config.settings import Settings
from teledx_fed.core.checks import must
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.files import write_text
from teledx_fed.core.weights import Weights

FORMAT = 1
LONGEST = 1000
"""Maximum characters of a text in a plan."""
DIGEST = re.compile("[0-9a-f]{64}")
AGAIN = "Ask the coordinator for it again."

BOUND: Mapping[str, tuple[str, ...]] = {
    "data": ("image_size", "ben_graham", "clahe"),
    "federation": ("rounds", "compression"),
    "model": (),
    "training": (),
    "strategy": (),
    "evaluation": (),
}
"""The settings of a plan by group; an empty tuple means the whole group. A plan also holds the seed. The
coordinator decides other settings (quorum, deadlines, validation, early stopping, tracking), or the hospital (data,
split, cells)."""

FREE = {"evaluation": ("folds", "fold")}
"""Settings of these groups that exist only in simulations and not in a plan."""


@dataclass(frozen=True)
class Plan:
    """A plan; `initial` is the digest of the weights that round 1 starts from, `settings` follow `BOUND`.

    In them, `model.file` is the SHA-256 of the file if a run starts from a file.
    """

    release: str
    purpose: str
    initial: str
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name in ("release", "purpose", "initial"):
            value = getattr(self, name)
            valid = isinstance(value, str) and value.isprintable() and 0 < len(value) <= LONGEST
            must(valid, f"plan.{name}", f"be a line of at most {LONGEST} characters", value, "Ask for another plan.")
        for name in [self.initial, *([self.file] if self.file is not None else [])]:
            must(DIGEST.fullmatch(str(name)) is not None, "plan", "name weights by SHA-256", name, "Write it again.")

    @property
    def file(self) -> str | None:
        """SHA-256 of the model file that the run starts from, if any."""
        model = self.settings.get("model", {})
        return model.get("file") if isinstance(model, Mapping) else None

    @cached_property
    def text(self) -> str:
        """Canonical JSON: the same plan has the same bytes on every machine."""
        return json.dumps(
            {"format": FORMAT, **asdict(self)},
            sort_keys=True,
            separators=(",", ":"),
            allow_nan=False,
            ensure_ascii=True,
        )

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def run_settings(self, file: Path | None = None) -> Settings:
        """Return the settings of a run by this plan; `file` is the local path of the model that it starts from."""
        model = {**self.settings["model"], "file": None if file is None else str(file)}
        return build({**self.settings, "model": model})

    @classmethod
    def of(cls, settings: Settings, release: str, purpose: str, initial: Weights) -> Self:
        """Make the plan of `settings`; `initial` are the weights that the coordinator built from them."""
        groups = bound(settings)
        if (file := settings.model.file) is not None:
            groups["model"]["file"] = sha256_of(Path(file))
        return cls(release, purpose, digest_of(initial), {"seed": settings.seed, **groups})

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a plan. A `ConfigurationError` if it is invalid or has settings that no plan may have."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"PLAN must be a plan as server plan writes it, got {error}. Ask for it again."
            ) from error
        fields = {"format", "release", "purpose", "initial", "settings"}
        complete = isinstance(content, dict) and content.keys() == fields
        must(complete and content.pop("format") == FORMAT, "PLAN", f"be a plan of format {FORMAT}", text[:60], AGAIN)
        _check_bound(content["settings"])
        return cls(**content)


def write(plan: Plan, path: Path) -> None:
    """Write a plan, indented for people: white space does not change its digest."""
    write_text(path, json.dumps(json.loads(plan.text), indent=1) + "\n")


def read(path: Path) -> Plan:
    try:
        return Plan.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"PLAN must be a file that can be read, got {path}: {error}. Check the path."
        ) from error


def digest_of(weights: Weights) -> str:
    """Return the SHA-256 of layout, parameters and BatchNorm statistics."""
    digest = hashlib.sha256(weights.layout.digest.encode())
    for vector in (weights.parameters, weights.statistics):
        digest.update(vector.tobytes())
    return digest.hexdigest()


def sha256_of(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigurationError(
            f"model.file must be readable, got {file}: {error.strerror}. Correct the path."
        ) from error


def bound(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the settings of a plan by group, without the seed."""
    groups = asdict(settings)
    return {group: _bound(group, groups[group]) for group in BOUND}


def _bound(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    free = FREE.get(group, ())
    return {name: value for name, value in values.items() if name in (BOUND[group] or values) and name not in free}


def _check_bound(settings: object) -> None:
    """Check that there are no other settings: a coordinator may not decide where data are or which device computes."""
    groups = {"seed", *BOUND}
    complete = isinstance(settings, dict) and settings.keys() == groups
    must(complete, "plan.settings", f"hold {sorted(groups)}", settings, AGAIN)
    assert isinstance(settings, dict)
    for group in BOUND:
        must(isinstance(settings[group], dict), f"plan.settings.{group}", "be an object", settings[group], AGAIN)
        extra = settings[group].keys() - _bound(group, settings[group]).keys()
        must(not extra, f"plan.settings.{group}", "hold no setting that is not in a plan", sorted(extra), AGAIN)
