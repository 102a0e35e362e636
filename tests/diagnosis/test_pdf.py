"""PDF report: the same content as on the page, with the marks on each sheet."""

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from pypdf import PdfReader

from teledx_fed.core.clinical import (
    DEMONSTRATION,
    SUGGESTION,
    Action,
    Certainty,
    Diagnosis,
    EyeDiagnosis,
    EyeReading,
    Fault,
    Graded,
    Reading,
    Study,
)
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.pdf import ReportPicture, report

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GRADED = Graded((0.1, 0.6, 0.2, 0.05, 0.05), (1, 2), 0.3, 0.1, False, False, 0.2)
DIAGNOSIS = Diagnosis(
    eyes=(
        EyeDiagnosis(Eye.RIGHT, Certainty.UNCERTAIN, Action.HUMAN_READ, (), GRADED),
        EyeDiagnosis(Eye.LEFT, Certainty.UNGRADABLE, Action.RETAKE, (Fault.BLURRED,)),
    ),
    certainty=Certainty.UNGRADABLE,
    action=Action.HUMAN_READ,
    months=None,
    model="0123abcd" * 8,
    demonstration=False,
)
STUDY = Study("study-1", (), "pseudonym-1")
READING = Reading(
    "study-1", "Anna", NOW, (EyeReading(Eye.RIGHT, True, 2),), Action.REFER, None, True, "a haemorrhage", "nota bene"
)


def text(
    diagnosis: Diagnosis = DIAGNOSIS, reading: Reading | None = None, shown: Mapping[Eye, ReportPicture] = {}
) -> list[str]:
    content = report(STUDY, diagnosis, reading, shown, NOW, "the guideline", "0.1.0")
    return [" ".join(page.extract_text().split()) for page in PdfReader(io.BytesIO(content)).pages]


def test_an_unsigned_pdf_has_the_suggestion_and_says_that_it_is_preliminary() -> None:
    (page,) = text()
    for phrase in (
        "pseudonym-1",
        "most likely mild non-proliferative retinopathy",
        "the photograph is blurred",
        "A clinician reads the photographs",
        "cannot confirm it",
        "60 %",
        "Read and signed by",
        "Preliminary, not signed",
        "the guideline",
        DIAGNOSIS.model,
    ):
        assert phrase in page, phrase
    assert page.index("Right eye") < page.index("Left eye")


def test_the_model_page_says_that_the_model_does_not_decide_urgency() -> None:
    right, *others = DIAGNOSIS.eyes
    assert right.graded is not None
    undecided = replace(right, graded=replace(right.graded, is_urgent=None, refers=None))
    (page,) = text(replace(DIAGNOSIS, eyes=(undecided, *others)))
    for disease in ("Referable", "Vision-threatening"):
        assert re.search(f"{disease} disease: [^:]*, not decided by the model: this site has too few eyes", page)


def test_the_unsigned_report_has_lines_for_a_grade_of_each_eye() -> None:
    (page,) = text()
    for eye in ("Right eye", "Left eye"):
        line = page.partition(f"{eye}, read:")[2].partition("Management:")[0]
        assert [word for word in ("grade 0–4", "not gradable ☐", "cannot say ☐") if word not in line] == []
    assert page.index("Left eye, read:") < page.index("Read and signed by")
    assert "Right eye, read:" not in text(reading=READING)[0]


def test_a_signed_pdf_begins_with_the_clinicians_reading() -> None:
    (page,) = text(reading=READING)
    assert page.index("Anna") < page.index("Suggested:")
    assert "a haemorrhage" in page
    assert "not signed" not in page


@pytest.mark.parametrize("demonstration", [False, True])
def test_every_page_of_the_pdf_has_the_marks(demonstration: bool) -> None:
    pages = text(replace(DIAGNOSIS, demonstration=demonstration), replace(READING, note="word " * 2000))
    assert len(pages) > 1
    for page in pages:
        assert SUGGESTION in page
        assert (DEMONSTRATION in page) == demonstration


@pytest.mark.parametrize("note", ["Жанна & <b>", "Ελένη", "眼底", "\x00", "a\nb"])
def test_letters_of_any_script_are_shown_or_named(note: str) -> None:
    (page,) = text(reading=replace(READING, note=note))
    for letter in note.replace("\n", "").replace(" ", "").replace("\x00", ""):
        assert letter in page or f"[U+{ord(letter):04X}]" in page, letter


def test_equal_input_gives_equal_bytes_whatever_the_photographs() -> None:
    rng = np.random.default_rng(0)
    for shape in ((40, 60), (300, 1100), (1, 700)):
        shown = {Eye.RIGHT: ReportPicture(rng.integers(0, 256, (*shape, 3), dtype=np.uint8), None, "A sentence.")}
        made = {report(STUDY, DIAGNOSIS, None, shown, NOW, "x", "0.1.0") for _ in range(2)}
        assert len(made) == 1
