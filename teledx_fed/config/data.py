"""Settings of sources, synthetic hospitals and the partition, with checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from teledx_fed.core import extensions
from teledx_fed.core.checks import LARGEST_SEED, must, one_of, within
from teledx_fed.core.examples import GRADES

Value = TypeVar("Value")

MOST_MEGAPIXELS, LARGEST_MEGAPIXELS = 50.0, 89.0
"""Default and highest limit of a photograph: no fundus camera takes more. Decoding 50 takes half a gibibyte."""

BUILT_IN_PARTITIONS = ("by_source", "iid", "label_skew", "quantity_skew", "camera_shift")
PARTITION_ENTRY_POINTS = "teledx_fed.partitions"
"""Entry point group of partitions in installed packages. A deployed site uses none: its source is the site."""

OEDEMA_WORDS = {"yes": True, "true": True, "no": False, "false": False, "unknown": None}


@dataclass
class SourceSettings:
    """Photographs and grades on disk. `grading` and `oedema` map the hospital's own words to their meaning."""

    layout: str = "folder"
    root: str = ""
    grading: dict[str, int] = field(default_factory=dict)
    oedema: dict[str, str] = field(default_factory=dict)
    file_pattern: str | None = None

    def __post_init__(self) -> None:
        _check_grading("grading", self.grading)
        for word, meaning in self.oedema.items():
            one_of(f"oedema.{word}", meaning.casefold(), OEDEMA_WORDS)


def _check_grading(name: str, grading: Mapping[str, int]) -> None:
    for word, grade in grading.items():
        must(0 <= grade < GRADES, f"{name}.{word}", "be an ICDR grade 0 to 4", grade, "Correct the table.")


@dataclass
class HospitalSettings:
    """A synthetic hospital: number of patients, camera, and share of patients with each grade."""

    patients: int = 100
    camera: str = "canon"
    prevalence: list[float] = field(default_factory=lambda: [0.5, 0.15, 0.2, 0.08, 0.07])

    def __post_init__(self) -> None:
        within("data.hospitals.patients", self.patients, 1, 1e6)
        must(
            len(self.prevalence) == GRADES and min(self.prevalence) >= 0 and abs(sum(self.prevalence) - 1) < 1e-6,
            "data.hospitals.prevalence",
            f"be {GRADES} shares that sum to 1",
            self.prevalence,
            "Give one share for each ICDR grade 0 to 4.",
        )


@dataclass
class DataSettings:
    """Sources on disk or synthetic hospitals. `seed` fixes the synthetic photographs and the partition.

    `grading` and `file_pattern` are the defaults of all sources. A photograph of more than `most_megapixels` is refused
    before it is decoded.
    """

    seed: int = 0
    sources: dict[str, SourceSettings] = field(default_factory=dict)
    hospitals: dict[str, HospitalSettings] = field(default_factory=dict)
    grading: dict[str, int] = field(default_factory=dict)
    file_pattern: str | None = None
    on_bad: str = "fail"
    image_size: int = 224
    ben_graham: bool = False
    clahe: bool = False
    cache: str = ".teledx_cache"
    workers: int = 2
    most_megapixels: float = MOST_MEGAPIXELS

    def __post_init__(self) -> None:
        within("data.seed", self.seed, 0, LARGEST_SEED)
        one_of("data.on_bad", self.on_bad, ("fail", "skip"))
        within("data.image_size", self.image_size, 16, 2048)
        within("data.workers", self.workers, 1, 256)
        within("data.most_megapixels", self.most_megapixels, 1, LARGEST_MEGAPIXELS)
        _check_grading("data.grading", self.grading)

    def source(self, name: str) -> SourceSettings:
        """Return the settings of a source, completed with the defaults for grading and file pattern."""
        source = self.sources[name]
        pattern = source.file_pattern or self.file_pattern
        return replace(source, grading={**self.grading, **source.grading}, file_pattern=pattern)


@dataclass
class PartitionSettings:
    """Which hospital gets which patients, and the shares of its patients for validation and test.

    The others' model is tested at the `absent` hospital, which trains only a local baseline.
    """

    by: str = "by_source"
    absent: str | None = None
    sites: int = 4
    alpha: float = 0.5
    validation: float = 0.2
    test: float = 0.3

    def __post_init__(self) -> None:
        if self.by not in BUILT_IN_PARTITIONS:
            extensions.check("partition.by", self.by, BUILT_IN_PARTITIONS, PARTITION_ENTRY_POINTS)
        within("partition.sites", self.sites, 1, 100_000)
        must(
            self.alpha > 0,
            "partition.alpha",
            "be positive",
            self.alpha,
            "Small values give skewed sites.",
        )
        for name in ("validation", "test"):
            within(f"partition.{name}", getattr(self, name), 0.01, 0.9)
        within("partition.validation + partition.test", self.validation + self.test, 0.02, 0.95)

    def present(self, sites: Mapping[str, Value]) -> dict[str, Value]:
        """Return the sites that train together. Raise a `ConfigurationError` if `absent` is not one of `sites`."""
        exists = self.absent is None or self.absent in sites
        must(exists, "partition.absent", f"be one of {', '.join(sites)}", self.absent, "Choose one of these.")
        return {name: value for name, value in sites.items() if name != self.absent}
