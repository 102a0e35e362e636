"""Layout of Messidor-2, whose patients come from a list of pairs or from the names of the images."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from teledx_fed.config.data import SourceSettings
from teledx_fed.core.examples import Field, Identification
from teledx_fed.data.listing import Listing, ListingEntry, image_folder, stem
from teledx_fed.data.problems import Problem
from teledx_fed.data.tables import Row, on_disk, read_table, spelling


@dataclass(frozen=True)
class Pairs:
    """Patient and eye by the spelling of an image's name; `unlisted` is the patient of an image without a pair."""

    owners: Mapping[str, tuple[str, str]]
    patients: Identification
    unlisted: str | None
    problems: tuple[Problem, ...] = ()

    def owner(self, image: str) -> tuple[str | None, str]:
        return self.owners.get(spelling(image), (self.unlisted, ""))


def messidor2(root: Path, source: SourceSettings) -> Listing:
    """Take patients from the list of pairs, or, without that file, infer them from the names of the images."""
    columns = ("image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable")
    labels = read_table(root / "messidor_data.csv", *columns)
    images = image_folder(root / "IMAGES")
    pairs = _pairs(root / "messidor-2.csv", [stem(row["image_id"]) for row in labels.rows])
    entries = []
    for row in labels.rows:
        image = stem(row["image_id"])
        patient, eye = pairs.owner(image)
        entry = ListingEntry(
            row,
            image,
            images.find(image),
            grade=row.code("adjudicated_dr_grade"),
            patient=patient,
            eye=eye,
            field=Field.MACULA,
            oedema=row.code("adjudicated_dme"),
            gradable=row.code("adjudicated_gradable"),
        )
        entries.append(entry)
    return Listing(entries, pairs.patients, labels.problems + pairs.problems + images.problems, [images.files])


def _pairs(listed: Path, images: Iterable[str]) -> Pairs:
    if not on_disk(listed).exists():
        return Pairs(_inferred(map(spelling, images)), Identification.INFERRED, None)
    table = read_table(listed, "left", "right", header=False)
    return Pairs(_listed(table.rows), Identification.GIVEN, "", table.problems)


def _listed(rows: Iterable[Row]) -> dict[str, tuple[str, str]]:
    owners = {}
    for row in rows:
        left, right = (spelling(stem(row[eye])) for eye in ("left", "right"))
        owners[left] = (left or right, "left")
        owners[right] = (left or right, "right")
    return owners


def _inferred(images: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Count photographs taken in one series as one patient. Names of another form are left out.

    Two patients within one minute become one, which only costs precision; the opposite error would put one patient on
    two sides of a split.
    """
    owners = {}
    last_series, last_number, patient = "", 0, ""
    for (series, number, step), image in sorted((place, image) for image in images if (place := _place(image))):
        if series != last_series or number - last_number > step:
            patient = image
        owners[image] = (patient, "")
        last_series, last_number = series, number
    return owners


def _place(image: str) -> tuple[str, int, int] | None:
    """Return the series of an image, its number there, and the largest step between two numbers of one patient.

    None for a name of another form. `20051020_43808_0100_pp` was taken on that day, at that second of it, in the
    hospital or room 0100.
    """
    if match := re.fullmatch(r"im(\d+)", image):
        return "im", int(match[1]), 1
    if match := re.fullmatch(r"(\d{8})_(\d+)_(\d{4})_\w+", image):
        return f"{match[1]} {match[3]}", int(match[2]), 60
    return None
