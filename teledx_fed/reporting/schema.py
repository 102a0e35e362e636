"""Schema of report.json: frozen dataclasses, published as docs/report.schema.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from teledx_fed.core.operating_points import ChosenThreshold, Performance, Share
from teledx_fed.evaluation.intervals import Estimate

SCHEMA = "teledx_fed.report/3"


@dataclass(frozen=True)
class MeanEstimate(Estimate):
    """The mean over the `sites` hospitals where the metric is defined."""

    sites: int


@dataclass(frozen=True)
class WorstEstimate(Estimate):
    """The lowest value of any hospital."""

    site: str


@dataclass(frozen=True)
class Difference(Estimate):
    """The federated model minus a baseline, paired by patient."""

    p: float
    """Two-sided, from the bootstrap."""
    holm: float
    """`p` adjusted for all comparisons of the metric (Holm 1979)."""


@dataclass(frozen=True)
class MeanDifference(Estimate):
    """The mean difference over the hospitals where the metric is defined."""

    p: float
    sites: int
    holm: float


@dataclass(frozen=True)
class Scores:
    """Metrics of a model by name; None where a metric is undefined."""

    sites: Mapping[str, Mapping[str, Estimate | None]]
    mean_of_sites: Mapping[str, MeanEstimate | None]
    all_patients: Mapping[str, Estimate | None]
    worst_of_sites: Mapping[str, WorstEstimate | None]


@dataclass(frozen=True)
class Differences:
    """Federated minus baseline, by metric."""

    sites: Mapping[str, Mapping[str, Difference | None]]
    mean_of_sites: Mapping[str, MeanDifference | None]
    all_patients: Mapping[str, Difference | None]
    worst_of_sites: Mapping[str, Difference | None]


@dataclass(frozen=True)
class Part:
    """One federation of the run, of one seed and fold."""

    name: str
    """Its folder within the run folder; empty where the run has one part."""
    seed: int
    fold: int | None
    best_round: int


@dataclass(frozen=True)
class PartWithRounds(Part):
    rounds: int


@dataclass(frozen=True)
class Prevalence:
    referable: float


@dataclass(frozen=True)
class SiteData:
    """Photographs and patients of a hospital."""

    train: int
    validation: int
    test: int
    absent: bool
    """The other hospitals trained without it."""
    data: str
    """SHA-256 of its photographs and grades."""
    patients: int
    patients_known: str
    """How the patients of the photographs are identified."""
    patients_counted_alone: int
    """Photographs that count as a patient each."""
    oedema_labelled: bool
    prevalence: Prevalence


@dataclass(frozen=True)
class Point:
    """A point of an ROC curve."""

    false_positive_rate: float
    true_positive_rate: float


@dataclass(frozen=True)
class Roc:
    """Empty where all eyes are referable, or none is."""

    false_positive_rate: Sequence[float]
    true_positive_rate: Sequence[float]
    operating_point: Point | None


@dataclass(frozen=True)
class Reliability:
    """Mean score, observed share and number of eyes of each bin."""

    predicted: Sequence[float]
    observed: Sequence[float]
    count: Sequence[int]


@dataclass(frozen=True)
class Curves:
    """`confusion`: rows are grades, columns predicted grades; None where the model does not grade."""

    confusion: Sequence[Sequence[int]] | None
    roc: Roc
    reliability: Reliability


@dataclass(frozen=True)
class TestedPoints:
    """Thresholds, one for each fold of the first seed, and their performance on the test eyes of all folds."""

    points: Sequence[ChosenThreshold]
    test: Performance


@dataclass(frozen=True)
class UrgentPoints(TestedPoints):
    withheld_eyes: int
    """Test eyes of folds whose threshold is withheld."""
    grade_0_called: Share
    """Eyes of grade 0 that are called urgent."""


@dataclass(frozen=True)
class OperatingPointsOfSite:
    referable: TestedPoints
    urgent: UrgentPoints | None
    severe_referred: Share
    """Eyes of grade 3 and 4 that are at least referred."""
    oedema_alone: Share
    """Eyes of a lower grade with labelled oedema that are referred, where the model has no output for oedema."""


@dataclass(frozen=True)
class LabelNoise:
    duplicate_groups: int
    conflicting_groups: int


@dataclass(frozen=True)
class Traffic:
    """Bytes of all rounds: `up` from the hospitals, `down` to them."""

    up: int
    down: int


@dataclass(frozen=True)
class Seconds:
    total: float
    preparation: float
    training: float
    evaluation: float
    overhead: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """Results of a run. Maps with names of hospitals as keys are by hospital."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    schema: Literal["teledx_fed.report/3"]
    parts: Sequence[PartWithRounds]
    head: str
    detects_oedema: bool
    data: str
    """SHA-256 of all photographs and grades, whichever hospital has them."""
    sites: Mapping[str, SiteData]
    federated: Scores
    local: Scores | None = None
    ensemble: Scores | None = None
    centralised: Scores | None = None
    differences: Mapping[str, Differences]
    """By baseline."""
    too_few: Mapping[str, Mapping[str, int]]
    """By hospital, the kinds of patients of which too few were tested, and how many were."""
    cross_site: Mapping[str, Mapping[str, Mapping[str, Estimate | None]]]
    """By model, hospital and metric; `local of SITE` is the model that SITE trained alone."""
    curves: Mapping[str, Mapping[str, Curves]]
    """By model and hospital."""
    operating_points: Mapping[str, OperatingPointsOfSite]
    set_aside: Mapping[str, Mapping[str, int]]
    """By hospital and reason, how many photographs were set aside."""
    not_taken: Mapping[str, Mapping[str, Mapping[str, int]]]
    """By hospital, reason and suffix, how many files were not taken."""
    label_noise: Mapping[str, LabelNoise]
    shared: Mapping[str, int]
    """By pair of hospitals, how many photographs were set aside because both have the same person."""
    bytes: Traffic
    seconds: Seconds
    refused: Mapping[str, Mapping[str, str]]
    """By hospital and round, why its update was refused."""
    silent: Mapping[str, Sequence[str]]
    """By hospital, the rounds in which it did not answer."""


REPORT: TypeAdapter[Report] = TypeAdapter(Report)


def as_dict(report: Report) -> dict[str, Any]:
    """Leave out the baselines that were not trained."""
    return {name: value for name, value in asdict(report).items() if value is not None}


def as_text(report: Report) -> str:
    return json.dumps(as_dict(report), indent=1, allow_nan=False) + "\n"


def json_schema() -> str:
    """Return the text of docs/report.schema.json."""
    return json.dumps({"$schema": GenerateJsonSchema.schema_dialect, **REPORT.json_schema()}, indent=1) + "\n"
