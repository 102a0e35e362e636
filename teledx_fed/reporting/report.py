"""Write report.json: all results of a run, in the form that schema.py defines."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from teledx_fed.config.settings import Settings
from teledx_fed.core.clock import Clock
from teledx_fed.core.examples import Site
from teledx_fed.core.files import write_text
from teledx_fed.core.randomness import generator
from teledx_fed.data.duplicates import label_noise
from teledx_fed.data.shared_patients import count_shared
from teledx_fed.data.walk import by_reason
from teledx_fed.evaluation.cross_site import compare, curves, matrix
from teledx_fed.evaluation.metrics import all_metrics
from teledx_fed.evaluation.sufficiency import PatientKind, lacking, patients_of_kinds
from teledx_fed.evaluation.test_predictions import Evaluation
from teledx_fed.reporting import schema
from teledx_fed.reporting.operating_points import points_of
from teledx_fed.reporting.runs import json_lines
from teledx_fed.reporting.schema import SCHEMA, Part
from teledx_fed.reporting.wording import MODELS


def write_report(
    folder: Path,
    settings: Settings,
    parts: Sequence[Part],
    sites: Mapping[str, Site],
    repeats: Sequence[Evaluation],
    clock: Clock,
) -> Mapping[str, Any]:
    """Write the report. `sites` are those of the first part; `repeats` have different seeds."""
    lines = {part: json_lines(folder / part.name / "rounds.jsonl") for part in parts}
    rounds = [line for of_part in lines.values() for line in of_part]
    models = [model for model in repeats[0].predictions if model in MODELS]
    alone = [model for model in repeats[0].predictions if model not in MODELS]
    rows = ["federated", *alone, *(["centralised"] if "centralised" in models else [])]
    with clock("evaluation"):
        comparison = compare([repeat.among(models) for repeat in repeats], *resampling(settings), metrics=all_metrics())
        cross_site = matrix([repeat.among(rows) for repeat in repeats], *resampling(settings))
    values = {
        "schema": SCHEMA,
        "parts": [{**asdict(part), "rounds": _rounds(lines[part], settings)} for part in parts],
        "head": settings.model.head,
        "detects_oedema": settings.model.oedema,
        "data": _digest(sites.values()),
        "sites": {name: _about(site, settings) for name, site in sites.items()},
        **comparison.models,
        "differences": comparison.differences,
        "too_few": _too_few(repeats[0]),
        "cross_site": cross_site,
        "curves": _curves(repeats[0].among(models)),
        "operating_points": points_of(repeats[0]),
        "set_aside": {name: Counter(aside.reason for aside in site.set_aside) for name, site in sites.items()},
        "not_taken": {name: by_reason(site.not_taken) for name, site in sites.items()},
        "label_noise": {name: label_noise(site.set_aside) for name, site in sites.items()},
        "shared": count_shared({name: site.set_aside for name, site in sites.items()}),
        "bytes": {direction: sum(line[f"bytes_{direction}"] for line in rounds) for direction in ("up", "down")},
        "seconds": clock.seconds(),
        **_absences(lines, sites),
    }
    report = schema.REPORT.validate_python(values)
    write_text(folder / "report.json", schema.as_text(report))
    write_text(folder / "set_aside.csv", _set_aside(sites))
    return schema.as_dict(report)


def resampling(settings: Settings) -> tuple[int, np.random.Generator]:
    """Return the number of replicates and their generator: equal in all tables, so that intervals agree."""
    return settings.evaluation.replicates, generator(settings.seed, purpose="bootstrap")


def _rounds(lines: Sequence[Mapping[str, Any]], settings: Settings) -> int:
    return sum(line["round"] <= settings.federation.rounds for line in lines)


def _digest(sites: Iterable[Site]) -> str:
    """Return a hash of photographs and labels, equal whichever hospital has them. It reveals neither."""
    everyone = (example for site in sites for example in site.shard.examples)
    hashes = sorted(f"{example.image.digest()} {example.grade} {example.oedema}" for example in everyone)
    return sha256("\n".join(hashes).encode()).hexdigest()


def _about(site: Site, settings: Settings) -> dict[str, Any]:
    shard, cross_fit = site.shard, settings.evaluation.folds > 1 and settings.evaluation.fold is None
    everyone = shard.examples
    return {
        "train": len(shard.train),
        "validation": len(shard.validation),
        "test": len(everyone) if cross_fit else len(shard.test),
        "absent": site.name == settings.partition.absent,
        "data": _digest([site]),
        "patients": len({example.patient for example in everyone}),
        "patients_known": str(site.patients),
        "patients_counted_alone": sum(not example.patient_known for example in everyone),
        "oedema_labelled": any(example.oedema is not None for example in everyone),
        "prevalence": {"referable": sum(example.referable for example in everyone) / len(everyone)},
    }


def _too_few(evaluation: Evaluation) -> dict[str, dict[PatientKind, int]]:
    """Return by site the kinds of patients of which too few were tested with the federated model."""
    predictions, called = evaluation.predictions["federated"], evaluation.called["federated"]
    return {site: lacking(patients_of_kinds(tested, called[site])) for site, tested in predictions.items()}


def _curves(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    return {
        model: {site: curves(tested, evaluation.called[model][site]) for site, tested in by_site.items()}
        for model, by_site in evaluation.predictions.items()
    }


def _absences(lines: Mapping[Part, Sequence[Mapping[str, Any]]], sites: Iterable[str]) -> dict[str, Any]:
    """Return by site the rounds in which it was refused or silent."""
    refused: dict[str, dict[str, str]] = {name: {} for name in sites}
    silent: dict[str, list[str]] = {name: [] for name in sites}
    for part, rounds in lines.items():
        for line in rounds:
            when = f"{line['round']} of {part.name}" if part.name else str(line["round"])
            for name, reason in line["refused"].items():
                refused[name][when] = reason
            for name in line["silent"]:
                silent[name].append(when)
    return {"refused": refused, "silent": silent}


def _set_aside(sites: Mapping[str, Site]) -> str:
    """Return a CSV of images set aside and folders with files not taken. It has names: keep it with the images."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["site", "name", "reason", "detail"])
    for name, site in sites.items():
        writer.writerows([name, aside.name, aside.reason, aside.detail] for aside in site.set_aside)
        writer.writerows(
            [name, left.folder, "not taken", f"{left.count} {left.suffix}: {left.why}"] for left in site.not_taken
        )
    return text.getvalue()
