"""Requirements of the main job, on the data for which it is made."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report_schema import check_report

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def run(folder: Path, *overrides: str) -> Path:
    command = [sys.executable, str(ROOT / "run_simulation.py"), *overrides, f"folder={folder}"]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] in (f"run folder: {folder}", f"table: {folder / 'grid.md'}")
    return folder


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())  # type: ignore[no-any-return]


def auroc(results: dict[str, Any], model: str) -> float:
    return float(results[model]["mean_of_sites"]["referable_auroc"]["value"])


def test_the_federated_model_beats_local_ones_at_synthetic_hospitals(tmp_path: Path) -> None:
    results = report(run(tmp_path / "quick", "experiment=quick", f"data.cache={tmp_path / 'cache'}"))
    check_report(tmp_path / "quick")
    gain = results["differences"]["local"]["mean_of_sites"]["referable_auroc"]
    assert auroc(results, "federated") >= 0.85
    assert gain["value"] > 0.03
    assert gain["low"] > 0
    assert abs(auroc(results, "federated") - auroc(results, "centralised")) <= 0.03
    assert 0.87 <= auroc(results, "centralised") <= 0.97


def test_real_hospitals_learn_from_each_other_and_the_easy_one_keeps_its_own(real_data: Path, tmp_path: Path) -> None:
    overrides = ["experiment=real_hospitals", f"data_root={real_data}", "baselines=[local]"]
    results = report(run(tmp_path / "real", *overrides, f"data.cache={tmp_path / 'cache'}"))
    aptos = {
        model: results[model]["sites"]["aptos2019"]["referable_auroc"]["value"] for model in ("federated", "local")
    }
    assert aptos["federated"] >= aptos["local"] - 0.02
    assert auroc(results, "federated") >= 0.78
    assert {name: site["patients_known"] for name, site in results["sites"].items()} == {
        "aptos2019": "unknown",
        "eyepacs": "given",
        "messidor2_a": "inferred",
        "messidor2_b": "inferred",
    }
    assert results["label_noise"]["aptos2019"] == {"duplicate_groups": 123, "conflicting_groups": 30}
    names = {path.stem for path in (real_data / "eyepacs" / "train").iterdir()}
    for file in ("report.json", "report.html", "rounds.jsonl", "test.json"):
        text = (tmp_path / "real" / file).read_text()
        assert str(real_data) not in text
        assert not any(f"{name}." in text for name in names)


def test_robust_strategies_tolerate_a_poisoning_hospital(tmp_path: Path) -> None:
    """With three seeds, the worst of four honest hospitals varies by .02 with the patients; so there are six."""
    swept = ["strategy=fedtrimmedavg,multikrum", "faults=none,sign_flip,label_flip", "seeds=[0,1,2,3,4,5]"]
    fast = ["simulation.threads=1", "evaluation.replicates=20", f"data.cache={tmp_path / 'cache'}"]
    folder = run(tmp_path / "poisoned", "experiment=poisoned", *swept, *fast)
    with (folder / "grid.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    results = {(row["strategy"], row["faults"], row["of"]): float(row["value"]) for row in rows}
    assert len(results) == 12
    for (strategy, _, of), value in results.items():
        assert value >= results[strategy, "none", of] - 0.03


@pytest.mark.parametrize("experiment", ["quick", "quick_full"])
def test_the_same_seed_gives_the_same_bytes(experiment: str, tmp_path: Path) -> None:
    small = ["~data.hospitals.island", "~data.hospitals.valley", "data.hospitals.harbour.patients=40"]
    few = ["data.hospitals.north.patients=30", "federation.rounds=2", "baselines=[]", "evaluation.replicates=20"]
    folders = [
        run(tmp_path / name, f"experiment={experiment}", *small, *few, f"data.cache={tmp_path / name}-cache")
        for name in ("once", "twice")
    ]
    assert not any(refused for refused in report(folders[0])["refused"].values())
    assert (folders[0] / "model.safetensors").read_bytes() == (folders[1] / "model.safetensors").read_bytes()
    assert str(tmp_path).encode() not in (folders[0] / "model.safetensors").read_bytes()
