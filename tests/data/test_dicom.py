from pathlib import Path

import numpy as np
import pytest
from dicom_files import DEEP, PLAIN, RGB, SMOOTH, content_of, photograph, saved
from pydicom import Dataset, uid

from teledx_fed.config.data import SourceSettings
from teledx_fed.core.examples import Eye, Field, Identification
from teledx_fed.data.dicom import described, read_dataset, read_header
from teledx_fed.data.layouts import read

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # as the library sets it outside pytest


def header(**values: object) -> object:
    return described(read_dataset(content_of(photograph(RGB, **values)), "x"), "x")


def test_the_header_is_read(tmp_path: Path) -> None:
    facts = read_header(saved(tmp_path, photograph(RGB, AcquisitionDateTime="20260131101500.250000+0100")))
    assert (facts.eye, facts.field, facts.camera) == (Eye.LEFT, Field.UNKNOWN, "Topcon TRC-NW400")
    assert (facts.patient, facts.study, facts.size) == ("MRN 7", "1.2.3", (40, 60))
    assert facts.acquired == "2026-01-31T10:15:00.250000+01:00"
    assert facts.free_of_text


@pytest.mark.parametrize(
    ("image", "series", "eye"),
    [
        ("L", None, Eye.LEFT),
        ("R", "L", Eye.RIGHT),
        ("L", "B", Eye.LEFT),
        (None, "R", Eye.RIGHT),
        ("U", "L", Eye.LEFT),
        ("", "", Eye.UNKNOWN),
        (None, None, Eye.UNKNOWN),
    ],
)
def test_the_eye_of_the_image_takes_precedence_over_that_of_the_series(image: str, series: str, eye: Eye) -> None:
    values = {"ImageLaterality": image, "Laterality": series}
    dataset = photograph(RGB)
    del dataset.ImageLaterality
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    assert described(dataset, "x").eye is eye


@pytest.mark.parametrize("values", [{"ImageLaterality": "B"}, {"ImageLaterality": "U", "Laterality": "B"}])
def test_both_eyes_at_once_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="x must be a photograph of one eye, got laterality B"):
        header(**values)


@pytest.mark.parametrize(
    ("sequence", "value", "field"),
    [
        ("RelativeImagePositionCodeSequence", "111900", Field.MACULA),
        ("RelativeImagePositionCodeSequence", "111901", Field.DISC),
        ("RelativeImagePositionCodeSequence", "111903", Field.UNKNOWN),
        ("AnatomicRegionSequence", "67046006", Field.MACULA),
        ("AnatomicRegionSequence", "81745001", Field.UNKNOWN),
    ],
)
@pytest.mark.parametrize("syntax", PLAIN)
def test_field(sequence: str, value: str, field: Field, syntax: uid.UID) -> None:
    item = Dataset()
    item.CodeValue = value
    dataset = photograph(RGB, syntax=syntax, **{sequence: [item]})
    dataset[sequence].is_undefined_length = syntax == uid.ExplicitVRLittleEndian
    assert described(read_dataset(content_of(dataset), "x"), "x").field is field


@pytest.mark.parametrize(
    ("values", "acquired"),
    [
        ({"AcquisitionDate": "20260131", "AcquisitionTime": "101500"}, "2026-01-31T10:15:00"),
        ({"AcquisitionDate": "20260131", "StudyDate": "20200101"}, "2026-01-31T00:00:00"),
        ({"StudyDate": "20200101", "StudyTime": "09"}, "2020-01-01T09:00:00"),
        ({"StudyDate": ""}, None),
        ({}, None),
    ],
)
def test_acquired(values: dict[str, object], acquired: str | None) -> None:
    assert header(**values).acquired == acquired


@pytest.mark.parametrize(("value", "free"), [("NO", True), ("YES", False), ("", False), (None, False)])
def test_a_photograph_is_free_of_text_only_where_the_header_states_it(value: str | None, free: bool) -> None:
    assert header(BurnedInAnnotation=value).free_of_text is free


def test_missing_values_are_unknown() -> None:
    facts = header(PatientID=None, Manufacturer=None, ManufacturerModelName=None, StudyInstanceUID=None)
    assert (facts.patient, facts.camera, facts.study) == ("", "unknown", "")


def hospital(root: Path, table: str) -> None:
    saved(root, photograph(RGB, AcquisitionDate="20260131"), "2026/IM1")
    saved(root, photograph(SMOOTH, ImageLaterality="R"), "2026/IM2.dcm")
    saved(root, photograph(DEEP, "MONOCHROME2", PatientID="MRN 8", ImageLaterality=None), "2026/IM3")
    (root / "grades.csv").write_text(table)


def test_training_reads_a_folder(tmp_path: Path) -> None:
    hospital(tmp_path, "file,grade,oedema\n2026/IM1,2,yes\n2026\\im2.DCM,R0,no\n2026/IM3,4,\n")
    collection, problems = read("ward", SourceSettings("dicom", str(tmp_path), {"R0": 0}))
    assert problems == ()
    assert collection.patients is Identification.GIVEN
    assert [(e.grade, e.oedema, e.eye, e.patient) for e in collection.examples] == [
        (2, True, Eye.LEFT, "MRN 7"),
        (0, False, Eye.RIGHT, "MRN 7"),
        (4, None, Eye.UNKNOWN, "MRN 8"),
    ]
    first = collection.examples[0]
    assert (first.camera, first.acquired) == ("Topcon TRC-NW400", "2026-01-31T00:00:00")
    np.testing.assert_array_equal(first.image.read(), RGB)


def test_training_names_every_file_and_row_that_is_wrong(tmp_path: Path) -> None:
    hospital(tmp_path, "file,grade\n2026/IM1,2\n2026/IM2.dcm,9\n2026/IM3,1\n2026/IM4,1\ngrades.csv,1\n2026/IM5,1\n")
    saved(tmp_path, photograph(RGB, PatientID=""), "2026/IM5")
    saved(tmp_path, photograph(RGB, ImageLaterality="B"), "2026/IM3")
    collection, problems = read("ward", SourceSettings("dicom", str(tmp_path)))
    assert len(collection.examples) == 1
    messages = {problem.row: str(problem) for problem in problems}
    assert sorted(messages) == [3, 4, 5, 6, 7]
    assert "grade must be one of" in messages[3]
    assert "must be a photograph of one eye" in messages[4]
    assert "2026/IM4 must be readable" in messages[5]
    assert "grades.csv must be a DICOM file" in messages[6]
    assert "patient of image 2026/IM5 must be named" in messages[7]
