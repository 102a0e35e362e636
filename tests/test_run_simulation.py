"""`run_simulation.py` as a researcher runs it: in a process, with a run folder, and with kill -9 at any moment."""

import json
import math
from pathlib import Path

import cv2
import pytest
from report_schema import check_report
from runs import TINY, Start, finish, model

from teledx_fed.config.data import HospitalSettings
from teledx_fed.data.synthetic import hospital


def numbers(node: object) -> list[float]:
    if isinstance(node, dict):
        return [value for child in node.values() for value in numbers(child)]
    if isinstance(node, list):
        return [value for child in node for value in numbers(child)]
    return [node] if isinstance(node, int | float) else []


@pytest.mark.slow
def test_a_run_folder_contains_all_outputs(start: Start, tmp_path: Path, cache: Path) -> None:
    folder = finish(start(*TINY, f"folder={tmp_path / 'runs' / 'run'}"))
    assert folder == tmp_path / "runs" / "run"
    paths = [folder.parent, *folder.parent.rglob("*"), *cache.rglob("*")]
    assert [path for path in paths if path.stat().st_mode & 0o077] == [], "names of patients lie in them"
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.yaml", "rounds.jsonl", "report.json", "report.html", "checkpoints", "model.safetensors"}
    check_report(folder)
    report = json.loads((folder / "report.json").read_text())
    assert [part["rounds"] for part in report["parts"]] == [2]
    for name in ("harbour", "north"):
        assert set(report["sites"][name]) >= {"train", "validation", "test", "patients"}
    for model_name in ("federated", "local", "ensemble", "centralised"):
        for part in ("mean_of_sites", "all_patients"):
            metric = report[model_name][part]["referable_auroc"]
            assert metric["low"] <= metric["value"] <= metric["high"]
        assert set(report[model_name]["sites"]) == {"harbour", "north"}
    for baseline in ("local", "ensemble", "centralised"):
        assert report["differences"][baseline]["mean_of_sites"]["referable_auroc"] is not None
    assert set(report["seconds"]) == {"total", "preparation", "training", "evaluation", "overhead"}
    parts = [seconds for phase, seconds in report["seconds"].items() if phase != "total"]
    assert sum(parts) == pytest.approx(report["seconds"]["total"])
    assert report["bytes"]["up"] > 0 < report["bytes"]["down"]
    assert report["refused"] == {"north": {}, "harbour": {}}
    assert all(math.isfinite(number) for number in numbers(report))
    page = (folder / "report.html").read_text()
    assert "<svg" in page
    assert 'src="http' not in page


@pytest.mark.slow
def test_a_folder_with_a_run_is_not_overwritten(start: Start, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    process = start(f"folder={tmp_path}")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"resume={tmp_path}" in err
    assert (tmp_path / "config.yaml").read_text() == "seed: 7\n"


@pytest.mark.slow
def test_a_folder_with_other_files_is_not_changed(start: Start, tmp_path: Path) -> None:
    (tmp_path / "thesis" / "splits").mkdir(parents=True)
    process = start(f"folder={tmp_path / 'thesis'}", "faults=sign_flip", "faults.sites=[nowhere]")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "folder must be new or empty" in err
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["splits"]


def test_bad_settings_end_with_one_line_and_no_traceback(start: Start, tmp_path: Path) -> None:
    process = start("federation.rounds=0", f"folder={tmp_path / 'run'}")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "federation.rounds must lie in" in err
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("choices", [["hospital=mine.yaml"], ["+hospital=mine.yaml"], ["-m", "+hospital=a,b"]])
def test_a_setting_that_does_not_exist_ends_a_run_before_it_begins(
    start: Start, tmp_path: Path, choices: list[str]
) -> None:
    process = start(*choices, "experiment=quick", f"folder={tmp_path / 'run'}")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "error: hospital must be the name of a setting" in err
    assert "Did you mean hospitals?" in err
    assert "use +hospital" not in err
    assert "photographs" not in out + err
    assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.slow
def test_bad_data_is_named_with_file_and_row(start: Start, tmp_path: Path) -> None:
    """First a problem in the table, before a photograph is read; then a problem in a photograph."""
    root = tmp_path / "site"
    (root / "train_images").mkdir(parents=True)
    (root / "train_images" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for problem, rows in (("train.csv, row 2", "absent,2\ntorn,1\n"), ("torn.png", "torn,1\n")):
        (root / "train.csv").write_text(f"id_code,diagnosis\n{rows}")
        process = start("data=aptos2019", f"data_root={root}", f"folder={tmp_path / 'run'}")
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "1 problem in the data" in err
        assert problem in err
        assert "data.on_bad=skip" in err
        assert "Traceback" not in err


def test_resume_with_another_setting_is_refused(start: Start, tmp_path: Path) -> None:
    process = start(f"resume={tmp_path / 'nowhere'}", "seed=3")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "resume must come alone, got seed=3" in err


@pytest.mark.slow
def test_a_run_refused_before_its_first_round_empties_its_folder(start: Start, tmp_path: Path) -> None:
    process = start(*TINY, "faults=sign_flip", "faults.sites=[nowhere]", f"folder={tmp_path / 'run'}")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "faults.sites must name hospitals among" in err
    assert finish(start(*TINY, "baselines=[]", f"folder={tmp_path / 'run'}")) == tmp_path / "run"


@pytest.mark.slow
def test_two_files_of_one_group_are_refused(start: Start, tmp_path: Path) -> None:
    process = start(*TINY, "faults=[sign_flip,crash]", f"folder={tmp_path / 'run'}")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "faults must be one name, got [sign_flip,crash]" in err
    assert "faults.kinds=[sign_flip,crash]" in err


@pytest.mark.slow
def test_each_seed_of_a_sweep_equals_a_single_run(start: Start, tmp_path: Path) -> None:
    finish(start("-m", *TINY, "baselines=[]", "seed=0,1", f"folder={tmp_path / 'sweep'}"))
    first, second = (model(tmp_path / "sweep" / number) for number in ("0", "1"))
    assert first != second
    finish(start(*TINY, "baselines=[]", "seed=7", "seeds=[1,0]", f"folder={tmp_path / 'repeated'}"))
    assert [model(tmp_path / "repeated" / part) for part in ("seed0", "seed1")] == [first, second]


@pytest.mark.slow
def test_two_folders_and_the_seeds_head(start: Start, tmp_path: Path) -> None:
    """The head referable: metrics that need five grades are null, those of referable disease are present."""
    for example in hospital("clinic", HospitalSettings(patients=60), seed=0).examples:
        folder = tmp_path / "photographs" / ("referable" if example.referable else "not_referable")
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{example.patient}_{example.eye}_{example.field}.jpg"
        cv2.imwrite(str(folder / name), example.image.read()[..., ::-1])
    overrides = [
        "experiment=seed_baseline",
        "partition.test=0.5",
        f"data_root={tmp_path / 'photographs'}",
        "federation.rounds=3",
        "outbound.min_patients=2",
        "evaluation.replicates=50",
        r"data.file_pattern='(?P<patient>clinic-\d+)_(?P<eye>left|right)_'",
    ]
    report = json.loads((finish(start(*overrides, f"folder={tmp_path / 'run'}")) / "report.json").read_text())
    metrics = report["federated"]["mean_of_sites"]
    assert metrics["qwk"] is None
    assert metrics["macro_f1"] is None
    assert metrics["referable_auroc"]["value"] > 0.5
    assert all(site["patients_known"] == "given" for site in report["sites"].values())
