"""What models score, over every repeat of an experiment: in the sample, and in each replicate of its patients."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from teledx_fed.evaluation.examined import Examination
from teledx_fed.evaluation.intervals import multiplicities
from teledx_fed.evaluation.metrics import mean_defined
from teledx_fed.evaluation.predictions import Booleans, Floats, Integers, Predictions, pool
from teledx_fed.evaluation.sufficiency import patients_of_kinds, too_few

CHUNK = 250
"""Replicates that are held at once: 1,200 eyes at each of four sites then take about 10 MB an array."""

Values = Mapping[str, Floats]
"""By metric, the sample itself followed by its replicates."""
Measure = Callable[[Predictions, Booleans, Floats], Values]


LEAST_KEPT = 0.25
"""Of few seeds, what patients account for of their variance is itself but loosely known: this much is kept."""


@dataclass(frozen=True)
class Scores:
    """Of one model in one repeat, or the difference of two."""

    sites: Mapping[str, Values]
    all_patients: Values

    def __sub__(self, other: "Scores") -> "Scores":
        sites = {site: _minus(values, other.sites[site]) for site, values in self.sites.items()}
        return Scores(sites, _minus(self.all_patients, other.all_patients))


@dataclass(frozen=True)
class Measured:
    """One model, or the difference of two, over `repeats`: in the replicates their mean strays by `strays`."""

    repeats: Sequence[Scores]
    strays: Floats

    def __sub__(self, other: "Measured") -> "Measured":
        pairs = zip(self.repeats, other.repeats, strict=True)
        return Measured([mine - theirs for mine, theirs in pairs], self.strays)

    @cached_property
    def sites(self) -> dict[str, Values]:
        return {
            site: {name: self._mean([scores.sites[site][name] for scores in self.repeats]) for name in values}
            for site, values in self.repeats[0].sites.items()
        }

    @cached_property
    def all_patients(self) -> Values:
        names = self.repeats[0].all_patients
        return {name: self._mean([scores.all_patients[name] for scores in self.repeats]) for name in names}

    def defined(self, name: str) -> list[str]:
        """The sites where a metric is defined in every repeat."""
        return [site for site, values in self.sites.items() if not np.isnan(values[name][0])]

    def mean_of_sites(self, name: str) -> Floats:
        """Over the sites where it is defined, of which there must be one."""
        sites = self.defined(name)
        return self._mean(
            [mean_defined(np.stack([scores.sites[site][name] for site in sites]), axis=0) for scores in self.repeats]
        )

    def _mean(self, values: Sequence[Floats]) -> Floats:
        return mean_of_repeats(np.stack(values), self.strays)


def over_repeats(
    repeats: Sequence[Examination], replicates: int, generator: np.random.Generator, measure: Measure
) -> dict[str, Measured]:
    """By model."""
    names = {
        site: tuple(dict.fromkeys(name for repeat in repeats for name in repeat.patients[site]))
        for site in repeats[0].patients
    }
    rows = [_rows(repeat, names) for repeat in repeats]
    parts: list[dict[str, list[Scores]]] = [{model: [] for model in repeat.predictions} for repeat in repeats]
    for drawn in _draws(names, replicates, generator):
        for i, repeat in enumerate(repeats):
            here = {site: multiplicity[:, rows[i][site]] for site, multiplicity in drawn.items()}
            for model, sites in repeat.predictions.items():
                parts[i][model].append(_measure(sites, repeat.called[model], here, measure))
    strays = strays_of(len(repeats), replicates, generator)
    return {model: Measured([_joined(part[model]) for part in parts], strays) for model in repeats[0].predictions}


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


def mean_of_repeats(values: Floats, strays: Floats) -> Floats:
    """Of (repeats, 1 + B), undefined where one of them is; it strays by how far they are apart in the sample.

    They are apart for their patients too, which the replicates tell and which have moved the mean already: that part of
    their variance is taken off.
    """
    mean = values.mean(axis=0)
    apart = values - mean
    sample, replicates = apart[:, :1], apart[:, 1:]
    variance = np.square(sample).sum()
    if variance == 0:
        return mean
    of_patients = mean_defined(np.square(replicates - sample).sum(axis=0), axis=0)
    kept = np.sqrt(np.fmax(LEAST_KEPT, 1 - of_patients / variance))
    return mean + kept * (strays * sample).mean(axis=0)


def _measure(
    sites: Mapping[str, Predictions], called: Mapping[str, Booleans], drawn: Mapping[str, Floats], measure: Measure
) -> Scores:
    """Undefined where too few patients were tested to say."""

    def measured(found: Predictions, called: Booleans, drawn: Floats) -> Values:
        few = too_few(patients_of_kinds(found, called))
        values = measure(found, called, drawn)
        return {name: np.full_like(of, np.nan) if name in few else of for name, of in values.items()}

    everyone, everyone_called = pool(list(sites.values())), np.concatenate([called[site] for site in sites])
    return Scores(
        {site: measured(found, called[site], drawn[site]) for site, found in sites.items()},
        measured(everyone, everyone_called, np.hstack([drawn[site] for site in sites])),
    )


def _joined(chunks: Sequence[Scores]) -> Scores:
    def joined(values: Sequence[Values]) -> Values:
        return {name: np.concatenate([chunk[name] for chunk in values]) for name in values[0]}

    sites = {site: joined([chunk.sites[site] for chunk in chunks]) for site in chunks[0].sites}
    return Scores(sites, joined([chunk.all_patients for chunk in chunks]))


def _minus(one: Values, other: Values) -> Values:
    return {name: one[name] - other[name] for name in one}
