from pathlib import Path

import pytest
from dicom_files import RGB, saved
from dicom_files import photograph as dicom_photograph
from layout_files import L, R, U, eyes, files, photographs, read_whole, table

from teledx_fed.config.data import SourceSettings
from teledx_fed.core.examples import Identification
from teledx_fed.data.layouts import read


def test_folder_by_name_of_the_grade(tmp_path: Path) -> None:
    photographs(tmp_path, "No_DR/a.png", "MILD/a.jpg", "Proliferate_DR/deeper/b.JPEG", "0/c.bmp")
    photographs(tmp_path, ".thumbnails/a.png", "No_DR/._a.png", "__MACOSX/No_DR/a.png")
    table(tmp_path / "No_DR" / "notes.txt", "nothing")
    collection = read_whole("folder", tmp_path)
    assert files(collection, tmp_path) == [
        ("0/c.bmp", 0, "0/c.bmp"),
        ("MILD/a.jpg", 1, "MILD/a.jpg"),
        ("No_DR/a.png", 0, "No_DR/a.png"),
        ("Proliferate_DR/deeper/b.JPEG", 4, "Proliferate_DR/deeper/b.JPEG"),
    ]
    assert collection.patients is Identification.UNKNOWN


def test_folder_takes_links_and_every_photograph_by_suffix_or_content(tmp_path: Path) -> None:
    root = tmp_path / "data"
    photographs(root, "0/a.png", "1/scan.jpg/b.webp")
    photographs(tmp_path / "elsewhere", "c.jpe", "d.jfif")
    (root / "4").symlink_to("../elsewhere")
    (root / "0" / "a.png").rename(root / "0" / "IM000001")
    table(root / "0" / "notes.txt", "nothing")
    photographs(root, "0/._e.jpg")
    collection = read_whole("folder", root)
    assert [(Path(e.image.name).name, e.grade) for e in collection.examples] == [
        *[("IM000001", 0), ("b.webp", 1), ("c.jpe", 4), ("d.jfif", 4)]
    ]
    assert [(left.suffix, left.count) for left in collection.not_taken] == [(".jpg", 1), (".txt", 1)]


def test_folder_takes_dicom_files_with_their_headers(tmp_path: Path) -> None:
    photographs(tmp_path, "0/a.png")
    saved(tmp_path, dicom_photograph(RGB, ImageLaterality="R"), "3/IM1")
    saved(tmp_path, dicom_photograph(RGB, PatientID=None), "3/IM2.dcm")
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "torn.dcm").write_bytes(b"no DICOM file")
    collection, problems = read("ward", SourceSettings("folder", str(tmp_path)))
    assert [(e.grade, e.patient, e.patient_known, e.eye) for e in collection.examples] == [
        (0, "0/a.png", False, U),
        (3, "MRN 7", True, R),
        (3, "3/IM2.dcm", False, L),
    ]
    assert collection.patients is Identification.PARTLY_GIVEN
    assert [problem.photographs for problem in problems] == [(str(tmp_path / "4" / "torn.dcm"),)]
    named, _ = read("ward", SourceSettings("folder", str(tmp_path), file_pattern=r"(?P<patient>\w+)\.?\w*$"))
    assert [e.patient for e in named.examples] == ["a", "IM1", "IM2"]


def test_folder_of_referable_or_not(tmp_path: Path) -> None:
    photographs(tmp_path, "non_referable/a.png", "not_referable/b.png", "Referable/c.png")
    collection = read_whole("folder", tmp_path)
    assert {(Path(e.image.name).name, e.referable) for e in collection.examples} == {
        ("a.png", False),
        ("b.png", False),
        ("c.png", True),
    }


def test_folder_with_local_grades_and_file_pattern(tmp_path: Path) -> None:
    photographs(tmp_path, "Healthy/7_OS.png", "ill/7_OD.png", "ill/8.png", "ill/x_OS.png", "odd/9.png", "odd/10.png")
    collection, problems = read(
        "ward",
        SourceSettings(
            "folder",
            str(tmp_path),
            grading={"healthy": 0, "Ill": 2},
            file_pattern=r"^(?P<patient>\d+)(_(?P<eye>OS|OD))?",
        ),
    )
    assert files(collection, tmp_path) == [
        ("Healthy/7_OS.png", 0, "7"),
        ("ill/7_OD.png", 2, "7"),
        ("ill/8.png", 2, "8"),
    ]
    assert eyes(collection) == [L, R, U]
    assert collection.patients is Identification.GIVEN
    assert len(problems) == 2
    assert "got 1 of 6 that it does not fit, the first ill/x_OS.png" in str(problems[0])
    assert str(problems[1]).startswith(f"{tmp_path / 'odd'}: grade must be one of 0, 1, 2, 3, 4, no_dr")
    assert "healthy, ill, got 'odd'" in str(problems[1])


@pytest.mark.parametrize("pattern", ["(", r"(?P<eye>left|right)"])
def test_file_pattern_that_names_no_patient(tmp_path: Path, pattern: str) -> None:
    photographs(tmp_path, "0/a.png")
    with pytest.raises(ValueError, match=r"file_pattern must .*\(\?P<patient>"):
        read("ward", SourceSettings("folder", str(tmp_path), file_pattern=pattern))
