"""Keep a patient of two simulated hospitals at one, so that no test set contains training photographs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import combinations

from teledx_fed.core.examples import Collection, Example, Images, SetAside, SetAsideReason
from teledx_fed.data.comparison import LOOSE, aligned
from teledx_fed.data.duplicates import hashes, merged, near_duplicates

Person = tuple[str, str]
"""A source, and a patient there."""


@dataclass(frozen=True)
class SourcePhotograph:
    """An example with its source."""

    source: str
    example: Example

    @property
    def person(self) -> Person:
        return self.source, self.example.patient


def keep_at_one_source(collections: Mapping[str, Collection], images: Images) -> dict[str, Collection]:
    """Keep each person at one source. Patients of two sources who share a photograph, or a near copy, are one person.

    A hash of the person's photographs selects the source, so that no hospital is favoured or loses all patients. The
    other sources set all photographs of the person aside. At the selected source the person is one patient, under the
    smallest pseudonym, also where only another source shows that two patients are one. A photograph that two sources
    grade differently is set aside at both.
    """
    if len(collections) < 2:
        return dict(collections)
    photographs = [
        SourcePhotograph(name, example) for name in sorted(collections) for example in collections[name].examples
    ]
    groups = _by_content(photographs)
    persons = merged([(a.person, b.person) for a, b in _shared(groups, images)])
    if not persons:
        return dict(collections)
    sources, patients = _sources(photographs, persons), _patients(persons)
    conflicting = {id(photograph): group for group in groups for photograph in _conflicting(group)}
    remaining: dict[str, list[Example]] = {name: [] for name in collections}
    aside: dict[str, list[SetAside]] = {name: [] for name in collections}
    for photograph in photographs:
        source = sources.get(persons.get(photograph.person, photograph.person), photograph.source)
        if id(photograph) in conflicting:
            aside[photograph.source].append(_in_conflict(photograph, conflicting[id(photograph)]))
        elif source != photograph.source:
            detail = f"this person also has photographs at {source}, and stays there"
            name = photograph.example.image.name
            aside[photograph.source].append(SetAside(name, SetAsideReason.ELSEWHERE, detail, source))
        else:
            patient = patients.get(photograph.person, photograph.example.patient)
            remaining[photograph.source].append(replace(photograph.example, patient=patient))
    return {
        name: replace(collection, examples=tuple(remaining[name]), set_aside=(*collection.set_aside, *aside[name]))
        for name, collection in collections.items()
    }


def count_shared(set_aside: Mapping[str, Sequence[SetAside]]) -> dict[str, int]:
    """Count the photographs that a hospital set aside because another one has the person, by pair of hospitals."""
    counts: defaultdict[str, int] = defaultdict(int)
    for name, photographs in set_aside.items():
        for aside in photographs:
            if aside.elsewhere:
                counts[" and ".join(sorted((name, aside.elsewhere)))] += 1
    return dict(sorted(counts.items()))


def _by_content(photographs: Sequence[SourcePhotograph]) -> list[list[SourcePhotograph]]:
    groups: defaultdict[str, list[SourcePhotograph]] = defaultdict(list)
    for photograph in photographs:
        groups[photograph.example.image.digest()].append(photograph)
    return list(groups.values())


def _shared(
    groups: Sequence[Sequence[SourcePhotograph]], images: Images
) -> list[tuple[SourcePhotograph, SourcePhotograph]]:
    """List pairs of photographs at two sources that show one eye in one view."""
    same = [pair for group in groups for pair in combinations(group, 2)]
    examples = [group[0].example for group in groups]
    sources = [{photograph.source for photograph in group} for group in groups]
    candidates = near_duplicates(hashes(examples, images), LOOSE)
    same_view = aligned([(i, j) for i, j in candidates if len(sources[i] | sources[j]) > 1], examples, images)
    copies = [(a, b) for i, j in same_view for a in groups[i] for b in groups[j]]
    return [(a, b) for a, b in (*same, *copies) if a.source != b.source]


def _sources(photographs: Sequence[SourcePhotograph], persons: Mapping[Person, Person]) -> dict[Person, str]:
    """Choose the source of each person."""
    sources: defaultdict[Person, set[str]] = defaultdict(set)
    digests: defaultdict[Person, list[str]] = defaultdict(list)
    for photograph in photographs:
        if photograph.person in persons:
            sources[persons[photograph.person]].add(photograph.source)
            digests[persons[photograph.person]].append(photograph.example.image.digest())
    numbers = {person: int(sha256(min(of_person).encode()).hexdigest(), 16) for person, of_person in digests.items()}
    return {person: sorted(names)[numbers[person] % len(names)] for person, names in sources.items()}


def _patients(persons: Mapping[Person, Person]) -> dict[Person, str]:
    """Choose one pseudonym for all patients of a source who are one person."""
    smallest: dict[tuple[Person, str], str] = {}
    for (source, patient), person in sorted(persons.items()):
        smallest.setdefault((person, source), patient)
    return {(source, patient): smallest[person, source] for (source, patient), person in persons.items()}


def _conflicting(group: Sequence[SourcePhotograph]) -> Sequence[SourcePhotograph]:
    return group if len({photograph.example.grade for photograph in group}) > 1 else ()


def _in_conflict(photograph: SourcePhotograph, group: Sequence[SourcePhotograph]) -> SetAside:
    grades = ", ".join(f"{other.source} {other.example.image.name} {other.example.grade}" for other in group)
    elsewhere = next(other.source for other in group if other.source != photograph.source)
    return SetAside(photograph.example.image.name, SetAsideReason.CONFLICTING_GRADES, grades, elsewhere)
