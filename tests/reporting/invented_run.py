"""A run folder like that of a simulation, with invented figures."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from points import point

from teledx_fed.core.operating_points import Source
from teledx_fed.core.randomness import generator
from teledx_fed.reporting.wording import METRICS, MODELS

SITES = ("aravind", "eyepacs", "messidor2_a", "messidor2_b")
GRADED = ("qwk", "vision_threatening_auroc", "accuracy", "macro_f1")
Json = dict[str, Any]


def estimate(value: float, width: float = 0.03) -> dict[str, float]:
    return {"value": value, "low": value - width, "high": value + width}


def metrics(draw: np.random.Generator, auroc: float, head: str) -> Json:
    values: Json = {name: estimate(float(draw.uniform(0.5, 0.9))) for name in METRICS}
    values["referable_auroc"] = estimate(auroc)
    values["missed_severe"], values["severe"] = estimate(3.0, 2.0), estimate(42.0, 9.0)
    return values if head == "grade" else values | dict.fromkeys(GRADED)


def mean(values: Json, sites: int) -> Json:
    return {name: value and value | {"sites": sites} for name, value in values.items()}


def likely(values: Json, sites: int) -> Json:
    return {name: value and value | {"p": 0.004, "holm": 0.012} for name, value in mean(values, sites).items()}


def curves(draw: np.random.Generator, auroc: float, head: str) -> Json:
    false_positive_rate = np.linspace(0, 1, 41)
    predicted = np.linspace(0.05, 0.95, 10)
    return {
        "confusion": draw.integers(0, 40, (5, 5)).tolist() if head == "grade" else None,
        "roc": {
            "false_positive_rate": false_positive_rate.tolist(),
            "true_positive_rate": (false_positive_rate ** (1 / auroc - 1)).tolist(),
            "operating_point": {"false_positive_rate": 0.2, "true_positive_rate": 0.2 ** (1 / auroc - 1)},
        },
        "reliability": {
            "predicted": predicted.tolist(),
            "observed": np.clip(predicted + draw.normal(0, 0.06, 10), 0, 1).tolist(),
            "count": draw.integers(3, 90, 10).tolist(),
        },
    }


def chosen(source: Source) -> Json:
    return {name: value for name, value in asdict(point(0.4, source)).items() if name != "test"}


def operating_point(site: int, head: str) -> Json:
    source = (Source.LOCAL, Source.POOLED, Source.WITHHELD)[site % 3]
    measured = asdict(point(0.5).validation)
    points = {kind: [chosen(which)] for kind, which in (("referable", Source.LOCAL), ("urgent", source))}
    referable, urgent = ({"points": points[kind], "test": measured} for kind in points)
    share, none = measured["specificity"], {"count": 0, "of": 0, "value": None, "low": None, "high": None}
    return {
        "referable": referable,
        "urgent": {**urgent, "withheld_eyes": 120 * (site % 3 == 2), "grade_0_called": share}
        if head == "grade"
        else None,
        "severe_referred": share,
        "oedema_alone": none,
    }


def report(sites: Iterable[str] = SITES, baselines: Iterable[str] = tuple(MODELS)[1:], head: str = "grade") -> Json:
    draw = generator(0, purpose="invented report")
    sites, models = tuple(sites), ("federated", *baselines)
    identified = ("given", "partly inferred", "unknown")
    auroc = {model: {site: float(draw.uniform(0.6, 0.95)) for site in sites} for model in models}
    scores = {
        model: {
            "sites": {site: metrics(draw, auroc[model][site], head) for site in sites},
            "mean_of_sites": mean(metrics(draw, 0.91 if model == "federated" else 0.86, head), len(sites)),
            "worst_of_sites": {"referable_auroc": estimate(0.7) | {"site": sites[0]}},
            "all_patients": metrics(draw, 0.9, head),
        }
        for model in models
    }
    differences = {
        baseline: {
            "sites": {site: metrics(draw, auroc["federated"][site] - auroc[baseline][site], head) for site in sites},
            "mean_of_sites": likely(metrics(draw, -0.01 if baseline == "centralised" else 0.05, head), len(sites)),
            "all_patients": metrics(draw, 0.04, head),
        }
        for baseline in baselines
    }
    return {
        "schema": "teledx_fed.report/3",
        "parts": [{"name": "", "seed": 0, "fold": None, "best_round": 7, "rounds": 10}],
        "head": head,
        "detects_oedema": False,
        "data": "b5bb9d80",
        "sites": {
            site: {
                "train": 1831,
                "validation": 366,
                "test": 1099,
                "absent": False,
                "data": f"{i}f00",
                "patients": 1711,
                "patients_known": identified[i % 3],
                "patients_counted_alone": (0, 74, 3296)[i % 3],
                "oedema_labelled": i == 2,
                "prevalence": {"referable": 0.1 + 0.04 * i},
            }
            for i, site in enumerate(sites)
        },
        **scores,
        "differences": differences,
        "too_few": {site: {} for site in sites},
        "cross_site": {
            model: {site: {"referable_auroc": estimate(0.8), "qwk": estimate(0.5)} for site in sites}
            for model in ("federated", *(f"local of {site}" for site in sites))
        },
        "curves": {model: {site: curves(draw, auroc[model][site], head) for site in sites} for model in models},
        "operating_points": {site: operating_point(i, head) for i, site in enumerate(sites)},
        "set_aside": {sites[0]: {"conflicting grades": 61, "duplicate": 130}, sites[-1]: {"bad": 1}},
        "not_taken": {sites[0]: {"not a photograph that this program reads": {".heic": 12, ".txt": 3}}},
        "label_noise": {site: {"duplicate_groups": 123, "conflicting_groups": 30} for site in sites[:1]},
        "shared": {},
        "bytes": {"up": 153_000_000, "down": 1_251_000},
        "seconds": {"total": 731.0, "preparation": 80.2, "training": 602.0, "evaluation": 40.5, "overhead": 8.3},
        "refused": {site: {} for site in sites}
        | {sites[-1]: {"3": "update must be plausible, its norm is 40 × the median"}},
        "silent": {site: [] for site in sites} | {sites[0]: [2, 5]},
    }


def rounds(report: Json) -> list[Json]:
    graded = report["head"] == "grade"
    return [
        {
            "round": round,
            "accepted": list(report["sites"]),
            "refused": {},
            "silent": [],
            "metrics": {
                "referable_auroc": 0.92 - 0.3 / round - (0.02 if round > 8 else 0),
                "qwk": 0.6 - 0.4 / round if graded else None,
            },
            "bytes_up": 1,
            "bytes_down": 1,
            "seconds": 1.2,
        }
        for round in range(1, report["parts"][0]["rounds"] + 2)
    ]


def write_run(folder: Path, report: Json) -> Path:
    lines = "".join(json.dumps(line) + "\n" for line in rounds(report))
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (folder / "rounds.jsonl").write_text(lines, encoding="utf-8")
    config = {
        "seed": 12345,
        "data_root": "/ward/7",
        "folder": str(folder),
        "data": {"cache": "/ward/7/kept", "sources": {"eyepacs": {"layout": "eyepacs", "root": "/ward/7/eyepacs"}}},
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    return folder
