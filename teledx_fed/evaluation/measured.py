"""What models score, over every repeat of an experiment: in the sample, and in each replicate of its patients."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from teledx_fed.evaluation.examined import Examination
from teledx_fed.evaluation.intervals import multiplicities
from teledx_fed.evaluation.metrics import mean_defined
from teledx_fed.evaluation.predictions import Booleans, Floats, Integers, Predictions, pool

CHUNK = 250
"""Replicates that are held at once: 1,200 eyes at each of four sites then take about 10 MB an array."""

Values = Mapping[str, Floats]
"""By metric, the sample itself followed by its replicates."""
Measure = Callable[[Predictions, Booleans, Floats], Values]


@dataclass(frozen=True)
class Measured:
    """One model, or the difference of two."""

    sites: Mapping[str, Values]
    all_patients: Values

    def __sub__(self, other: "Measured") -> "Measured":
        sites = {site: _minus(values, other.sites[site]) for site, values in self.sites.items()}
        return Measured(sites, _minus(self.all_patients, other.all_patients))


def over_repeats(
    repeats: Sequence[Examination], replicates: int, generator: np.random.Generator, measure: Measure
) -> dict[str, Measured]:
    """By model, the mean over repeats; in the replicates it strays, where there are several."""
    names = {
        site: tuple(dict.fromkeys(name for repeat in repeats for name in repeat.patients[site]))
        for site in repeats[0].patients
    }
    rows = [_rows(repeat, names) for repeat in repeats]
    parts: list[dict[str, list[Measured]]] = [{model: [] for model in repeat.predictions} for repeat in repeats]
    for drawn in _draws(names, replicates, generator):
        for i, repeat in enumerate(repeats):
            here = {site: multiplicity[:, rows[i][site]] for site, multiplicity in drawn.items()}
            for model, sites in repeat.predictions.items():
                parts[i][model].append(_measure(sites, repeat.called[model], here, measure))
    strays = strays_of(len(repeats), replicates, generator)
    return {
        model: mean_of_repeats([_joined(part[model]) for part in parts], strays) for model in repeats[0].predictions
    }


def _rows(repeat: Examination, names: Mapping[str, Sequence[str]]) -> dict[str, Integers]:
    """By site, for each eye the number of its patient among `names`."""
    first = next(iter(repeat.predictions.values()))
    number = {site: {name: i for i, name in enumerate(listed)} for site, listed in names.items()}
    return {
        site: np.array([number[site][name] for name in repeat.patients[site]])[found.patient]
        for site, found in first.items()
    }


def _draws(
    names: Mapping[str, Sequence[str]], replicates: int, generator: np.random.Generator
) -> Iterator[dict[str, Floats]]:
    """By site, everyone once; then replicates of its patients, a chunk at a time."""
    numbers = {site: np.arange(len(listed)) for site, listed in names.items()}
    yield {site: np.ones((1, number.size)) for site, number in numbers.items()}
    for start in range(0, replicates, CHUNK):
        count = min(CHUNK, replicates - start)
        yield {site: multiplicities(number, count, generator) for site, number in numbers.items()}


def strays_of(repeats: int, replicates: int, generator: np.random.Generator) -> Floats:
    """(repeats, 1 + B): by how much of its distance from the mean each repeat moves it; in the sample by nothing.

    So the mean moves as Student's t of `repeats` - 1 degrees of freedom says that of so many normal values does. Were
    repeats drawn anew it would move too little: with three of them, 95 % intervals would hold the truth in 73 %.
    """
    strays = np.zeros((1 + replicates, repeats))
    if repeats > 1:
        freedom = repeats - 1
        drawn = generator.normal(size=(replicates, repeats))
        wider = np.sqrt(freedom / generator.chisquare(freedom, size=(replicates, 1)) * repeats / freedom)
        strays[1:] = (drawn - drawn.mean(axis=1, keepdims=True)) * wider
    return strays.T


def _measure(
    sites: Mapping[str, Predictions], called: Mapping[str, Booleans], drawn: Mapping[str, Floats], measure: Measure
) -> Measured:
    everyone, everyone_called = pool(list(sites.values())), np.concatenate([called[site] for site in sites])
    return Measured(
        {site: measure(found, called[site], drawn[site]) for site, found in sites.items()},
        measure(everyone, everyone_called, np.hstack([drawn[site] for site in sites])),
    )


def _joined(chunks: Sequence[Measured]) -> Measured:
    return _combined(chunks, np.concatenate)


def mean_of_repeats(repeats: Sequence[Measured], strays: Floats) -> Measured:
    """Over the repeats in which the metric is defined; how far they are apart is told by the sample alone."""

    def mean(values: Sequence[Floats]) -> Floats:
        stacked = np.stack(values)
        center = mean_defined(stacked, axis=0)
        apart = (stacked - center)[:, :1]
        return center + mean_defined(strays * apart, axis=0)

    return _combined(repeats, mean)


def _combined(parts: Sequence[Measured], combine: Callable[[Sequence[Floats]], Floats]) -> Measured:
    def combined(values: Sequence[Values]) -> Values:
        return {name: combine([part[name] for part in values]) for name in values[0]}

    sites = {site: combined([part.sites[site] for part in parts]) for site in parts[0].sites}
    return Measured(sites, combined([part.all_patients for part in parts]))


def _minus(one: Values, other: Values) -> Values:
    return {name: one[name] - other[name] for name in one}
