"""Patients, and the ways to deal them to hospitals."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teledx_fed.config.data import PartitionSettings
from teledx_fed.core.checks import must
from teledx_fed.core.examples import Example


@dataclass(frozen=True)
class Patient:
    source: str
    examples: tuple[Example, ...]

    @property
    def grade(self) -> int:
        """The worst eye's."""
        return max(example.grade for example in self.examples)

    @property
    def camera(self) -> str:
        """The commonest."""
        return Counter(sorted(example.camera for example in self.examples)).most_common(1)[0][0]


Partition = Callable[[Sequence[Patient], PartitionSettings, np.random.Generator], Sequence[str]]
"""The site of each patient."""


def by_source(patients: Sequence[Patient], settings: PartitionSettings, rng: np.random.Generator) -> Sequence[str]:
    return [patient.source for patient in patients]


def iid(patients: Sequence[Patient], settings: PartitionSettings, rng: np.random.Generator) -> Sequence[str]:
    """At random, in equal numbers."""
    return _named(rng.permutation(np.arange(len(patients)) % settings.sites), settings)


def label_skew(patients: Sequence[Patient], settings: PartitionSettings, rng: np.random.Generator) -> Sequence[str]:
    """Each grade in shares of its own, drawn from Dirichlet(alpha) (Hsu et al. 2019)."""
    grades = np.array([patient.grade for patient in patients])
    sites = np.empty(len(patients), dtype=np.int64)
    for grade in np.unique(grades):
        sites[grades == grade] = _shared_out(int(np.sum(grades == grade)), settings, rng)
    return _named(sites, settings)


def quantity_skew(patients: Sequence[Patient], settings: PartitionSettings, rng: np.random.Generator) -> Sequence[str]:
    """At random, in shares drawn from Dirichlet(alpha)."""
    return _named(_shared_out(len(patients), settings, rng), settings)


def camera_shift(patients: Sequence[Patient], settings: PartitionSettings, rng: np.random.Generator) -> Sequence[str]:
    """A camera, or a group of cameras, a site: the commonest camera first, each to the site with fewest patients."""
    counts = Counter(patient.camera for patient in patients)
    must(
        settings.sites <= len(counts),
        "partition.sites",
        f"be at most the number of cameras ({', '.join(sorted(counts))})",
        settings.sites,
        "Lower it, or choose another partition.by.",
    )
    load = np.zeros(settings.sites)
    site: dict[str, int] = {}
    for camera, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        site[camera] = int(load.argmin())
        load[site[camera]] += count
    return _named([site[patient.camera] for patient in patients], settings)


PARTITIONS: Mapping[str, Partition] = {
    "by_source": by_source,
    "iid": iid,
    "label_skew": label_skew,
    "quantity_skew": quantity_skew,
    "camera_shift": camera_shift,
}


def _shared_out(count: int, settings: PartitionSettings, rng: np.random.Generator) -> NDArray[np.int64]:
    shares = rng.dirichlet(np.full(settings.sites, settings.alpha))
    sites = np.searchsorted(np.cumsum(shares)[:-1], (np.arange(count) + 0.5) / count)
    return rng.permutation(sites)


def _named(sites: Iterable[int], settings: PartitionSettings) -> list[str]:
    counts = Counter(sites)
    empty = [f"site_{number + 1}" for number in range(settings.sites) if not counts[number]]
    must(
        not empty,
        f"partition.by={settings.by}",
        f"give each of {settings.sites} sites a patient",
        f"none at {', '.join(empty)}, with {counts.total()} patients and alpha {settings.alpha:g}",
        "Lower partition.sites, raise partition.alpha, or take another seed.",
    )
    return [f"site_{number + 1}" for number in sites]
