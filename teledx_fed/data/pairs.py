"""Which photographs of Messidor-2 show one patient: from the list of pairs, or presumed from their names."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from teledx_fed.core.examples import Patients
from teledx_fed.data.listing import stem
from teledx_fed.data.problems import Problem
from teledx_fed.data.tables import Row, on_disk, read_table, spelling


@dataclass(frozen=True)
class Pairs:
    """Patient and eye by the spelling of an image's name; `unnamed` is the patient of an image that is not there."""

    owners: Mapping[str, tuple[str, str]]
    patients: Patients
    unnamed: str | None
    problems: tuple[Problem, ...] = ()

    def owner(self, image: str) -> tuple[str | None, str]:
        return self.owners.get(spelling(image), (self.unnamed, ""))


def messidor2_pairs(listed: Path, images: Iterable[str]) -> Pairs:
    if not on_disk(listed).exists():
        return Pairs(_inferred(map(spelling, images)), Patients.INFERRED, None)
    table = read_table(listed, "left", "right", header=False)
    return Pairs(_listed(table.rows), Patients.GIVEN, "", table.problems)


def _listed(rows: Iterable[Row]) -> dict[str, tuple[str, str]]:
    owners = {}
    for row in rows:
        left, right = (spelling(stem(row[eye])) for eye in ("left", "right"))
        owners[left] = (left or right, "left")
        owners[right] = (left or right, "right")
    return owners


def _inferred(images: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Photographs taken in one go are presumed to show one patient.

    Of two patients within one minute this makes one, which costs precision; the opposite error would put
    one patient on two sides of a split. Names of another form say nothing, and are left out.
    """
    owners = {}
    last_series, last_number, patient = "", 0, ""
    for (series, number, reach), image in sorted((taken, image) for image in images if (taken := _taken(image))):
        if series != last_series or number - last_number > reach:
            patient = image
        owners[image] = (patient, "")
        last_series, last_number = series, number
    return owners


def _taken(image: str) -> tuple[str, int, int] | None:
    """The series that an image belongs to, its number there, and how far one patient's numbers lie apart; None of
    another form of name.

    `20051020_43808_0100_pp` was taken on that day, at that second of it, in the hospital or room 0100.
    """
    if match := re.fullmatch(r"im(\d+)", image):
        return "im", int(match[1]), 1
    if match := re.fullmatch(r"(\d{8})_(\d+)_(\d{4})_\w+", image):
        return f"{match[1]} {match[3]}", int(match[2]), 60
    return None
