"""Bootstrap over patients: metrics of each model in the sample and in each replicate, over repeated experiments.

Arrays `(1 + B,)` hold the value in the sample, followed by its B replicates.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from teledx_fed.evaluation.counts import mean_defined
from teledx_fed.evaluation.intervals import multiplicities
from teledx_fed.evaluation.metrics import Metric, compute
from teledx_fed.evaluation.predictions import Booleans, Floats, Integers, Predictions, pool
from teledx_fed.evaluation.sufficiency import has_too_few, patients_of_kinds
from teledx_fed.evaluation.test_predictions import Evaluation

CHUNK = 250
"""Replicates in memory at once: an array of 1,200 eyes at each of four sites takes about 10 MB."""

Values = Mapping[str, Floats]
"""Values (1 + B,) by metric."""

LEAST_SEED_VARIANCE = 0.25
"""The smallest share of the variance between seeds to keep: few seeds estimate the patients' share badly."""


@dataclass(frozen=True)
class RepeatScores:
    """Metrics of one model in one repeat, or the difference of two models."""

    sites: Mapping[str, Values]
    all_patients: Values

    def __sub__(self, other: "RepeatScores") -> "RepeatScores":
        sites = {site: _minus(values, other.sites[site]) for site, values in self.sites.items()}
        return RepeatScores(sites, _minus(self.all_patients, other.all_patients))


@dataclass(frozen=True)
class ModelScores:
    """Metrics of one model, or the difference of two, over `repeats`.

    `deviations` (repeats, 1 + B) weigh each repeat's distance from the mean in a replicate.
    """

    repeats: Sequence[RepeatScores]
    deviations: Floats

    def __sub__(self, other: "ModelScores") -> "ModelScores":
        pairs = zip(self.repeats, other.repeats, strict=True)
        return ModelScores([mine - theirs for mine, theirs in pairs], self.deviations)

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
        """Return the sites where a metric is defined in every repeat."""
        return [site for site, values in self.sites.items() if not np.isnan(values[name][0])]

    def mean_of_sites(self, name: str) -> Floats:
        """Return the mean (1 + B,) over the sites where the metric is defined. At least one site must define it."""
        sites = self.defined(name)
        return self._mean(
            [mean_defined(np.stack([scores.sites[site][name] for site in sites]), axis=0) for scores in self.repeats]
        )

    def _mean(self, values: Sequence[Floats]) -> Floats:
        return mean_of_repeats(np.stack(values), self.deviations)


def bootstrap(
    repeats: Sequence[Evaluation], replicates: int, generator: np.random.Generator, metrics: Collection[Metric]
) -> dict[str, ModelScores]:
    """Return scores by model. A replicate draws patients once for all models and repeats."""
    names = {
        site: tuple(dict.fromkeys(name for repeat in repeats for name in repeat.patients[site]))
        for site in repeats[0].patients
    }
    rows = [_rows(repeat, names) for repeat in repeats]
    chunks: list[dict[str, list[RepeatScores]]] = [{model: [] for model in repeat.predictions} for repeat in repeats]
    for multiplicity_of in _draws(names, replicates, generator):
        for i, repeat in enumerate(repeats):
            multiplicity = {site: times[:, rows[i][site]] for site, times in multiplicity_of.items()}
            for model, sites in repeat.predictions.items():
                chunks[i][model].append(_scores(sites, repeat.called[model], multiplicity, metrics))
    deviations = seed_deviations(len(repeats), replicates, generator)
    return {
        model: ModelScores([_joined(of_repeat[model]) for of_repeat in chunks], deviations)
        for model in repeats[0].predictions
    }


def _rows(repeat: Evaluation, names: Mapping[str, Sequence[str]]) -> dict[str, Integers]:
    """Return by site the number (n,) of each eye's patient among `names`."""
    first = next(iter(repeat.predictions.values()))
    number = {site: {name: i for i, name in enumerate(patients)} for site, patients in names.items()}
    return {
        site: np.array([number[site][name] for name in repeat.patients[site]])[predictions.patient]
        for site, predictions in first.items()
    }


def _draws(
    names: Mapping[str, Sequence[str]], replicates: int, generator: np.random.Generator
) -> Iterator[dict[str, Floats]]:
    """Yield by site how often each patient counts: ones (1, patients), then chunks of replicates (B, patients)."""
    numbers = {site: np.arange(len(patients)) for site, patients in names.items()}
    yield {site: np.ones((1, number.size)) for site, number in numbers.items()}
    for start in range(0, replicates, CHUNK):
        count = min(CHUNK, replicates - start)
        yield {site: multiplicities(number, count, generator) for site, number in numbers.items()}


def seed_deviations(repeats: int, replicates: int, generator: np.random.Generator) -> Floats:
    """Return (repeats, 1 + B): the weight of each repeat's distance from the mean; 0 in the sample.

    The mean then varies as Student's t with `repeats` - 1 degrees of freedom. Resampling the repeats would vary it too
    little: with three repeats, 95 % intervals would contain the truth in 73 %.
    """
    deviations = np.zeros((1 + replicates, repeats))
    if repeats > 1:
        freedom = repeats - 1
        draws = generator.normal(size=(replicates, repeats))
        scale = np.sqrt(freedom / generator.chisquare(freedom, size=(replicates, 1)) * repeats / freedom)
        deviations[1:] = (draws - draws.mean(axis=1, keepdims=True)) * scale
    return deviations.T


def mean_of_repeats(values: Floats, deviations: Floats) -> Floats:
    """Return the mean (1 + B,) of values (repeats, 1 + B); NaN where one of them is NaN.

    In the replicates the mean varies by the distances between repeats in the sample. Part of these comes from their
    different patients. The replicates already contain that part, so its variance is subtracted.
    """
    mean = values.mean(axis=0)
    distances = values - mean
    sample, replicates = distances[:, :1], distances[:, 1:]
    variance = np.square(sample).sum()
    if variance == 0:
        return mean
    of_patients = mean_defined(np.square(replicates - sample).sum(axis=0), axis=0)
    share = np.sqrt(np.fmax(LEAST_SEED_VARIANCE, 1 - of_patients / variance))
    return mean + share * (deviations * sample).mean(axis=0)


def _scores(
    sites: Mapping[str, Predictions],
    called: Mapping[str, Booleans],
    multiplicity: Mapping[str, Floats],
    metrics: Collection[Metric],
) -> RepeatScores:
    """Return the metrics, NaN where too few patients were tested."""

    def scores(predictions: Predictions, called: Booleans, multiplicity: Floats) -> Values:
        patients = patients_of_kinds(predictions, called)
        undefined = {metric.name for metric in metrics if has_too_few(metric.kinds, patients)}
        values = compute(predictions, called, multiplicity, metrics)
        return {name: np.full_like(value, np.nan) if name in undefined else value for name, value in values.items()}

    pooled, pooled_called = pool(list(sites.values())), np.concatenate([called[site] for site in sites])
    return RepeatScores(
        {site: scores(predictions, called[site], multiplicity[site]) for site, predictions in sites.items()},
        scores(pooled, pooled_called, np.hstack([multiplicity[site] for site in sites])),
    )


def _joined(chunks: Sequence[RepeatScores]) -> RepeatScores:
    def joined(values: Sequence[Values]) -> Values:
        return {name: np.concatenate([chunk[name] for chunk in values]) for name in values[0]}

    sites = {site: joined([chunk.sites[site] for chunk in chunks]) for site in chunks[0].sites}
    return RepeatScores(sites, joined([chunk.all_patients for chunk in chunks]))


def _minus(first: Values, second: Values) -> Values:
    return {name: first[name] - second[name] for name in first}
