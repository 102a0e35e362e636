"""report.json: everything a reviewer asks for, as plain numbers."""

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from teledx_fed.clock import Clock
from teledx_fed.data.duplicates import label_noise
from teledx_fed.evaluation.cross_site import compare, curves
from teledx_fed.files import write_text
from teledx_fed.randomness import generator
from teledx_fed.records import Example, Site
from teledx_fed.reporting.wording import SCHEMA
from teledx_fed.settings import Settings
from teledx_fed.training.examination import Examination


def write_report(
    folder: Path,
    settings: Settings,
    sites: Mapping[str, Site],
    examination: Examination,
    best_round: int,
    clock: Clock,
) -> None:
    lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    with clock("evaluation"):
        comparison = compare(
            examination.predictions,
            examination.thresholds,
            settings.evaluation.replicates,
            generator(settings.seed, purpose="bootstrap"),
        )
    report = {
        "schema": SCHEMA,
        "rounds": sum(line["round"] <= settings.federation.rounds for line in lines),
        "best_round": best_round,
        "head": settings.model.head,
        "sites": {name: _about(site) for name, site in sites.items()},
        **comparison,
        "curves": _curves(examination),
        "set_aside": {name: Counter(aside.reason for aside in site.set_aside) for name, site in sites.items()},
        "label_noise": {name: label_noise(site.set_aside) for name, site in sites.items()},
        "bytes": {way: sum(line[f"bytes_{way}"] for line in lines) for way in ("up", "down")},
        "seconds": clock.seconds(),
        **_absences(lines, sites),
    }
    write_text(folder / "report.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
    write_text(folder / "set_aside.csv", _set_aside(sites))


def _about(site: Site) -> dict[str, Any]:
    shard = site.shard
    everyone = (*shard.train, *shard.validation, *shard.test)
    return {
        "train": len(shard.train),
        "validation": len(shard.validation),
        "test": len(shard.test),
        "patients": len({example.patient for example in everyone}),
        "patients_known": str(site.patients),
        "oedema_labelled": any(example.oedema is not None for example in everyone),
        "prevalence": {"referable": _share(everyone)},
    }


def _share(examples: Sequence[Example]) -> float:
    return sum(example.referable for example in examples) / len(examples)


def _curves(examination: Examination) -> dict[str, dict[str, Any]]:
    return {
        model: {site: curves(found, examination.thresholds[model][site]) for site, found in by_site.items()}
        for model, by_site in examination.predictions.items()
    }


def _absences(lines: Sequence[Mapping[str, Any]], sites: Mapping[str, Site]) -> dict[str, Any]:
    refused: dict[str, dict[str, str]] = {name: {} for name in sites}
    silent: dict[str, list[int]] = defaultdict(list, {name: [] for name in sites})
    for line in lines:
        for name, reason in line["refused"].items():
            refused[name][str(line["round"])] = reason
        for name in line["silent"]:
            silent[name].append(line["round"])
    return {"refused": refused, "silent": silent}


def _set_aside(sites: Mapping[str, Site]) -> str:
    """Every image set aside, by name: this list stays where the images are."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["site", "name", "reason", "detail"])
    for name, site in sites.items():
        writer.writerows([name, aside.name, aside.reason, aside.detail] for aside in site.set_aside)
    return text.getvalue()
