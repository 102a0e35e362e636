"""Files in, results out: a row for each photograph, and one bad file ends nothing."""

import csv
import json
from pathlib import Path

import pytest
from pypdf import PdfReader

from teledx_fed.clinical import SUGGESTION, Diabetes
from teledx_fed.diagnosis.batch import run
from teledx_fed.diagnosis.diagnose import open_bundle
from teledx_fed.diagnosis.intake import eye_in, study_of, submissions
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.diagnosis.results import Row, write_csv
from teledx_fed.records import Eye, Field

CANARY = "canary-jane-doe"


@pytest.fixture
def folder(tmp_path: Path, photographs) -> Path:
    """One photograph by itself, one that is none, and a patient with two eyes of whom one cannot be read."""
    root = tmp_path / "photographs"
    (root / CANARY).mkdir(parents=True)
    (root / "alone.png").write_bytes(photographs.left)
    (root / "notes.txt").write_text("no photograph")
    (root / CANARY / f"{CANARY}_right.png").write_bytes(photographs.right)
    (root / CANARY / f"{CANARY}_left.png").write_bytes(photographs.left[:500])
    return root


def results(out: Path) -> dict[str, dict[str, str]]:
    with (out / "results.csv").open() as file:
        return {Path(row["file"]).name: row for row in csv.DictReader(file)}


def test_a_batch_has_a_row_for_each_file_and_three_files_for_each_study(
    folder: Path, tmp_path: Path, bundle_folder: Path
) -> None:
    out, seen = tmp_path / "out", []
    bundle = open_bundle(bundle_folder, 1)
    failed = run(submissions([folder]), bundle, ReferralSettings(), out, lambda *done: seen.append(done))
    rows = results(out)
    assert failed == 2
    assert seen[-1] == (3, 3)
    assert set(rows) == {"alone.png", "notes.txt", f"{CANARY}_right.png", f"{CANARY}_left.png"}
    assert "must be a JPEG" in rows["notes.txt"]["error"]
    assert "must be whole" in rows[f"{CANARY}_left.png"]["error"]
    right = rows[f"{CANARY}_right.png"]
    assert (right["eye"], right["error"]) == ("right", "")
    assert right["patient_action"] != "rescreen"
    assert "eye_missing" in right["reasons"]
    studies = {row["study"] for row in rows.values() if not row["error"]}
    assert {path.name for path in out.iterdir()} == {"results.csv"} | {
        f"{study}{suffix}" for study in studies for suffix in (".json", ".fhir.json", ".pdf")
    }
    for study in studies:
        told = json.loads((out / f"{study}.json").read_text())
        assert told["note"] == SUGGESTION
        assert told["model"] == bundle.digest
        for page in PdfReader(out / f"{study}.pdf").pages:
            assert SUGGESTION in page.extract_text()
        for suffix in (".json", ".fhir.json", ".pdf"):
            assert CANARY.encode() not in (out / f"{study}{suffix}").read_bytes()
    with pytest.raises(ValueError, match="--out must be a new folder"):
        run([], bundle, ReferralSettings(), out, lambda *done: None)


@pytest.mark.parametrize(
    ("name", "eye"),
    [
        ("12_left", Eye.LEFT),
        ("12_OD", Eye.RIGHT),
        ("R-2024", Eye.RIGHT),
        ("photo 7 os", Eye.LEFT),
        ("bright_cleft", Eye.UNKNOWN),
        ("left_right", Eye.RIGHT),
        ("20051020_0100_PP", Eye.UNKNOWN),
    ],
)
def test_the_eye_in_a_name_is_a_word_of_its_own(name: str, eye: Eye) -> None:
    assert eye_in(name) is eye


def test_a_table_says_which_files_are_one_patient_and_what_is_known_of_them(tmp_path: Path, photographs) -> None:
    for name, content in (("a.png", photographs.left), ("b.png", photographs.right)):
        (tmp_path / name).write_bytes(content)
    table = tmp_path / "studies.csv"
    table.write_text("file,study,eye,field,age,diabetes\na.png,7,left,macula,61,type_2\nb.png,7,right,macula,,\n")
    (submission,) = submissions([table])
    study, unreadable = study_of(submission)
    assert study is not None
    assert unreadable == ()
    assert [(image.eye, image.field) for image in study.images] == [(Eye.LEFT, Field.MACULA), (Eye.RIGHT, Field.MACULA)]
    assert (study.record.age, study.record.diabetes, study.record.pregnant) == (61, Diabetes.TYPE_2, None)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a.png,7,middle,macula,61", "studies.csv, row 2.*eye and field"),
        ("a.png,7,left,macula,old", "studies.csv, row 2.*age"),
    ],
)
def test_what_is_wrong_in_a_table_is_named_by_its_row(tmp_path: Path, line: str, told: str) -> None:
    table = tmp_path / "studies.csv"
    table.write_text(f"file,study,eye,field,age\n{line}\n")
    with pytest.raises(ValueError, match=told):
        submissions([table])


@pytest.mark.parametrize("cell", ["=1+1", "+cmd", "-2", "@sum", "\tx"])
def test_no_name_of_a_file_becomes_a_formula(tmp_path: Path, cell: str) -> None:
    write_csv([Row(cell)], tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["file"] == f"'{cell}"
