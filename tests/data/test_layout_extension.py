"""The layout of docs/extending.md in an installed package, and a partition in the same way."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from extension_package import example, write_example, write_package

from teledx_fed.config.data import (
    BUILT_IN_PARTITIONS,
    PARTITION_ENTRY_POINTS,
    HospitalSettings,
    PartitionSettings,
    SourceSettings,
)
from teledx_fed.config.loading import build
from teledx_fed.core.examples import Collection, Eye, Identification
from teledx_fed.data.layouts import ENTRY_POINTS, LAYOUTS, layout_names, read
from teledx_fed.data.own_hospitals import load
from teledx_fed.data.partition import PARTITIONS, assign
from teledx_fed.data.synthetic import hospital

ROOT = Path(__file__).parents[2]
HEADING = "A data-set layout"
PATIENTS = 60


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_example(HEADING, tmp_path / "installed")


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    """Write the example's file of hospitals, and an export that it describes."""
    images, rng = tmp_path / "export" / "images", np.random.default_rng(0)
    images.mkdir(parents=True)
    rows = ["photo,person,side,stage"]
    for patient in range(PATIENTS):
        for side in ("left", "right"):
            eye = np.zeros((72, 72, 3), np.uint8)
            cv2.circle(eye, (36, 36), 34, (40, 90, 170), -1)
            eye[16:56, 16:56] = rng.integers(0, 250, (40, 40, 3))
            cv2.imwrite(str(images / f"{patient}{side}.png"), eye)
            rows.append(f"{patient}{side},{patient},{side},{'some' if patient % 3 == 0 else 'none'}")
    (images.parent / "eyes.csv").write_text("\n".join(rows))
    (tmp_path / "hospitals.yaml").write_text(example(HEADING)["yaml"])
    return tmp_path / "hospitals.yaml"


def test_the_layout_of_an_installed_package_is_read(
    package: Path, hospitals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package)
    collection, problems = read("ward", load(hospitals).sources["ward"])
    assert problems == ()
    assert len(collection.examples) == 2 * PATIENTS
    first = collection.examples[1]
    assert (first.patient, first.eye, first.grade, first.source) == ("0", Eye.RIGHT, 2, "ward")


@pytest.mark.slow
def test_the_example_trains(package: Path, hospitals: Path) -> None:
    words = example(HEADING)["sh"].split()
    smaller = ["federation.rounds=2", "evaluation.replicates=30", "data.image_size=64", "folder=run"]
    command = [sys.executable, str(ROOT / words[1]), *words[2:], *smaller]
    environment = {**os.environ, "PYTHONPATH": str(package), "CI": "true"}
    process = subprocess.run(command, cwd=hospitals.parent, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    assert (hospitals.parent / "run" / "report.json").exists()


def test_a_layout_that_is_not_installed_is_refused_with_all_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"layout must be one of aptos2019, .*folder, got 'clinic_export'"):
        read("ward", SourceSettings("clinic_export", str(tmp_path)))


def test_an_installed_package_cannot_replace_a_built_in_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(write_package(tmp_path, f"[{ENTRY_POINTS}]\nfolder = evil:folder\n"))
    with pytest.raises(ValueError, match=r"entry point folder of teledx_fed\.layouts must differ from built-in"):
        layout_names()


def test_a_layout_must_return_a_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, points = (
        "def half_made(root, source):\n    return []\n",
        f"[{ENTRY_POINTS}]\nhalf_made = half_made:half_made\n",
    )
    monkeypatch.syspath_prepend(write_package(tmp_path, points, half_made=module))
    with pytest.raises(ValueError, match=r"layout half_made must return a Listing, got \[\]"):
        read("ward", SourceSettings("half_made", str(tmp_path)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_a_choice_of_data(layout: str) -> None:
    assert f"layout: {layout}\n" in (ROOT / "conf" / "data" / f"{layout}.yaml").read_text()


BY_GRADE = """
def by_grade(patients, settings, rng):
    return [f"grade_{patient.grade}" for patient in patients]
"""


def test_an_installed_package_adds_a_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"partition\.by must be one of by_source, .*camera_shift, got 'by_grade'"):
        PartitionSettings(by="by_grade")
    points = f"[{PARTITION_ENTRY_POINTS}]\nby_grade = by_grade:by_grade\n"
    monkeypatch.syspath_prepend(write_package(tmp_path, points, by_grade=BY_GRADE))
    source = Collection(hospital("north", HospitalSettings(40), seed=0).examples, Identification.GIVEN)
    sites = assign({"north": source}, PartitionSettings(by="by_grade"), 0)
    assert {name: max(example.grade for example in site.examples) for name, site in sites.items()} == {
        f"grade_{grade}": grade for grade in range(5)
    }
    local = {"data": {"hospitals": {"north": {}}}, "partition": {"by": "by_grade"}}
    assert build(local, local=True).partition.by == "by_grade"
    with pytest.raises(ValueError, match=r"partition\.by must be one of by_source, .*camera_shift, got 'by_grade'"):
        build(local)


def test_built_in_partitions_are_those_that_settings_allow() -> None:
    assert tuple(PARTITIONS) == BUILT_IN_PARTITIONS
