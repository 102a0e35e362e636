"""Comparison of runs: scores, paired differences on the same patients, learning curves and ranks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from teledx_fed.core.errors import ConfigurationError, DataError
from teledx_fed.evaluation.cross_site import compare as compare_models
from teledx_fed.evaluation.metrics import HEADLINE
from teledx_fed.evaluation.test_predictions import Evaluation
from teledx_fed.reporting.plots import Course, mean_course
from teledx_fed.reporting.report import resampling
from teledx_fed.reporting.runs import Json, Run, differing
from teledx_fed.reporting.wording import MODELS


@dataclass(frozen=True)
class ModelRow:
    """A run, or a baseline of the first run: its `scores`, and its paired `difference` from the first run."""

    name: str
    scores: Json
    difference: Json | None


@dataclass(frozen=True)
class Comparison:
    """Runs to compare with the first one; each must be listed once."""

    runs: Sequence[Run]
    names: Sequence[str]

    def __post_init__(self) -> None:
        folders = [str(run.folder.resolve()) for run in self.runs]
        if twice := sorted({folder for folder in folders if folders.count(folder) > 1}):
            raise ConfigurationError(f"runs must be different ones, got {' and '.join(twice)} twice. Name each once.")

    @cached_property
    def differing(self) -> dict[str, list[Any]]:
        return differing(self.runs)

    @cached_property
    def paired(self) -> list[Evaluation] | str:
        """By seed, all runs and the first one's baselines on the same patients, or why they cannot be paired."""
        first, *others = self.runs
        baselines = {model: MODELS[model] for model in MODELS if model in first.report and model != "federated"}
        repeats = [repeat.named({"federated": self.names[0], **baselines}) for repeat in first.repeats]
        unpaired: dict[str, list[str]] = {}
        for name, run in zip(self.names[1:], others, strict=True):
            if run.report["data"] != first.report["data"]:
                unpaired.setdefault("other photographs or grades", []).append(name)
            elif len(run.repeats) != len(repeats):
                unpaired.setdefault("another number of seeds", []).append(name)
            else:
                try:
                    repeats = [a | b.named({"federated": name}) for a, b in zip(repeats, run.repeats, strict=True)]
                except (DataError, KeyError):
                    unpaired.setdefault("other patients tested, or other hospitals", []).append(name)
        reasons = [f"{', '.join(names)} with {reason}" for reason, names in unpaired.items()]
        return f"{'; '.join(reasons)} than {self.names[0]}" if unpaired else repeats

    @cached_property
    def rows(self) -> list[ModelRow]:
        if isinstance(self.paired, str):
            return [ModelRow(n, run.report["federated"], None) for n, run in zip(self.names, self.runs, strict=True)]
        replicates, drawn = resampling(self.runs[0].settings)
        compared = compare_models(self.paired, replicates, drawn, self.names[0], HEADLINE, others_minus_reference=True)
        return [ModelRow(name, scores, compared.differences.get(name)) for name, scores in compared.models.items()]

    @property
    def sites(self) -> list[str]:
        """Return the hospitals that all runs have with the same photographs."""
        first, *others = (run.report["sites"] for run in self.runs)
        return [s for s in first if all(s in other and other[s]["data"] == first[s]["data"] for other in others)]


def ranks(comparison: Comparison, metric: str) -> dict[str, float] | None:
    """Return the mean rank of each run over hospitals, 1 the best; None for fewer than three runs of one data set."""
    if isinstance(comparison.paired, str):
        return None
    values = [[row.scores["sites"][site][metric] for site in comparison.sites] for row in comparison.rows]
    if len(values) < 3 or len(comparison.sites) < 2 or any(value is None for row in values for value in row):
        return None
    scores = np.array([[value["value"] for value in row] for row in values])
    mean = rankdata(-scores, axis=0).mean(axis=1)
    return {row.name: float(rank) for row, rank in zip(comparison.rows, mean, strict=True)}


def critical_difference(runs: int, hospitals: int) -> float:
    """Return the critical difference of two mean ranks (Nemenyi test at 0.05; Demšar 2006)."""
    quantile = studentized_range.ppf(0.95, runs, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(runs * (runs + 1) / (6 * hospitals)))


def friedman_p(comparison: Comparison, metric: str) -> float:
    """Return p of the Friedman test that runs do not differ."""
    scores = [[row.scores["sites"][site][metric]["value"] for site in comparison.sites] for row in comparison.rows]
    return float(friedmanchisquare(*scores).pvalue) if np.ptp(scores, axis=0).any() else 1.0


def courses(run: Run, metric: str) -> tuple[Course, Course]:
    """Return the mean validation score of the parts by round, and by megabytes sent."""
    scored = [[line["metrics"].get(metric) for line in lines] for lines in run.rounds]
    sent = [
        [0.0, *accumulate((line["bytes_up"] + line["bytes_down"]) / 1e6 for line in lines[:-1])] for lines in run.rounds
    ]
    by_round = mean_course([list(enumerate(values)) for values in scored])
    by_bytes = mean_course([list(enumerate(values)) for values in sent])
    return by_round, [(sent, score) for (_, sent), (_, score) in zip(by_bytes, by_round, strict=True)]
