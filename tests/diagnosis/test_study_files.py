"""Grouping of a batch's files into studies: folders, tables and eyes."""

import io
from pathlib import Path

import numpy as np
import pytest
from dicom_files import photograph
from PIL import Image
from pydicom import dcmwrite
from reporters import RecordingReporter

from teledx_fed.core.clinical import Diabetes, Gap
from teledx_fed.core.examples import Eye, Field
from teledx_fed.diagnosis.intake import open_upload
from teledx_fed.diagnosis.study_files import study_uploads


def test_a_folder_is_read_through_links_and_each_file_left_out_is_reported(tmp_path: Path, photographs) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "in"
    for folder in (elsewhere, root / ".cache"):
        folder.mkdir(parents=True)
        (folder / "left.png").write_bytes(photographs.left)
    (root / "scan.jpg").mkdir()
    (root / "patient 7").symlink_to(elsewhere)
    (elsewhere / "again").symlink_to(root)
    (root / "notes.txt").write_text("no photograph")
    reporter = RecordingReporter()
    studies = {
        one.key: [upload.file.name for upload in one.photographs] for one in study_uploads([root], reporter=reporter)
    }
    assert studies == {"notes.txt": ["notes.txt"], "patient 7": ["left.png"]}
    (line,) = reporter.messages
    assert "2 files are not taken" in line
    assert "1 .png (hidden" in line
    (root / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"gone\.png: must lead to a file or folder"):
        study_uploads([root])


def test_the_eye_option_does_not_apply_to_files_with_an_unclear_name(tmp_path: Path, photographs) -> None:
    for name in ("12_OD.png", "12.png", "12_R3.png"):
        (tmp_path / name).write_bytes(photographs.left)
    studies = study_uploads([tmp_path], Eye.LEFT)
    eyes = {study.photographs[0].file.name: open_upload(study.photographs[0])[0].eye for study in studies}
    assert eyes == {"12_OD.png": Eye.RIGHT, "12.png": Eye.LEFT, "12_R3.png": Eye.UNKNOWN}


def test_a_header_and_a_sender_that_differ_leave_the_eye_unknown(tmp_path: Path, photographs) -> None:
    with Image.open(io.BytesIO(photographs.left)) as image:
        dataset = photograph(np.array(image), ImageLaterality="R")
    dcmwrite(tmp_path / "a.dcm", dataset, enforce_file_format=True)
    dcmwrite(tmp_path / "OS.dcm", dataset, enforce_file_format=True)
    table = tmp_path / "t.csv"
    table.write_text("file,study,eye\na.dcm,A,left\nOS.dcm,B,\n")
    one, other = (open_upload(study.photographs[0])[0] for study in study_uploads([table]))
    assert (one.eye, one.doubts) == (Eye.UNKNOWN, (Gap.EYE_STATED_TWICE,))
    assert (other.eye, other.doubts) == (Eye.RIGHT, (Gap.EYE_NAME_OTHER,))


def test_a_study_of_two_patients_is_two_and_one_of_two_ages_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file,patient,study\na.png,P,7\nb.png,Q,7\n")
    assert [(one.patient, len(one.photographs)) for one in study_uploads([table])] == [("P", 1), ("Q", 1)]
    table.write_text("file,study,age\na.png,7,55\nb.png,7,31\n")
    with pytest.raises(ValueError, match=r"t\.csv, row 3: must state the age .* '55', got '31'"):
        study_uploads([table])


def test_a_table_groups_files_by_study_and_has_the_patients_record(tmp_path: Path, photographs) -> None:
    for name, content in (("a.png", photographs.left), ("b.png", photographs.right)):
        (tmp_path / name).write_bytes(content)
    table = tmp_path / "studies.csv"
    table.write_text("file,study,eye,field,age,diabetes\na.png,7,left,macula,61,type_2\nb.png,7,right,macula,,\n")
    (study,) = study_uploads([table])
    images = [open_upload(upload)[0] for upload in study.photographs]
    assert [(image.eye, image.field) for image in images] == [(Eye.LEFT, Field.MACULA), (Eye.RIGHT, Field.MACULA)]
    assert (study.record.age, study.record.diabetes, study.record.pregnant) == (61, Diabetes.TYPE_2, None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png,7,rechts,macula,61", "studies.csv, row 2: eye must be one of left, right, unknown, got 'rechts'"),
        ("a.png,7,left,middle,61", "studies.csv, row 2: field must be one of macula, disc, unknown, got 'middle'"),
        ("a.png,7,left,macula,old", "studies.csv, row 2.*age"),
    ],
)
def test_an_error_in_a_table_names_its_row(tmp_path: Path, line: str, message: str) -> None:
    table = tmp_path / "studies.csv"
    table.write_text(f"file,study,eye,field,age\n{line}\n")
    with pytest.raises(ValueError, match=message):
        study_uploads([table])


def test_two_eyes_directly_in_a_folder_are_two_studies_with_a_warning(tmp_path: Path) -> None:
    names = ("12_OD.png", "12_OS.png", "13_OD.png", "14_OS.png", "leftJones.png", "rightJones.png", "notes.txt")
    for name in (*names, "patient/left.png", "patient/right.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    reporter = RecordingReporter()
    assert len(study_uploads([tmp_path], reporter=reporter)) == len(names) + 1
    (line,) = reporter.messages
    assert line.startswith(
        f"{tmp_path}: 12_OD.png and 12_OS.png (one of 2 such pairs) look like the right and left eye"
    )
    reporter.messages.clear()
    study_uploads([tmp_path / "13_OD.png", tmp_path / "14_OS.png"], reporter=reporter)
    assert reporter.messages == []
