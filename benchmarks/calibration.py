"""Measure the calibration of hospitals' bundles on real photographs: `python -m benchmarks.calibration`.

The federated model of `experiment=real_hospitals` is calibrated at each hospital on its validation set and tested on
its test set. It rewrites docs/results/calibration.md.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import binomtest

from benchmarks.measure import machine
from teledx_fed.config.data import SourceSettings
from teledx_fed.config.loading import compose
from teledx_fed.config.settings import Settings
from teledx_fed.core.clock import Clock
from teledx_fed.core.examples import GRADES
from teledx_fed.core.files import write_text
from teledx_fed.core.randomness import generator
from teledx_fed.data.hospitals import hospitals
from teledx_fed.evaluation.calibration import conformal_set, expected_calibration_error, reliability
from teledx_fed.evaluation.intervals import Estimate, estimate, multiplicities
from teledx_fed.evaluation.metrics import compute
from teledx_fed.evaluation.predictions import Predictions
from teledx_fed.federation.simulation import federate
from teledx_fed.model.bundle import Calibration
from teledx_fed.reporting.progress import TerminalReporter
from teledx_fed.training.bundling import calibration
from teledx_fed.training.evaluate import evaluate
from teledx_fed.training.worker import build_workers

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
PAGE = ROOT / "docs" / "results" / "calibration.md"
REPLICATES = 1000
FEDERATED = "federated"
KEPT = np.linspace(0.3, 1.0, 36)
SOURCES = {"aptos2019": "aptos2019", "eyepacs": "eyepacs", "messidor2_a": "messidor2", "messidor2_b": "messidor2"}

HEAD = """# How far the suggestion can be trusted

The federated model of `experiment=real_hospitals`, with a bundle for each of four hospitals. Temperature, operating
point (sensitivity {sensitivity:.0%}, specificity at least {floor:.0%}) and conformal threshold (coverage
{coverage:.0%}) come from the hospital's own validation set, and all results below from its test set. Intervals are
95 %, by bootstrap over patients, or Wilson's for shares.

```sh
python -m benchmarks.calibration
```

On {machine}.

"""

CALIBRATION = """Slope 1 and intercept 0 are perfect. A slope below 1 means that the model is overconfident.
With so few eyes even a perfectly calibrated model has an ECE above 0; the last column gives it."""
COVERED = """The method guarantees coverage over all eyes of a hospital, not for each grade. The interval of a rare
grade is wide."""
DECISIONS = """A decision is confident if every possible grade agrees with it. A clinician reads each eye that is
neither confident nor referred. The curve orders eyes by the distance of their probability from the operating point.
If few eyes are diseased and the model ranks them poorly, as in eyepacs and messidor2_b, no threshold has both the
sensitivity and the specificity. There the specificity holds ([operating points](operating_points.md)), and the more
confident half of the decisions is not better than the rest.

![Risk over coverage at four hospitals](calibration.png)"""


def run_settings(folder: Path) -> Settings:
    composed = compose(["experiment=real_hospitals", f"data_root={DATA}"])
    sources = {name: SourceSettings(layout, str(DATA / name)) for name, layout in SOURCES.items()}
    return replace(composed, data=replace(composed.data, sources=sources, cache=str(folder / "cache")), baselines=[])


@dataclass(frozen=True)
class HospitalResult:
    """Predictions on a hospital's test set, before and after calibration, and the eyes called referable."""

    calibration: Calibration
    raw: Predictions
    calibrated: Predictions
    called: NDArray[np.bool_]

    @property
    def possible(self) -> NDArray[np.bool_]:
        assert self.calibrated.probabilities is not None
        return conformal_set(self.calibrated.probabilities, self.calibration.possible)

    @property
    def confident(self) -> NDArray[np.bool_]:
        """Return the eyes whose possible grades all agree with the decision, as in `diagnosis.judgement`."""
        referable = self.possible[:, 2:].any(axis=1), self.possible[:, :2].any(axis=1)
        return np.where(self.called, referable[0] & ~referable[1], referable[1] & ~referable[0])


def evaluated_hospitals(folder: Path) -> dict[str, HospitalResult]:
    settings = run_settings(folder)
    reporter = TerminalReporter()
    (worker,) = build_workers(settings, Clock(), reporter)
    sites = hospitals(settings, folder, reporter)
    federation = federate(sites, [worker], settings, folder, reporter)
    models, pooled = {FEDERATED: federation.ensembles(sites)}, {FEDERATED: federation.pooled}
    tested = evaluate(worker, sites, models, settings, pooled)
    results = {}
    for name, site in sites.items():
        (model,), (points,) = models[FEDERATED][name], tested.points[FEDERATED][name]
        fitted = calibration(worker, site, model, points)
        calibrated = worker.predictions(site.images, model, site.shard.test, fitted.temperature)
        results[name] = HospitalResult(
            fitted, tested.predictions[FEDERATED][name], calibrated, tested.called[FEDERATED][name]
        )
    return results


def calibration_rows(results: Mapping[str, HospitalResult]) -> Iterator[str]:
    yield "| hospital | eyes | temperature | | slope | intercept | Brier | ECE | ECE of a perfect model |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, one in results.items():
        for when, p in (("before", one.raw), ("after", one.calibrated)):
            drawn = np.vstack([np.ones(p.eyes), multiplicities(p.patient, REPLICATES, generator(0, name))])
            measured = compute(p, one.called, drawn)
            keys = ("calibration_slope", "calibration_intercept", "brier", "ece")
            cells = [_interval(estimate(measured[key])) for key in keys]
            about = (name, str(p.eyes), f"{one.calibration.temperature:.2f}") if when == "before" else ("", "", "")
            yield _row(*about, when, *cells, f"{_ece_by_chance(p):.3f}")


def _ece_by_chance(p: Predictions) -> float:
    """Return the mean ECE of a perfect model: each eye is referable with exactly its predicted probability."""
    rng = generator(0, purpose="null")
    truths = rng.random((200, p.eyes)) < p.referable_score
    ones = np.ones((1, p.eyes))
    return float(np.mean([expected_calibration_error(reliability(t, p.referable_score, ones)) for t in truths]))


def coverage_rows(results: Mapping[str, HospitalResult]) -> Iterator[str]:
    yield "| hospital | all | " + " | ".join(f"grade {grade}" for grade in range(GRADES)) + " | grades in a set |"
    yield "|---" * (GRADES + 3) + "|"
    for name, one in results.items():
        grade = one.calibrated.grade
        covered = one.possible[np.arange(grade.size), grade]
        cells = [_share(covered), *(_share(covered[grade == each]) for each in range(GRADES))]
        yield _row(name, *cells, f"{one.possible.sum(axis=1).mean():.1f}")


def decision_rows(results: Mapping[str, HospitalResult]) -> Iterator[str]:
    yield "| hospital | validation eyes | sensitivity | specificity | confident | of these wrong | clinician reads |"
    yield "|---|---|---|---|---|---|---|"
    for name, one in results.items():
        truth, called, sure = one.calibrated.referable, one.called, one.confident
        undecided = ~sure & ~called
        yield _row(
            name,
            str(one.calibration.eyes),
            _share(called[truth]),
            _share(~called[~truth]),
            _share(sure),
            _share((called != truth)[sure]),
            _share(undecided),
        )


def draw(results: Mapping[str, HospitalResult], path: Path) -> None:
    """Plot risk over coverage: the share of wrong referral decisions among the eyes with the largest margin."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for name, one in results.items():
        margin = np.abs(logit(one.raw.referable_score) - logit(one.calibration.points.referable.threshold))
        wrong = (one.called != one.calibrated.referable)[np.argsort(-margin, kind="stable")]
        risk = [wrong[: max(1, round(kept * wrong.size))].mean() for kept in KEPT]
        axes.plot(100 * KEPT, 100 * np.array(risk), label=name)
    axes.set(xlabel="eyes decided by the model, %", ylabel="of these wrongly referred or not, %", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def _interval(value: Estimate | None) -> str:
    return "–" if value is None else f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def _share(values: NDArray[np.bool_]) -> str:
    if values.size == 0:
        return "–"
    low, high = binomtest(int(values.sum()), values.size).proportion_ci(method="wilson")
    return f"{100 * values.mean():.0f} % ({100 * low:.0f}–{100 * high:.0f})"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    if not DATA.is_dir():
        print("benchmarks.calibration needs the photographs in ../shared/data.")
        return 1
    with TemporaryDirectory() as folder:
        results = evaluated_hospitals(Path(folder))
    draw(results, PAGE.with_suffix(".png"))
    parts = [
        ("Calibration of the probability of referable disease", calibration_rows(results), CALIBRATION),
        ("Does the set of possible grades contain the true one?", coverage_rows(results), COVERED),
        ("Decisions", decision_rows(results), DECISIONS),
    ]
    first = next(iter(results.values())).calibration
    point = first.points.referable
    head = HEAD.format(
        machine=machine(),
        sensitivity=point.target_sensitivity,
        floor=point.least_specificity,
        coverage=first.coverage,
    )
    body = "\n".join(f"## {title}\n\n" + "\n".join(rows) + f"\n\n{remark}\n" for title, rows, remark in parts)
    write_text(PAGE, head + body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
