"""Divide the patients of a simulation among its sites; all photographs of a patient go to one site."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from teledx_fed.config.data import PARTITION_ENTRY_POINTS, PartitionSettings
from teledx_fed.core import extensions
from teledx_fed.core.checks import must
from teledx_fed.core.examples import Collection, Example, Identification
from teledx_fed.core.randomness import generator
from teledx_fed.data.split import ordered

WEAKEST_FIRST = tuple(reversed(Identification))


@dataclass(frozen=True)
class Patient:
    """A patient of a source, with all examples."""

    source: str
    examples: tuple[Example, ...]

    @property
    def grade(self) -> int:
        """The grade of the worse eye."""
        return max(example.grade for example in self.examples)

    @property
    def camera(self) -> str:
        """The camera of most of their photographs."""
        return Counter(sorted(example.camera for example in self.examples)).most_common(1)[0][0]


Partition = Callable[[Sequence[Patient], PartitionSettings, np.random.Generator], Sequence[str]]
"""A function that chooses the site of each patient."""


def by_source(patients: Sequence[Patient], settings: PartitionSettings, rng: np.random.Generator) -> Sequence[str]:
    """Make each source a site."""
    return [patient.source for patient in patients]


def iid(patients: Sequence[Patient], settings: PartitionSettings, rng: np.random.Generator) -> Sequence[str]:
    """Assign patients at random, in equal numbers."""
    return _site_names(rng.permutation(np.arange(len(patients)) % settings.sites), settings)


def label_skew(patients: Sequence[Patient], settings: PartitionSettings, rng: np.random.Generator) -> Sequence[str]:
    """Assign each grade in shares of its own, drawn from Dirichlet(alpha) (Hsu et al. 2019)."""
    grades = np.array([patient.grade for patient in patients])
    sites = np.empty(len(patients), dtype=np.int64)
    for grade in np.unique(grades):
        sites[grades == grade] = _by_shares(int(np.sum(grades == grade)), settings, rng)
    return _site_names(sites, settings)


def quantity_skew(patients: Sequence[Patient], settings: PartitionSettings, rng: np.random.Generator) -> Sequence[str]:
    """Assign patients at random, in shares drawn from Dirichlet(alpha)."""
    return _site_names(_by_shares(len(patients), settings, rng), settings)


def camera_shift(patients: Sequence[Patient], settings: PartitionSettings, rng: np.random.Generator) -> Sequence[str]:
    """Give each site its own cameras: the most used camera first, each to the site with the fewest patients."""
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
    return _site_names([site[patient.camera] for patient in patients], settings)


PARTITIONS: Mapping[str, Partition] = {
    partition.__name__: partition for partition in (by_source, iid, label_skew, quantity_skew, camera_shift)
}


def assign(collections: Mapping[str, Collection], settings: PartitionSettings, seed: int) -> dict[str, Collection]:
    """Divide the patients of all sources among sites, by name. A patient's pseudonym becomes `source/patient`.

    Files of a source that were set aside or not taken are listed at the site of its first patient. Raise a
    `ConfigurationError` where a site would have no patient.
    """
    for name, collection in collections.items():
        must(bool(collection.examples), f"data.sources.{name}", "hold a graded photograph", 0, "Remove this source.")
    patients = [patient for name in sorted(collections) for patient in _patients(name, collections[name].examples)]
    partition = PARTITIONS.get(settings.by) or extensions.load(PARTITION_ENTRY_POINTS, settings.by)
    sites = partition(patients, settings, generator(seed, purpose=f"partition {settings.by}"))
    patients_of: defaultdict[str, list[Patient]] = defaultdict(list)
    first_site: dict[str, str] = {}
    for site, patient in zip(sites, patients, strict=True):
        patients_of[site].append(patient)
        first_site.setdefault(patient.source, site)
    listed_at = {
        site: [collections[source] for source in first_site if first_site[source] == site] for site in patients_of
    }
    return {
        site: Collection(
            examples=tuple(example for patient in patients_of[site] for example in patient.examples),
            patients=min(
                (collections[patient.source].patients for patient in patients_of[site]), key=WEAKEST_FIRST.index
            ),
            set_aside=tuple(aside for collection in listed_at[site] for aside in collection.set_aside),
            not_taken=tuple(files for collection in listed_at[site] for files in collection.not_taken),
        )
        for site in sorted(patients_of)
    }


def _patients(source: str, examples: Iterable[Example]) -> list[Patient]:
    by_patient: defaultdict[str, list[Example]] = defaultdict(list)
    for example in ordered(examples):
        by_patient[example.patient].append(replace(example, patient=f"{source}/{example.patient}"))
    return [Patient(source, tuple(examples)) for examples in by_patient.values()]


def _by_shares(count: int, settings: PartitionSettings, rng: np.random.Generator) -> NDArray[np.int64]:
    shares = rng.dirichlet(np.full(settings.sites, settings.alpha))
    sites = np.searchsorted(np.cumsum(shares)[:-1], (np.arange(count) + 0.5) / count)
    return rng.permutation(sites)


def _site_names(sites: Iterable[int], settings: PartitionSettings) -> list[str]:
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
