"""Inputs of the benchmarks: synthetic hospitals, synthetic photographs as JPEG files, and untrained models."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from teledx_fed.config.data import DataSettings, HospitalSettings
from teledx_fed.config.learning import ModelSettings
from teledx_fed.config.run import EvaluationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Example, Shard, Site
from teledx_fed.core.operating_points import OperatingPoints
from teledx_fed.core.reports import SILENT
from teledx_fed.data.hospitals import hospitals
from teledx_fed.data.image_cache import PREPARATION_VERSION
from teledx_fed.data.synthetic import hospital
from teledx_fed.evaluation.operating_points import choose_operating_points
from teledx_fed.evaluation.predictions import Predictions
from teledx_fed.model.bundle import Calibration, Manifest, Preparation, Scope
from teledx_fed.model.bundle_writing import write_bundle
from teledx_fed.model.network import build

CAMERA = "topcon"
CACHE = Path(__file__).parents[1] / ".teledx_cache" / "benchmarks"


def jpegs(folder: Path, patients: int, side: int) -> list[Example]:
    """Write photographs as `folder`/NAME.jpg, `side` pixels wide and high, and return their examples."""
    folder.mkdir(parents=True)
    examples = hospital("clinic", HospitalSettings(patients, CAMERA), seed=0).examples
    for example in examples:
        enlarged = Image.fromarray(example.image.read()).resize((side, side), Image.Resampling.BICUBIC)
        enlarged.save(folder / f"{example.image.name}.jpg", quality=90)
    return list(examples)


def untrained(model: ModelSettings, image_size: int, folder: Path) -> None:
    """Write a bundle of an untrained model, which is as fast as a trained one."""
    manifest = Manifest(
        site="benchmark",
        release="0",
        demonstration=False,
        preparation=Preparation(PREPARATION_VERSION, image_size, False, False),
        calibration=Calibration(1.0, 0.9, 0.01, _points(), 100, 50),
        scope=Scope((), 100),
        trained={},
    )
    write_bundle(build(model, seed=0), manifest, folder)


def _points() -> OperatingPoints:
    """Return operating points of random scores: their values do not affect speed."""
    drawn = np.random.default_rng(0)
    probabilities = drawn.dirichlet(np.ones(5), 200)
    grade, eye = drawn.integers(0, 5, 200), np.arange(200)
    scores = probabilities[:, 2:].sum(axis=1), probabilities[:, 3:].sum(axis=1)
    predictions = Predictions(grade, grade >= 2, grade >= 3, probabilities, *scores, eye)
    return choose_operating_points(predictions, EvaluationSettings())


def federation(
    sites: int, train: int, validation: int, image_size: int, **groups: Any
) -> tuple[Settings, Mapping[str, Site]]:
    """Return the settings of `sites` synthetic hospitals; `train` and `validation` are photographs for each."""
    patients = (train + validation + 1) // 2  # each patient has two photographs or more
    drawn = {f"site-{number}": HospitalSettings(patients, CAMERA) for number in range(sites)}
    settings = Settings(data=DataSettings(hospitals=drawn, image_size=image_size, cache=str(CACHE)), **groups)
    sites_by_name = hospitals(settings, CACHE / "splits" / f"{patients}", SILENT)
    return settings, {
        name: replace(site, shard=_cut(site.shard, train, validation)) for name, site in sites_by_name.items()
    }


def _cut(shard: Shard, train: int, validation: int) -> Shard:
    examples = (*shard.train, *shard.validation, *shard.test)
    return Shard(examples[:train], examples[train : train + validation], ())
