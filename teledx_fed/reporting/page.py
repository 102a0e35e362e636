"""report.html: a self-contained page, written from a run folder alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from teledx_fed.config.loading import as_yaml, without_places
from teledx_fed.core.examples import GRADES
from teledx_fed.core.files import write_text
from teledx_fed.core.formatting import duration, number, size
from teledx_fed.evaluation.metrics import all_metrics
from teledx_fed.reporting import plots, wording
from teledx_fed.reporting.operating_points import basis_of
from teledx_fed.reporting.runs import Json, Run
from teledx_fed.reporting.wording import MODELS

TABLE_METRICS = ("referable_auroc", "qwk", "sensitivity", "specificity")
CHANCE = {"referable_auroc": 0.5, "qwk": 0.0}
"""The metrics with plots, and their values by chance."""
MEAN, ALL = "Mean of hospitals", "All patients"

ScoresByPlace = Mapping[str, Mapping[str, Json]]
"""Metrics by place (a hospital, their mean, all patients), then by model."""


def write_page(folder: Path) -> Path:
    """Write report.html from the report.json, rounds.jsonl and config.yaml of a run folder."""
    run = Run(folder)
    report, settings = run.report, run.settings
    scores, differences = _scores(report, report), _scores(report["differences"], report)
    metrics = all_metrics()
    titles = {
        name: metrics[name].title if name in metrics else name
        for name in (*metrics, *report["federated"]["all_patients"])
    }
    page = _template().render(
        report=report,
        settings=as_yaml(without_places(settings)),
        failing=wording.failing(settings.faults),
        files_listed=(folder / "set_aside.csv").exists(),
        verdict=wording.verdict(report),
        too_few=wording.too_few(report),
        no_bundle=wording.no_bundle(len(report["parts"])) if settings.bundles else "",
        scores=scores,
        differences=differences,
        headline=[metric for metric in TABLE_METRICS if metric == TABLE_METRICS[0] or _defined(scores, metric)],
        metrics=[metric for metric in titles if _defined(scores, metric)],
        METRICS=titles,
        FORMS={name: metrics[name].form if name in metrics else ".3f" for name in titles},
        grades=range(GRADES),
        repeats=len({part["seed"] for part in report["parts"]}),
        folds=len({part["fold"] for part in report["parts"]}),
        reasons=sorted({reason for reasons in report["set_aside"].values() for reason in reasons}),
        bars=_bars(scores),
        forests=_forests(differences),
        learning=_learning(report, run.rounds),
        **_curves(report),
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    named = (number, size, duration, basis_of, wording.between)
    environment.filters.update({function.__name__: function for function in (any, *named)})
    constants = {"MEAN": MEAN, "ALL": ALL, "MODELS": MODELS, "PRIMARY": tuple(CHANCE), "PALETTE": plots.PALETTE}
    return environment.get_template("report.html.jinja", globals=constants)


def _scores(results: Json, report: Json) -> ScoresByPlace:
    """Return the metrics of the report's models, or of its differences from the baselines."""
    models = [model for model in MODELS if model in results]
    sites = {
        _label(report, site): {model: results[model]["sites"].get(site, {}) for model in models}
        for site in report["sites"]
    }
    return {
        MEAN: {model: results[model]["mean_of_sites"] for model in models},
        ALL: {model: results[model]["all_patients"] for model in models},
        **sites,
    }


def _label(report: Json, site: str) -> str:
    """Label a site with the source of its patient numbers: intervals resample patients."""
    return f"{site}\n(patients {report['sites'][site]['patients_known']})"


def _defined(scores: ScoresByPlace, metric: str) -> bool:
    """Whether a metric is defined anywhere: a head without grades lacks metrics of grades."""
    return any(metrics.get(metric) for models in scores.values() for metrics in models.values())


def _bars(scores: ScoresByPlace) -> dict[str, Markup]:
    return {metric: Markup(plots.bars(_rows(scores, metric), chance)) for metric, chance in _drawn(scores).items()}


def _forests(differences: ScoresByPlace) -> dict[str, dict[str, Markup]]:
    """Return forest plots by metric and baseline; the plots of a metric share their axis."""
    return {metric: _forest(_rows(differences, metric)) for metric in _drawn(differences)}


def _forest(rows: list[plots.BarRow]) -> dict[str, Markup]:
    span = plots.span([estimate for _, differences in rows for estimate in differences.values()])
    return {
        baseline: Markup(plots.forest([(label, by[baseline]) for label, by in rows], baseline, span))
        for baseline in rows[0][1]
    }


def _drawn(scores: ScoresByPlace) -> dict[str, float]:
    """Return the value of chance for each metric that has bars; all patients together have no bar."""
    hospitals = {of: models for of, models in scores.items() if of != ALL}
    return {metric: chance for metric, chance in CHANCE.items() if _defined(hospitals, metric)}


def _rows(scores: ScoresByPlace, metric: str) -> list[plots.BarRow]:
    """Return a row for each hospital, then for their mean."""
    places = [*(place for place in scores if place not in (MEAN, ALL)), MEAN]
    return [(place, {model: metrics.get(metric) for model, metrics in scores[place].items()}) for place in places]


def _learning(report: Json, rounds: Sequence[Sequence[Json]]) -> dict[str, Markup]:
    """Draw learning curves. A round's metrics are of the model at its start, so of the round before."""
    best = report["parts"][0]["best_round"] if len(report["parts"]) == 1 else None
    courses = {
        metric: [[(line["round"] - 1, line["metrics"].get(metric)) for line in lines] for lines in rounds]
        for metric in CHANCE
    }
    return {
        metric: Markup(plots.learning_curve(of_parts, best))
        for metric, of_parts in courses.items()
        if any(value is not None for course in of_parts for _, value in course)
    }


def _curves(report: Json) -> Json:
    """Draw the curves of each site; ROC needs referable and other eyes."""
    curves, federated = report["curves"], report["curves"]["federated"]
    return {
        "confusion": {site: drawn["confusion"] for site, drawn in federated.items() if drawn["confusion"]},
        "roc": {
            site: Markup(plots.roc(_rocs(curves, site), drawn["roc"]["operating_point"]))
            for site, drawn in federated.items()
            if drawn["roc"]["true_positive_rate"]
        },
        "reliability": {
            site: Markup(plots.reliability(drawn["reliability"]))
            for site, drawn in federated.items()
            if drawn["reliability"]["count"]
        },
    }


def _rocs(curves: Json, site: str) -> Json:
    return {model: curves[model][site]["roc"] for model in MODELS if site in curves.get(model, {})}
