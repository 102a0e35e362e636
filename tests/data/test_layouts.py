from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from dicom_files import RGB, saved
from dicom_files import photograph as dicom_photograph
from PIL import Image

from teledx_fed.config.data import SourceSettings
from teledx_fed.core.examples import Collection, Eye, Field, Identification, SetAsideReason
from teledx_fed.data.layouts import LAYOUTS, read
from teledx_fed.data.problems import Problem
from teledx_fed.data.walk import describe_not_taken

L, R, U = Eye.LEFT, Eye.RIGHT, Eye.UNKNOWN


def table(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def photographs(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "brown").save(path)


def read_whole(layout: str, root: Path, grading: Mapping[str, int] = {}) -> Collection:
    collection, problems = read("ward", SourceSettings(layout, str(root), dict(grading)))
    assert problems == ()
    return collection


def files(collection: Collection, root: Path) -> list[tuple[str, int, str]]:
    """Return path, grade and patient of each photograph."""
    return [(e.image.name.removeprefix(f"{root}/"), e.grade, e.patient) for e in collection.examples]


def eyes(collection: Collection) -> list[Eye]:
    return [example.eye for example in collection.examples]


def oedema(collection: Collection) -> list[bool | None]:
    return [example.oedema for example in collection.examples]


def set_aside(collection: Collection, root: Path) -> list[tuple[str, SetAsideReason]]:
    return [(image.name.removeprefix(f"{root}/"), image.reason) for image in collection.set_aside]


def test_aptos2019(tmp_path: Path) -> None:
    table(
        tmp_path / "train.csv", "\ufeffid_code,diagnosis \r\n000c1434d8d7,2\r\n001639a390f0, 4\r\n0024cdab0c1e,\r\n\r\n"
    )
    photographs(tmp_path / "train_images", "000c1434d8d7.png", "001639a390f0.JPG", "0024cdab0c1e.png", "unlisted.png")
    photographs(tmp_path / "test_images", "0005cfc8afb6.png")
    collection = read_whole("aptos2019", tmp_path)
    first, second = collection.examples
    assert (first.source, first.grade, first.patient, first.oedema, first.eye) == ("ward", 2, "000c1434d8d7", None, U)
    assert (second.image.name, second.grade) == (str(tmp_path / "train_images" / "001639a390f0.JPG"), 4)
    assert first.image.read().shape == (8, 8, 3)
    assert collection.patients is Identification.UNKNOWN
    assert set_aside(collection, tmp_path) == [("train_images/0024cdab0c1e.png", SetAsideReason.UNGRADED)]


def test_eyepacs(tmp_path: Path) -> None:
    table(tmp_path / "trainLabels.csv", "image,level\n10_left,0\n10_right,3\n13_left,1\n")
    photographs(tmp_path / "train", "10_left.jpeg", "10_right.jpeg", "13_left.jpeg")
    collection = read_whole("eyepacs", tmp_path)
    assert files(collection, tmp_path) == [
        ("train/10_left.jpeg", 0, "10"),
        ("train/10_right.jpeg", 3, "10"),
        ("train/13_left.jpeg", 1, "13"),
    ]
    assert eyes(collection) == [L, R, L]
    assert collection.patients is Identification.GIVEN


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


def test_messidor2_infers_patients_whatever_the_number_in_the_names(tmp_path: Path) -> None:
    """A name has a day, a second of the day, and four digits that are the same for one series."""
    table(tmp_path / "messidor_data.csv", MESSIDOR2.replace("_0100_", "_0400_"))
    photographs(tmp_path / "images", *(name.replace("_0100_", "_0400_") for name in MESSIDOR2_IMAGES))
    collection = read_whole("messidor2", tmp_path)
    assert collection.patients is Identification.INFERRED
    assert len({e.patient for e in collection.examples}) == 5
    assert all(e.patient_known for e in collection.examples)


@pytest.mark.parametrize(
    ("strange", "known", "patients", "alone"),
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
    tmp_path: Path, strange: str, known: Identification, patients: int, alone: int
) -> None:
    text, names = MESSIDOR2, " ".join(MESSIDOR2_IMAGES).replace(".JPG", ".jpg").replace("im000013", "IM000013")
    for name in strange.split():
        text, names = text.replace(name, f"eye-{name}"), names.replace(name, f"eye-{name}")
    table(tmp_path / "messidor_data.csv", text)
    photographs(tmp_path / "images", *names.split())
    collection = read_whole("messidor2", tmp_path)
    assert collection.patients is known
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


def test_idrid(tmp_path: Path) -> None:
    root = tmp_path / "B. Disease Grading"
    header = "Image name,Retinopathy grade,Risk of macular edema ,,,\n"
    labels = root / "2. Groundtruths"
    table(
        labels / "a. IDRiD_Disease Grading_Training Labels.csv", header + "IDRiD_001,3,2,,,\nIDRiD_002,0,1,,,\n,,,,,\n"
    )
    table(labels / "b. IDRiD_Disease Grading_Testing Labels.csv", header + "IDRiD_001,4,0,,,\n")
    photographs(root / "1. Original Images" / "a. Training Set", "IDRiD_001.jpg", "IDRiD_002.jpg")
    photographs(root / "1. Original Images" / "b. Testing Set", "IDRiD_001.jpg")
    collection = read_whole("idrid", tmp_path)
    assert files(collection, tmp_path) == [
        ("B. Disease Grading/1. Original Images/a. Training Set/IDRiD_001.jpg", 3, "training/IDRiD_001"),
        ("B. Disease Grading/1. Original Images/a. Training Set/IDRiD_002.jpg", 0, "training/IDRiD_002"),
        ("B. Disease Grading/1. Original Images/b. Testing Set/IDRiD_001.jpg", 4, "testing/IDRiD_001"),
    ]
    assert oedema(collection) == [True, True, False]
    assert collection.patients is Identification.UNKNOWN


def test_ddr_ungradable_is_not_a_grade(tmp_path: Path) -> None:
    root = tmp_path / "DR_grading"
    for split, lines in (
        ("train", "007-0004-000.jpg 0\n007-0005-000.jpg 5\n"),
        ("valid", "20170413102628830.jpg 4"),
        ("test", "20170323092644013.jpg 1\r\n"),
    ):
        table(root / f"{split}.txt", lines)
        photographs(root / split, *(line.split()[0] for line in lines.splitlines()))
    collection = read_whole("ddr", tmp_path)
    assert files(collection, tmp_path) == [
        ("DR_grading/train/007-0004-000.jpg", 0, "train/007-0004-000"),
        ("DR_grading/valid/20170413102628830.jpg", 4, "valid/20170413102628830"),
        ("DR_grading/test/20170323092644013.jpg", 1, "test/20170323092644013"),
    ]
    assert set_aside(collection, tmp_path) == [("DR_grading/train/007-0005-000.jpg", SetAsideReason.UNGRADABLE)]


def test_deepdrid_takes_no_eye_from_a_name_without_one(tmp_path: Path) -> None:
    folder = tmp_path / "regular_fundus_images" / "regular-fundus-training"
    header = "patient_id,image_id,image_path,left_eye_DR_Level,right_eye_DR_Level\n"
    table(folder / "regular-fundus-training.csv", f"{header}4,4_l1,4_l1_retake.jpg,0,3\n")
    photographs(folder / "Images", "4_l1_retake.jpg")
    _, problems = read("deepdrid", SourceSettings("deepdrid", str(tmp_path)))
    assert any("named after its eye, as 12_l1 or 12_r1 are, got 4_l1_retake" in str(problem) for problem in problems)


def test_deepdrid_takes_the_grade_of_the_eye(tmp_path: Path) -> None:
    header = (
        "patient_id,image_id,image_path,Overall quality,left_eye_DR_Level,right_eye_DR_Level,"
        "patient_DR_Level,Clarity,Field definition,Artifact\n"
    )
    for split, rows in {
        "training": [
            "4,4_l1,{}\\4\\4_l1.jpg,0,3,,4,6,6,8",
            "4,4_r1,{}\\4\\4_r1.jpg,0,,4,4,8,6,6",
            "56,56_r3,{}\\56\\56_r3.jpg,0,1,,1,10,8,1",
            "57,57_r1,{}\\57\\57_r1.jpg,1,1,2,2,6,8,0",
        ],
        "validation": ["265,265_l1,{}\\265\\265_l1.jpg,1,0,,2,8,8,0", "265,265_l2,{}\\265\\265_l2.jpg,1,,,2,8,8,0"],
    }.items():
        folder = tmp_path / "regular_fundus_images" / f"regular-fundus-{split}"
        lines = [row.format(f"\\regular-fundus-{split}") for row in rows]
        table(folder / f"regular-fundus-{split}.csv", header + "\n".join(lines))
        photographs(folder / "Images", *("{}/{}.jpg".format(*line.split(",")) for line in lines))
    collection = read_whole("deepdrid", tmp_path)
    training, validation = (
        f"regular_fundus_images/regular-fundus-{split}/Images" for split in ("training", "validation")
    )
    assert files(collection, tmp_path) == [
        (f"{training}/4/4_l1.jpg", 3, "4"),
        (f"{training}/4/4_r1.jpg", 4, "4"),
        (f"{training}/56/56_r3.jpg", 1, "56"),
        (f"{training}/57/57_r1.jpg", 2, "57"),
        (f"{validation}/265/265_l1.jpg", 0, "265"),
    ]
    assert eyes(collection) == [L, R, L, R, L]
    assert collection.patients is Identification.GIVEN
    assert set_aside(collection, tmp_path) == [(f"{validation}/265/265_l2.jpg", SetAsideReason.UNGRADED)]


@pytest.mark.parametrize(("name", "encoding"), [("labels.csv", "latin-1"), ("labels_brset.csv", "utf-8-sig")])
def test_brset(tmp_path: Path, name: str, encoding: str) -> None:
    rows = (
        "image_id,patient_id,camera,patient_age,patient_sex,exam_eye,comorbidities,DR_ICDR,macular_edema,quality\n"
        'img00001,1,Canon CR,48,1,1,"diabetes, hipertensão",0,0,Adequate\n'
        "img00002,1,Canon CR,48,1,2,,4,1,Adequate\n"
        "img00003,2,NIKON NF5050,,2,2.0,,2.0,,Inadequate\n"
    )
    table(tmp_path / name, rows, encoding)
    photographs(tmp_path / "fundus_photos", "img00001.jpg", "img00002.jpg", "img00003.jpg")
    collection = read_whole("brset", tmp_path)
    assert files(collection, tmp_path) == [
        ("fundus_photos/img00001.jpg", 0, "1"),
        ("fundus_photos/img00002.jpg", 4, "1"),
    ]
    assert eyes(collection) == [R, L]
    assert oedema(collection) == [False, True]
    assert {e.camera for e in collection.examples} == {"Canon CR"}
    assert set_aside(collection, tmp_path) == [("fundus_photos/img00003.jpg", SetAsideReason.UNGRADABLE)]


def test_mbrset(tmp_path: Path) -> None:
    table(
        tmp_path / "labels_mbrset.csv",
        "patient,age,laterality,file,final_quality,final_icdr,final_edema\n"
        "1,50,right,1.1.jpg,yes,0.0,no\n1,50,left,1.3.jpg,yes,3.0,yes\n"
        "2,61,right,2.1.jpg,yes,,\n2,61,left,2.3.jpg,no,1.0,no\n",
    )
    photographs(tmp_path / "images", "1.1.jpg", "1.3.jpg", "2.1.jpg", "2.3.jpg")
    collection = read_whole("mbrset", tmp_path)
    assert files(collection, tmp_path) == [("images/1.1.jpg", 0, "1"), ("images/1.3.jpg", 3, "1")]
    assert eyes(collection) == [R, L]
    assert oedema(collection) == [False, True]
    assert set_aside(collection, tmp_path) == [
        ("images/2.1.jpg", SetAsideReason.UNGRADED),
        ("images/2.3.jpg", SetAsideReason.UNGRADABLE),
    ]


def retinamnist(path: Path, size: int) -> None:
    arrays = {
        f"{split}_{what}": values
        for split, grades in (("train", [0, 4]), ("val", [2]), ("test", [1]))
        for what, values in (
            ("images", np.full((len(grades), size, size, 3), size, np.uint8)),
            ("labels", np.array(grades, np.uint8)[:, None]),
        )
    }
    np.savez(path, **arrays)


def test_retinamnist_takes_the_largest(tmp_path: Path) -> None:
    for name, size in (("retinamnist", 7), ("retinamnist_64", 9), ("retinamnist_128", 11)):
        retinamnist(tmp_path / f"{name}.npz", size)
    collection = read_whole("retinamnist", tmp_path)
    assert files(collection, tmp_path) == [
        ("retinamnist_128.npz/train_images/0", 0, "train/0"),
        ("retinamnist_128.npz/train_images/1", 4, "train/1"),
        ("retinamnist_128.npz/val_images/0", 2, "val/0"),
        ("retinamnist_128.npz/test_images/0", 1, "test/0"),
    ]
    assert collection.examples[0].image.read().shape == (11, 11, 3)
    named = read_whole("retinamnist", tmp_path / "retinamnist_64.npz")
    assert named.examples[0].image.read().shape == (9, 9, 3)


@pytest.mark.parametrize("content", [b"", b"not an archive"])
def test_retinamnist_damaged_or_missing(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "retinamnist.npz"
    if content:
        file.write_bytes(content)
    _, problems = read("ward", SourceSettings("retinamnist", str(tmp_path)))
    assert [problem.message.split(",")[0] for problem in problems] == ["must be a RetinaMNIST file"]


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


def test_a_photograph_that_no_row_names_is_counted(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", "id_code,diagnosis\na,0\n")
    photographs(tmp_path / "train_images", "a.png", "b.png", "deep/c.jpg")
    assert describe_not_taken(read_whole("aptos2019", tmp_path).not_taken) == (
        "2 files are not taken: 1 .png, 1 .jpg (a photograph that no row of the table names)"
    )


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
    expected = [
        (5, "image twice must be listed once, got it in rows 5, 7. Keep the row that is right."),
        (7, "image TWICE must be listed once, got it in rows 5, 7. Keep the row that is right."),
        (3, "image gone must be one file, got none. Keep one, or remove its row."),
        (4, wrong_grade.format("7")),
        (6, f"image both must be one file, got {both}. Keep one, or remove its row."),
        (8, wrong_grade.format("x")),
        (8, "image gone_and_odd must be one file, got none. Keep one, or remove its row."),
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
