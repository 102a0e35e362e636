"""Demonstration hospital: synthetic patients, a model trained on synthetic eyes, no final reports."""

import shutil
from collections import defaultdict
from pathlib import Path

from teledx_fed.config.data import HospitalSettings
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.examples import Example
from teledx_fed.core.files import make_folder
from teledx_fed.data.photographs import png
from teledx_fed.data.synthetic import hospital
from teledx_fed.diagnosis.directory import DiagnosisDirectory
from teledx_fed.diagnosis.intake import PhotographUpload, StudyUpload
from teledx_fed.diagnosis.web.passwords import DEMONSTRATION_USER, hashed_demonstration_password
from teledx_fed.store.values import Role

PATIENTS, SEED = 8, 1
"""Not the patients of the default simulation, whose seed is 0."""


def create_demonstration(directory: DiagnosisDirectory, run: Path) -> None:
    """Create the hospital: a bundle of the simulation in `run`, studies of new patients, and one reader."""
    if directory.folder.exists():
        raise ConfigurationError(f"{directory.folder} must be new, got a folder that is there. Name another.")
    bundles = sorted((run / "bundles").glob("*")) if (run / "bundles").is_dir() else []
    if not bundles:
        raise ConfigurationError(f"{run} must be a run folder with bundles, got none. Run experiment=demo first.")
    shutil.copytree(bundles[0], make_folder(directory.folder) / directory.champion.name)
    clinic = directory.clinic(None)
    clinic.store.access.add_user(DEMONSTRATION_USER, Role.READER, hashed_demonstration_password())
    for patient, examples in _patients().items():
        uploads = tuple(PhotographUpload(png(example.image.read()), example.eye) for example in examples)
        clinic.receive(StudyUpload(patient, "demonstration", uploads, patient))
    clinic.close()


def _patients() -> dict[str, list[Example]]:
    patients: dict[str, list[Example]] = defaultdict(list)
    for example in hospital("demonstration", HospitalSettings(patients=PATIENTS), SEED).examples:
        patients[example.patient].append(example)
    return patients
