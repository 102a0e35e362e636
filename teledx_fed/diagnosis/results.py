"""What a batch leaves: a row for each photograph, and each study as JSON."""

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
"""What a spreadsheet would take a cell that begins so for."""


@dataclass(frozen=True)
class ResultRow:
    """One photograph; `file` is for the hospital's own eyes, and no other column holds a name.

    Empty is what was not found out. `row` is the line of the caller's table that names the photograph, the header being
    line 1; empty without a table. `collision`: what else in the batch is the same photograph, or called the same.
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
    """`grade` and what follows from it are the photograph's own; certainty and action its eye's and its patient's."""
    eye = next(eye for eye in diagnosis.eyes if eye.eye is result.eye)
    graded = result.graded
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
    """No cell is taken for a formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [field.name for field in fields(ResultRow)]
    writer.writerow(names)
    writer.writerows([_plain(getattr(one, name)) for name in names] for one in rows)
    write_text(path, file.getvalue())


def as_json(study: Study, diagnosis: Diagnosis) -> Mapping[str, Any]:
    """Enums as their codes; of the patient the pseudonym alone."""
    told = DIAGNOSES.dump_python(diagnosis, mode="json")
    for eye, values in zip(diagnosis.eyes, told["eyes"], strict=True):
        values["grade"] = eye.grade
    return {"study": study.id, "patient": study.patient, "note": " ".join(marks(diagnosis)), **told}


def _plain(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULAS) else cell
