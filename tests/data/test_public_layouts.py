from pathlib import Path

import numpy as np
import pytest
from layout_files import L, R, U, eyes, files, oedema, photographs, read_whole, set_aside, table

from teledx_fed.config.data import SourceSettings
from teledx_fed.core.examples import Identification, SetAsideReason
from teledx_fed.data.layouts import read


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
