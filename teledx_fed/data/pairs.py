"""Which photographs of Messidor-2 show one patient: from the list of pairs, or presumed from their names."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from teledx_fed.data.listing import stem
from teledx_fed.data.problems import Problem
from teledx_fed.data.tables import Row, on_disk, read_table
from teledx_fed.records import Patients


@dataclass(frozen=True)
class Pairs:
    """Patient and eye by image name in lower case."""

    owners: Mapping[str, tuple[str, str]]
    patients: Patients
    problems: tuple[Problem, ...] = ()

    def owner(self, image: str) -> tuple[str, str]:
        return self.owners.get(image.casefold(), ("", ""))


def messidor2_pairs(listed: Path, images: Iterable[str]) -> Pairs:
    if not on_disk(listed).exists():
        return Pairs(_inferred(image.casefold() for image in images), Patients.INFERRED)
    table = read_table(listed, "left", "right", header=False)
    return Pairs(_listed(table.rows), Patients.GIVEN, table.problems)


def _listed(rows: Iterable[Row]) -> dict[str, tuple[str, str]]:
    owners = {}
    for row in rows:
        left, right = (stem(row[eye]).casefold() for eye in ("left", "right"))
        owners[left] = (left or right, "left")
        owners[right] = (left or right, "right")
    return owners


def _inferred(images: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Photographs taken in one go are presumed to show one patient.

    Of two patients within one minute this makes one, which costs precision; the opposite error would put
    one patient on two sides of a split.
    """
    owners = {}
    last_series, last_number, patient = "", 0, ""
    for image in sorted(images, key=_taken):
        series, number, reach = _taken(image)
        if series != last_series or number - last_number > reach:
            patient = image
        owners[image] = (patient, "")
        last_series, last_number = series, number
    return owners


def _taken(image: str) -> tuple[str, int, int]:
    """The series that an image belongs to, its number there, and how far one patient's numbers lie apart."""
    if match := re.fullmatch(r"im(\d+)", image):
        return "im", int(match[1]), 1
    if match := re.fullmatch(r"(\d{8})_(\d+)_0100_\w+", image):  # day and second of the day
        return match[1], int(match[2]), 60
    return image, 0, 0
