from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from layout_files import L, R, oedema, photographs, read_whole, set_aside, table

from teledx_fed.config.data import SourceSettings
from teledx_fed.core.examples import Collection, Identification, SetAsideReason
from teledx_fed.data.layouts import LAYOUTS, read
from teledx_fed.data.problems import Problem
from teledx_fed.data.walk import describe_not_taken


def test_a_photograph_that_no_row_names_is_counted(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", "id_code,diagnosis\na,0\n")
    photographs(tmp_path / "train_images", "a.png", "b.png", "deep/c.jpg")
    assert describe_not_taken(read_whole("aptos2019", tmp_path).not_taken) == (
        "2 files are not taken: 1 .png, 1 .jpg (a photograph that no row of the table names)"
    )


def test_local_grading_overrides_the_layouts_own(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", "id_code,diagnosis\na,R1\nb,4\nc,0\n")
    photographs(tmp_path / "train_images", "a.png", "b.png", "c.png")
    collection = read_whole("aptos2019", tmp_path, grading={"r1": 2, "4": 3})
    assert [example.grade for example in collection.examples] == [2, 3, 0]


def test_all_problems_are_reported_with_file_and_row(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    table(file, "id_code,diagnosis\ngood,1\ngone,0\nodd,7\ntwice,0\nboth,2\nTWICE,3\ngone_and_odd,x\nnone,\n")
    images = tmp_path / "train_images"
    photographs(images, "good.png", "odd.png", "twice.png", "both.png", "again/both.jpg", "none.png")
    collection, problems = read("ward", SourceSettings("aptos2019", str(tmp_path)))
    codes = "0, 1, 2, 3, 4, no_dr, mild, moderate, severe, proliferate_dr, not_referable, non_referable, referable"
    place = "where this hospital is described (site.yaml, or the file of hospitals=FILE)"
    mapped = f'write grading: {{{{"{{0}}": GRADE}}}} {place}, where GRADE is an ICDR grade, 0 to 4.'
    wrong_grade = f"grade must be one of {codes}, got {{0!r}}. Correct it, or {mapped}"
    both = f"{images / 'again' / 'both.jpg'} and {images / 'both.png'}"
    own_name = "or give each photograph a name of its own."
    twice = f"must be listed once, got it in rows 5, 7. Keep the row that is right, {own_name}"
    expected = [
        (5, f"image twice {twice}"),
        (7, f"image TWICE {twice}"),
        (3, "image gone must be one file, got none. Put the photograph there, or remove its row."),
        (4, wrong_grade.format("7")),
        (6, f"image both must be one file, got {both}. Keep one, or remove its row."),
        (8, wrong_grade.format("x")),
        (8, "image gone_and_odd must be one file, got none. Put the photograph there, or remove its row."),
    ]
    assert list(problems) == [Problem(str(file), message, row) for row, message in expected]
    assert [example.patient for example in collection.examples] == ["good"]
    assert set_aside(collection, tmp_path) == [("train_images/none.png", SetAsideReason.UNGRADED)]


def test_unknown_code_of_eye_oedema_or_quality(tmp_path: Path) -> None:
    header = "image_id,patient_id,exam_eye,DR_ICDR,macular_edema,quality\n"
    table(tmp_path / "labels.csv", header + "a,1,3,0,0,Adequate\nb,1,1,0,maybe,Adequate\nc,1,1,0,0,fair\nd,,1,0,0,\n")
    photographs(tmp_path / "fundus_photos", "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    collection, problems = read("ward", SourceSettings("brset", str(tmp_path)))
    assert collection.examples == ()
    assert [(problem.row, problem.message.split(" must")[0]) for problem in problems] == [
        (2, "eye of image a"),
        (3, "oedema of image b"),
        (4, "gradable of image c"),
        (5, "patient of image d"),
    ]


def aptos_without_images(root: Path) -> None:
    table(root / "train.csv", "id_code,diagnosis\na,0\nb,9\n")


def aptos_without_table(root: Path) -> None:
    photographs(root / "train_images", "a.png")


def aptos_without_column(root: Path) -> None:
    table(root / "train.csv", "id_code,level\na,0\n")
    photographs(root / "train_images", "a.png")


def aptos_empty(root: Path) -> None:
    table(root / "train.csv", "id_code,diagnosis\n")
    photographs(root / "train_images", "a.png")


@pytest.mark.parametrize(
    ("lay", "expected"),
    [
        (
            aptos_without_images,
            ["train_images: must be a folder with images, got none", "train.csv, row 3: grade must"],
        ),
        (aptos_without_table, ["train.csv: must exist, got no such file"]),
        (aptos_without_column, ["train.csv: must have the column diagnosis, got id_code, level"]),
        (aptos_empty, [": must hold graded photographs, got none"]),
    ],
)
def test_incomplete_download(tmp_path: Path, lay: Callable[[Path], None], expected: list[str]) -> None:
    lay(tmp_path)
    collection, problems = read("ward", SourceSettings("aptos2019", str(tmp_path)))
    assert collection.examples == ()
    assert len(problems) == len(expected)
    assert all(words in str(problem) for words, problem in zip(expected, problems, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_and_empty_root(tmp_path: Path, layout: str) -> None:
    for root in ("", str(tmp_path / "absent")):
        collection, problems = read("ward", SourceSettings(layout, root))
        assert collection.examples == ()
        assert str(problems[0]).startswith("data.sources.ward.root: must be the folder of the data set")
    assert read("ward", SourceSettings(layout, str(tmp_path)))[1] != ()


def test_unknown_layout() -> None:
    with pytest.raises(ValueError, match=r"data\.sources\.ward\.layout must be one of aptos2019, eyepacs"):
        read("ward", SourceSettings("aptos", "."))


REAL_GRADES = {
    "aptos2019": ("aptos2019", [1805, 370, 999, 193, 295]),
    "eyepacs": ("eyepacs", [711, 59, 142, 22, 26]),
    "messidor2_a": ("messidor2", [141, 48, 118, 46, 19]),
    "messidor2_b": ("messidor2", [549, 63, 57, 4, 14]),
    "retinamnist": ("retinamnist", [714, 186, 326, 282, 92]),
}


def read_real(real_data: Path, name: str) -> Collection:
    return read_whole(REAL_GRADES[name][0], real_data / name)


@pytest.mark.parametrize("name", REAL_GRADES)
def test_real_grades(real_data: Path, name: str) -> None:
    collection = read_real(real_data, name)
    counts = Counter(example.grade for example in collection.examples)
    assert [counts[grade] for grade in range(5)] == REAL_GRADES[name][1]
    assert collection.set_aside == ()


def test_real_eyepacs_has_both_eyes_of_every_patient(real_data: Path) -> None:
    by_patient = Counter((example.patient, example.eye) for example in read_real(real_data, "eyepacs").examples)
    patients = {patient for patient, _ in by_patient}
    assert by_patient == {(patient, eye): 1 for patient in patients for eye in (L, R)}


@pytest.mark.parametrize(("name", "positive"), [("messidor2_a", 94), ("messidor2_b", 7)])
def test_real_messidor2_oedema(real_data: Path, name: str, positive: int) -> None:
    assert Counter(oedema(read_real(real_data, name)))[True] == positive


def test_real_messidor2_pairs(real_data: Path) -> None:
    collection = read_real(real_data, "messidor2_b")
    images = Counter(example.patient for example in collection.examples)
    assert collection.patients is Identification.INFERRED
    assert Counter(images.values()) == {2: 332, 1: 23}
