"""Layouts of public data sets, as downloaded."""

import re
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from teledx_fed.config.data import SourceSettings
from teledx_fed.core.examples import Field, Identification
from teledx_fed.data.array_photographs import ArrayPhotograph
from teledx_fed.data.listing import Listing, ListingEntry, image_folder, joined, stem
from teledx_fed.data.problems import Problem
from teledx_fed.data.tables import Row, code, first_on_disk, read_table

SIDES = {"l": ("left", "right"), "r": ("right", "left")}
"""The letters in DeepDRiD's file names: the eye that each stands for, and the other eye."""


def aptos2019(root: Path, source: SourceSettings) -> Listing:
    """List the training set of APTOS 2019 (Kaggle); it does not identify patients."""
    labels = read_table(root / "train.csv", "id_code", "diagnosis")
    images = image_folder(root / "train_images")
    entries = [
        ListingEntry(row, stem(row["id_code"]), images.find(row["id_code"]), grade=row.code("diagnosis"))
        for row in labels.rows
    ]
    return Listing(entries, Identification.UNKNOWN, labels.problems + images.problems, [images.files])


def eyepacs(root: Path, source: SourceSettings) -> Listing:
    """List the training set of EyePACS (Kaggle 2015); names such as `10_left` give patient and eye."""
    labels = read_table(root / "trainLabels.csv", "image", "level")
    images = image_folder(root / "train")
    entries = []
    for row in labels.rows:
        image = stem(row["image"])
        patient, _, eye = image.rpartition("_")
        files, grade = images.find(image), row.code("level")
        entries.append(ListingEntry(row, image, files, grade=grade, patient=patient, eye=code(eye)))
    return Listing(entries, Identification.GIVEN, labels.problems + images.problems, [images.files])


def idrid(root: Path, source: SourceSettings) -> Listing:
    """List both sets of IDRiD's disease grading; names repeat between the sets."""
    parts = (("a", "Training"), ("b", "Testing"))
    return joined(_idrid(root / "B. Disease Grading", letter, name) for letter, name in parts)


def _idrid(root: Path, letter: str, name: str) -> Listing:
    table = root / "2. Groundtruths" / f"{letter}. IDRiD_Disease Grading_{name} Labels.csv"
    labels = read_table(table, "Image name", "Retinopathy grade", "Risk of macular edema")
    images = image_folder(root / "1. Original Images" / f"{letter}. {name} Set")
    entries = [
        ListingEntry(
            row,
            f"{name.casefold()}/{stem(row['Image name'])}",
            images.find(row["Image name"]),
            grade=row.code("Retinopathy grade"),
            field=Field.MACULA,
            oedema=row.code("Risk of macular edema"),
        )
        for row in labels.rows
    ]
    return Listing(entries, Identification.UNKNOWN, labels.problems + images.problems, [images.files])


def ddr(root: Path, source: SourceSettings) -> Listing:
    """List the three sets of DDR's grading; its grade 5 means ungradable."""
    return joined(_ddr(root / "DR_grading", split) for split in ("train", "valid", "test"))


def _ddr(root: Path, split: str) -> Listing:
    labels = read_table(root / f"{split}.txt", "image", "grade", header=False)
    images = image_folder(root / split)
    entries = [
        ListingEntry(
            row,
            f"{split}/{stem(row['image'])}",
            images.find(row["image"]),
            grade=row.code("grade"),
            gradable="no" if row.code("grade") == "5" else "yes",
        )
        for row in labels.rows
    ]
    return Listing(entries, Identification.UNKNOWN, labels.problems + images.problems, [images.files])


def deepdrid(root: Path, source: SourceSettings) -> Listing:
    """List the regular photographs of DeepDRiD, without its test set."""
    folder = root / "regular_fundus_images"
    return joined(_deepdrid(folder / f"regular-fundus-{split}") for split in ("training", "validation"))


def _deepdrid(folder: Path) -> Listing:
    """List photographs with the grade of their eye. `Overall quality` is not used: poor photographs have grades too."""
    labels = read_table(
        folder / f"{folder.name}.csv", "patient_id", "image_path", "left_eye_DR_Level", "right_eye_DR_Level"
    )
    images = image_folder(folder / "Images")
    entries, problems = [], [*labels.problems, *images.problems]
    for row in labels.rows:
        image = stem(row["image_path"])
        grades = {"left": row.code("left_eye_DR_Level"), "right": row.code("right_eye_DR_Level")}
        name = re.search(r"_([lr])\d*$", image.casefold())
        if name is None:
            message = f"image_path must be named after its eye, as 12_l1 or 12_r1 are, got {image}. Correct it."
            problems.append(row.problem(message, [file.name for file in images.find(image) or ()]))
            continue
        named_eye, other_eye = SIDES[name[1]]
        eye = named_eye if grades[named_eye] else other_eye  # 56_r3 and 56_l3 are named after the other eye
        entry = ListingEntry(
            row,
            f"{folder.name}/{image}",
            images.find(image),
            grade=grades[eye],
            patient=row.code("patient_id"),
            eye=eye,
        )
        entries.append(entry)
    return Listing(entries, Identification.GIVEN, problems, [images.files])


def brset(root: Path, source: SourceSettings) -> Listing:
    """List BRSET, whose table is `labels_brset.csv` or `labels.csv`; both eyes of a patient have one number."""
    table = first_on_disk(root / "labels_brset.csv", root / "labels.csv")
    labels = read_table(table, "image_id", "patient_id", "DR_ICDR")
    images = image_folder(root / "fundus_photos")
    eyes = {"1": "right", "2": "left"}
    entries = [
        ListingEntry(
            row,
            stem(row["image_id"]),
            images.find(row["image_id"]),
            grade=row.code("DR_ICDR"),
            patient=row.code("patient_id"),
            eye=eyes.get(row.code("exam_eye"), row.code("exam_eye")),
            field=Field.MACULA,
            oedema=row.code("macular_edema"),
            gradable=row.code("quality"),
            camera=row["camera"],
        )
        for row in labels.rows
    ]
    return Listing(entries, Identification.GIVEN, labels.problems + images.problems, [images.files])


def mbrset(root: Path, source: SourceSettings) -> Listing:
    """List mBRSET, photographs of a hand-held camera; names such as `12.3.jpg` begin with the patient."""
    labels = read_table(root / "labels_mbrset.csv", "file", "final_icdr")
    images = image_folder(root / "images")
    entries = [
        ListingEntry(
            row,
            stem(row["file"]),
            images.find(row["file"]),
            grade=row.code("final_icdr"),
            patient=stem(row["file"]).rpartition(".")[0],
            eye=row.code("laterality"),
            oedema=row.code("final_edema"),
            gradable=row.code("final_quality"),
            camera="Phelcom Eyer",
        )
        for row in labels.rows
    ]
    return Listing(entries, Identification.GIVEN, labels.problems + images.problems, [images.files])


def retinamnist(root: Path, source: SourceSettings) -> Listing:
    """Join the three splits of the file, since each site splits its own patients."""
    sizes = ("_224", "_128", "_64", "")
    file = root if root.suffix == ".npz" else first_on_disk(*(root / f"retinamnist{size}.npz" for size in sizes))
    try:
        with np.load(file) as arrays:
            labels = {split: arrays[f"{split}_labels"] for split in ("train", "val", "test")}
        row = Row(str(file))
        entries = [
            ListingEntry(row, f"{split}/{index}", [ArrayPhotograph(file, f"{split}_images", index)], str(grade))
            for split in labels
            for index, grade in enumerate(labels[split].reshape(len(labels[split])))
        ]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        problem = Problem(str(file), f"must be a RetinaMNIST file, got {error}. Download it again.")
        return Listing([], Identification.UNKNOWN, [problem])
    return Listing(entries, Identification.UNKNOWN)


PUBLIC_LAYOUTS = (aptos2019, eyepacs, idrid, ddr, deepdrid, brset, mbrset, retinamnist)
