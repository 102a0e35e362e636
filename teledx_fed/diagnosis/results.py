"""Results of a batch: a CSV row for each photograph, and each study as JSON."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from teledx_fed.core.clinical import Diagnosis, Study
from teledx_fed.core.files import write_text
from teledx_fed.diagnosis.judgement import PhotographResult
from teledx_fed.diagnosis.signing import marks

DIAGNOSES = TypeAdapter(Diagnosis)
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins with one of these for a formula."""


@dataclass(frozen=True)
class ResultRow:
    """The result of one photograph; a missing value is empty. Only `file` contains names: it is for the hospital.

    `row` is the line of the caller's table that names the photograph (the header is line 1). `collision`: which files
    in the batch are the same photograph, or have a study of the same name.
    """

    file: str
    study: str = ""
    eye: str = ""
    field: str = ""
    faults: str = ""
    grade: str = ""
    probabilities: str = ""
    referable: str = ""
    oedema: str = ""
    certainty: str = ""
    action: str = ""
    patient_action: str = ""
    reasons: str = ""
    model: str = ""
    error: str = ""
    collision: str = ""
    note: str = ""
    row: str = ""


def row_of(file: Path, study: Study, result: PhotographResult, diagnosis: Diagnosis, number: str = "") -> ResultRow:
    """Make a row: grade, scores and faults are the photograph's; certainty and action the eye's and patient's.

    The row of an ungradable photograph has no grade and no scores.
    """
    eye = next(eye for eye in diagnosis.eyes if eye.eye is result.eye)
    graded = None if result.faults else result.graded
    return ResultRow(
        file=str(file),
        study=study.id,
        eye=result.eye,
        field=result.field,
        faults=" ".join(result.faults),
        grade=str(graded.grade) if graded else "",
        probabilities=" ".join(f"{value:.4f}" for value in graded.probabilities) if graded else "",
        referable=f"{graded.referable:.4f}" if graded else "",
        oedema=f"{graded.oedema:.4f}" if graded and graded.oedema is not None else "",
        certainty=eye.certainty,
        action=eye.action,
        patient_action=diagnosis.action,
        reasons=" ".join(dict.fromkeys((*eye.reasons, *diagnosis.reasons))),
        model=diagnosis.model,
        note=" ".join(marks(diagnosis)),
        row=number,
    )


def write_csv(rows: Iterable[ResultRow], path: Path) -> None:
    """Write the rows as CSV; a quote before a cell stops spreadsheets from reading it as a formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [field.name for field in fields(ResultRow)]
    writer.writerow(names)
    writer.writerows([_plain(getattr(row, name)) for name in names] for row in rows)
    write_text(path, file.getvalue())


def as_json(study: Study, diagnosis: Diagnosis) -> Mapping[str, Any]:
    """Return a study as JSON values: enums by their codes, the patient by the pseudonym.

    An ungradable eye has neither `grade` nor `graded`.
    """
    values = DIAGNOSES.dump_python(diagnosis, mode="json")
    for eye, item in zip(diagnosis.eyes, values["eyes"], strict=True):
        item["grade"] = eye.grade
        if eye.grade is None:
            item["graded"] = None
    return {"study": study.id, "patient": study.patient, "note": " ".join(marks(diagnosis)), **values}


def _plain(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULAS) else cell
