"""Rows of results.csv and the JSON of a study."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from teledx_fed.core.clinical import Certainty, Diagnosis, Fault, Graded, PatientRecord, Study
from teledx_fed.core.examples import Eye, Field
from teledx_fed.diagnosis.judgement import PhotographResult, judge
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.diagnosis.results import ResultRow, as_json, row_of, write_csv

SEVERE = Graded((0.0, 0.0, 0.1, 0.8, 0.1), (3,), 1.0, 0.9, True, True, 0.7)
SHARP = PhotographResult(Eye.LEFT, Field.MACULA, graded=SEVERE)
BLURRED = replace(SHARP, faults=(Fault.BLURRED,))


def diagnosis_of(*results: PhotographResult) -> Diagnosis:
    return judge(results, PatientRecord(), ReferralSettings(), "digest", False)


def scores(row: ResultRow) -> set[str]:
    return {row.grade, row.probabilities, row.referable, row.oedema}


def test_the_row_of_an_ungradable_photograph_has_no_grade_and_no_scores() -> None:
    diagnosis = diagnosis_of(SHARP, BLURRED)
    sharp, blurred = (row_of(Path("a.png"), Study("s", ()), one, diagnosis) for one in (SHARP, BLURRED))
    assert (sharp.grade, sharp.referable, sharp.oedema) == ("3", "1.0000", "0.7000")
    assert scores(blurred) == {""}
    assert (blurred.faults, blurred.action) == ("blurred", sharp.action)


def test_the_json_of_an_ungradable_eye_has_no_grade_and_no_scores() -> None:
    diagnosis = diagnosis_of(replace(SHARP, eye=Eye.RIGHT), BLURRED)
    right, left = as_json(Study("s", ()), diagnosis)["eyes"]
    assert (right["grade"], right["graded"]["referable"]) == (3, 1.0)
    assert (left["certainty"], left["grade"], left["graded"]) == (Certainty.UNGRADABLE, None, None)
    assert left["action"] == "urgent", "disease in a poor photograph is still reported"


@pytest.mark.parametrize("cell", ["=1+1", "+cmd", "-2", "@sum", "\tx"])
def test_a_spreadsheet_reads_no_file_name_as_a_formula(tmp_path: Path, cell: str) -> None:
    write_csv([ResultRow(cell)], tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["file"] == f"'{cell}"
