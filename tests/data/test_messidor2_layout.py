from pathlib import Path

import pytest
from layout_files import L, R, eyes, oedema, photographs, read_whole, set_aside, table

from teledx_fed.config.data import SourceSettings
from teledx_fed.core.examples import Field, Identification, SetAsideReason
from teledx_fed.data.layouts import read

MESSIDOR2 = (
    "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable\n"
    "IM000012.jpg,2,1,1\nIM000013.jpg,1,0,1\nIM000015.jpg,0,0,1\n"
    "20051020_43808_0100_PP.png,0,0,1\n20051020_43868_0100_PP.png,3,1,1\n20051020_43929_0100_PP.png,4,0,1\n"
    "20051021_43929_0100_PP.png,0,0,1\nIM000016.jpg,,,0\n"
)
MESSIDOR2_IMAGES = (
    *("IM000012.JPG", "im000013.jpg", "IM000015.jpg", "IM000016.jpg", "20051020_43808_0100_PP.jpg"),
    *("20051020_43868_0100_PP.png", "20051020_43929_0100_PP.tif", "20051021_43929_0100_PP.png"),
)


def test_messidor2_infers_patients_from_names(tmp_path: Path) -> None:
    table(tmp_path / "messidor_data.csv", MESSIDOR2)
    photographs(tmp_path / "images", *MESSIDOR2_IMAGES)
    collection = read_whole("messidor2", tmp_path)
    pair, alone, minute, later, next_day = (
        *("im000012", "im000015", "20051020_43808_0100_pp"),
        *("20051020_43929_0100_pp", "20051021_43929_0100_pp"),
    )
    assert collection.patients is Identification.INFERRED
    assert [e.patient for e in collection.examples] == [pair, pair, alone, minute, minute, later, next_day]
    assert [e.grade for e in collection.examples] == [2, 1, 0, 0, 3, 4, 0]
    assert oedema(collection) == [True, False, False, False, True, False, False]
    assert {e.field for e in collection.examples} == {Field.MACULA}
    assert set_aside(collection, tmp_path) == [("images/IM000016.jpg", SetAsideReason.UNGRADABLE)]


def test_messidor2_infers_patients_from_names_with_any_number(tmp_path: Path) -> None:
    """A name has a day, a second of the day, and four digits that are the same for one series."""
    table(tmp_path / "messidor_data.csv", MESSIDOR2.replace("_0100_", "_0400_"))
    photographs(tmp_path / "images", *(name.replace("_0100_", "_0400_") for name in MESSIDOR2_IMAGES))
    collection = read_whole("messidor2", tmp_path)
    assert collection.patients is Identification.INFERRED
    assert len({e.patient for e in collection.examples}) == 5
    assert all(e.patient_known for e in collection.examples)


@pytest.mark.parametrize(
    ("strange", "identification", "patients", "alone"),
    [
        ("IM000012 IM000013", Identification.PARTLY_INFERRED, 6, 2),
        (
            "IM000012 IM000013 IM000015 20051020_43808 20051020_43868 20051020_43929 20051021",
            Identification.UNKNOWN,
            7,
            7,
        ),
    ],
)
def test_messidor2_counts_names_of_another_form_as_patients(
    tmp_path: Path, strange: str, identification: Identification, patients: int, alone: int
) -> None:
    text, names = MESSIDOR2, " ".join(MESSIDOR2_IMAGES).replace(".JPG", ".jpg").replace("im000013", "IM000013")
    for name in strange.split():
        text, names = text.replace(name, f"eye-{name}"), names.replace(name, f"eye-{name}")
    table(tmp_path / "messidor_data.csv", text)
    photographs(tmp_path / "images", *names.split())
    collection = read_whole("messidor2", tmp_path)
    assert collection.patients is identification
    assert len({e.patient for e in collection.examples}) == patients
    assert sum(not e.patient_known for e in collection.examples) == alone


@pytest.mark.parametrize("separator", [";", ","])
def test_messidor2_pairs(tmp_path: Path, separator: str) -> None:
    table(tmp_path / "messidor_data.csv", MESSIDOR2)
    photographs(tmp_path / "IMAGES", *MESSIDOR2_IMAGES)
    pairs = [
        ("left", "right"),
        ("im000015.png", "IM000012.jpg"),
        ("20051020_43929_0100_PP.png", "20051020_43808_0100_PP.png"),
        ("IM000013.jpg", ""),
        ("IM900000.jpg", "20051020_43868_0100_PP.png"),
        ("20051021_43929_0100_PP.png", "IM900001.jpg"),
    ]
    table(tmp_path / "messidor-2.csv", "\ufeff" + "\r\n".join(separator.join(pair) for pair in pairs))
    collection = read_whole("messidor2", tmp_path)
    patients = {Path(e.image.name).name: e.patient for e in collection.examples}
    assert collection.patients is Identification.GIVEN
    assert patients["IM000012.JPG"] == patients["IM000015.jpg"] != patients["im000013.jpg"]
    assert patients["20051020_43808_0100_PP.jpg"] == patients["20051020_43929_0100_PP.tif"]
    assert len(set(patients.values())) == 5
    assert eyes(collection) == [R, L, L, R, R, L, L]


def test_messidor2_image_without_a_pair_is_a_problem(tmp_path: Path) -> None:
    table(tmp_path / "messidor_data.csv", MESSIDOR2)
    photographs(tmp_path / "IMAGES", *MESSIDOR2_IMAGES)
    table(tmp_path / "messidor-2.csv", "IM000012.jpg;IM000013.jpg\n")
    collection, problems = read("ward", SourceSettings("messidor2", str(tmp_path)))
    assert len(collection.examples) == 2
    assert [problem.row for problem in problems] == [4, 5, 6, 7, 8]
    assert "patient of image IM000015 must be named" in str(problems[0])
