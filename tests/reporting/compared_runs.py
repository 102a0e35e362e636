"""Runs to compare, and their tables."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from typer.testing import CliRunner

from teledx_fed.config.settings import CHOICES
from teledx_fed.reporting.__main__ import app

TINY = {
    "data": {
        "hospitals": {name: {"patients": 36, "camera": "canon"} for name in ("north", "harbour", "valley")},
        "image_size": 64,
    },
    "model": {"name": "test_efficientnet", "initial": "none"},
    "partition": {"test": 0.5},
    "training": {"augment": False, "learning_rate": 0.01},
    "federation": {"rounds": 2, "quorum": 3},
    "evaluation": {"replicates": 30},
    "outbound": {"min_patients": 2},
    "simulation": {"threads": 1},
    "bundles": False,
}


RUNS = {
    "mean": {"strategy": {"name": "fedavg"}, "baselines": ["local"]},
    "median": {"strategy": {"name": "fedmedian"}, "baselines": []},
    "more": {"strategy": {"name": "fedavg"}, "seeds": [0, 1], "baselines": []},
    "dealt": {"partition": {"by": "iid", "sites": 3, "test": 0.5}, "baselines": []},
    "drawn": {"data": {**TINY["data"], "seed": 1}, "baselines": []},
}


def chosen(folder: Path, *choices: str) -> None:
    (folder / CHOICES).write_text(json.dumps(choices))


def compared(folders: Sequence[Path], out: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["compare", *map(str, folders), "--out", str(out)])
    return result.exit_code, result.output


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "comparison.csv").read_text().splitlines()))


SECRET = (
    "++data_root=/ward/photographs",
    "model.file=/ward/model.safetensors",
    "folder=/ward/run",
    "data.cache=/ward/cache",
    "tracking.uri=https://bob:ward@mlflow",
    "+data.sources={site:{layout:aptos2019,root:/ward/7}}",
)


REFUSED = {"strategy=krum": "2 problems in the data:\n  /ward/7/patient.png", "seed=1": "/ward/7 must be a folder"}


def swept(tmp_path: Path, cells: dict[tuple[str, str], Path]) -> list[Path]:
    """Copy runs, as if they had these choices."""
    folders = []
    for choices, folder in cells.items():
        folders.append(shutil.copytree(folder, tmp_path / "-".join(choices)))
        chosen(folders[-1], *choices)
    return folders
