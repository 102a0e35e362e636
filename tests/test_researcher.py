"""Run every command of the researcher's guide, with fewer rounds and smaller inputs."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from dicom_files import photograph, saved
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "researcher.md").read_text("utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]
PHOTOGRAPHS = 60
SMALLER = ["federation.rounds=2", "evaluation.replicates=30", "data.image_size=64", "outbound.min_patients=2"]
DRAWN = ["data.seed=2", *(f"data.hospitals.{name}.patients=60" for name in ("north", "harbour", "valley", "island"))]
SHORTER = {"seeds=[0,1,2]": "seeds=[0,1]", "evaluation.folds=5": "evaluation.folds=2"}
OF_REAL_HOSPITALS = "real"


@pytest.fixture
def few_photographs(real_data: Path, tmp_path: Path) -> Path:
    """Return a folder with the first photographs of each real hospital, in their own layouts, by links."""
    for site, table, images in (
        ("aptos2019", "train.csv", "train_images"),
        ("eyepacs", "trainLabels.csv", "train"),
        ("messidor2_a", "messidor_data.csv", "IMAGES"),
        ("messidor2_b", "messidor_data.csv", "IMAGES"),
    ):
        folder = tmp_path / "data" / site
        folder.mkdir(parents=True)
        (folder / images).symlink_to(real_data / site / images)
        rows = (real_data / site / table).read_text("utf-8-sig").splitlines()
        (folder / table).write_text("\n".join(rows[: PHOTOGRAPHS + 1]) + "\n")
    return tmp_path / "data"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Return a folder with links to the program, for runs that are deleted later."""
    for name in ("run_simulation.py", "conf"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def smaller(words: list[str]) -> list[str]:
    if words[1] != "run_simulation.py":
        return words
    real = any(word.startswith(("data_root=", "hospitals=")) for word in words)
    fewer = [] if real else [*DRAWN, *(["data.hospitals.delta.patients=60"] if "poisoned" in words[2] else [])]
    folds = ["evaluation.folds=2"] if "experiment=absent_hospital" in words else []
    return [*(SHORTER.get(word, word) for word in words), *SMALLER, *fewer, *folds]


def follow(commands: list[str], desk: Path, data: Path | None = None) -> None:
    for command in commands:
        words = smaller(shlex.split(command.replace("PATH", str(data))))
        assert words[0] == "python", command
        process = subprocess.run(
            [sys.executable, *words[1:]], cwd=desk, capture_output=True, text=True, env={**os.environ, "CI": "true"}
        )
        assert process.returncode == 0, f"{command}\n{process.stderr[-3000:]}"


@pytest.mark.slow
def test_the_guide_leads_from_installation_to_a_table(desk: Path) -> None:
    steps = (OF_REAL_HOSPITALS, "PATH", "hospitals=")
    first, *rest = [command for command in COMMANDS if not any(word in command for word in steps)]
    assert first == "make setup && . .venv/bin/activate"
    follow(rest, desk)
    rows = list(csv.DictReader((desk / "runs/compared/comparison.csv").read_text().splitlines()))
    named = {row["run"] for row in rows}
    assert {"fedadam", "fedmedian", "Each hospital alone", "All data in one place"} < named
    for name in ("comparison.md", "comparison.tex", "learning.png", "learning.pdf"):
        assert (desk / "runs/compared" / name).stat().st_size > 100
    assert (desk / "runs/sweep/grid.png").exists()
    assert (desk / "runs/poisoned/grid.md").exists()
    assert (desk / "runs/non_iid/comparison.md").exists()
    assert (desk / "mlflow.db").exists()
    assert list((desk / "runs/watched/tensorboard").rglob("events*"))


@pytest.mark.slow
def test_the_guide_leads_through_four_real_hospitals(desk: Path, few_photographs: Path) -> None:
    follow(
        [command for command in COMMANDS if OF_REAL_HOSPITALS in command or "PATH" in command], desk, few_photographs
    )
    assert (desk / "runs/real-compared/comparison.md").exists()
    assert (desk / "runs/absent/comparison.md").exists()


def lay_out_own_hospitals(folder: Path) -> None:
    """Write three hospitals in typical folders, and the guide's own description of them."""
    (described,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (folder / "hospitals.yaml").write_text(described, "utf-8")
    rng = np.random.default_rng(0)

    def eye() -> NDArray[np.uint8]:
        disc = np.zeros((96, 96, 3), np.uint8)
        cv2.circle(disc, (48, 48), 45, tuple(rng.integers(60, 250, 3).tolist()), -1)
        disc[20:76, 20:76] = rng.integers(0, 250, (56, 56, 3))
        return disc

    def put(place: str, suffix: str = ".jpg") -> None:
        path = folder / "photographs" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(suffix, eye())[1].tobytes())

    for patient in range(40):
        for side in ("left", "right"):
            put(f"city/R{patient % 4}/{patient}_{side}.jpg")
    (folder / "photographs/city/R3").rename(folder / "R3")
    (folder / "photographs/city/R3").symlink_to("../../R3")
    (folder / "photographs/city/R0/notes.heic").write_bytes(b"of a telephone")
    rows = ["sep=;", "file;grade;patient;eye;oedema"]
    for number in range(40):
        put(f"coast/2026/Müller_{number}", ".webp")
        rows.append(f"2026\\Müller_{number};{'yes' if number % 3 == 0 else 'no'};{number // 2};{'LR'[number % 2]};-")
    (folder / "photographs/coast/grades.csv").write_bytes("\r\n".join(rows).encode("cp1252"))
    rows = ["file,grade"]
    for number in range(40):
        header = {"PatientID": f"MRN {number // 2}", "ImageLaterality": "LR"[number % 2]}
        saved(folder / "photographs/hills", photograph(eye(), **header), f"IM{number}")
        rows.append(f"IM{number},0{number % 5}")
    (folder / "photographs/hills/grades.csv").write_text("\n".join(rows))


@pytest.mark.slow
def test_the_guide_leads_through_a_researchers_hospitals(desk: Path) -> None:
    lay_out_own_hospitals(desk)
    follow([command for command in COMMANDS if "hospitals=" in command], desk)
    report = json.loads((desk / "runs/mine/report.json").read_text())
    assert {name: site["patients_known"] for name, site in report["sites"].items()} == {
        "city": "given",
        "coast": "given",
        "hills": "given",
    }
    assert {name: site["patients"] for name, site in report["sites"].items()} == {"city": 40, "coast": 20, "hills": 20}
    assert report["not_taken"]["city"] == {"not a photograph that this program reads": {".heic": 1}}
    assert "city,photographs/city/R0,not taken,1 .heic" in (desk / "runs/mine/set_aside.csv").read_text()


def test_each_result_that_the_guide_mentions_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)", GUIDE):
        assert (ROOT / "docs" / target).exists(), target
