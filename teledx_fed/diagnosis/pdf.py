"""PDF report of a study, for print or for the archive."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from reportlab.graphics.shapes import Drawing, Rect, String
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, Paragraph, SimpleDocTemplate, Spacer, Table

from teledx_fed.core.clinical import Diagnosis, EyeDiagnosis, Reading, Study
from teledx_fed.core.examples import Eye
from teledx_fed.data.photographs import png
from teledx_fed.diagnosis import wording
from teledx_fed.diagnosis.signing import came_after, marks, status

INK, MUTED, LINE, BAD = HexColor("#1b1f24"), HexColor("#5b6269"), HexColor("#0072b2"), HexColor("#a83a06")
MARGIN = 16 * mm
COLUMN = (A4[0] - 2 * MARGIN) / 2
Styles = Mapping[str, ParagraphStyle]
PLACES = (Eye.RIGHT, Eye.LEFT, Eye.UNKNOWN)
"""Order of the columns: the right eye on the left, as when facing the patient."""


@dataclass(frozen=True)
class ReportPicture:
    """A photograph of an eye, the same under its heat map, both (height, width, 3), and the map's sentence."""

    photograph: NDArray[np.uint8]
    overlay: NDArray[np.uint8] | None = None
    sentence: str = ""


def report(
    study: Study,
    diagnosis: Diagnosis,
    reading: Reading | None,
    pictures: Mapping[Eye, ReportPicture],
    issued: datetime,
    guideline: str,
    release: str,
) -> bytes:
    """Return a PDF, A4, reproducible to the byte. `issued` has a time zone; `release` is the program's."""
    regular, bold = _fonts()
    late = reading is not None and came_after(study, reading)
    mark_line = " ".join([*marks(diagnosis), *([wording.UNSIGNED] if reading is None or late else [])])
    styles = _styles(regular, bold)

    def frame(canvas: Canvas, document: SimpleDocTemplate) -> None:
        canvas.setFont(bold, 8.5)
        canvas.setFillColor(BAD if diagnosis.demonstration else MUTED)
        canvas.drawString(MARGIN + 6, A4[1] - 10 * mm, mark_line)
        canvas.setFont(regular, 7)
        canvas.setFillColor(MUTED)
        canvas.drawString(MARGIN + 6, 9 * mm, f"teledx_fed {release}, model {diagnosis.model}")
        canvas.drawRightString(A4[0] - MARGIN - 6, 9 * mm, f"page {document.page}")

    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=17 * mm,
        bottomMargin=15 * mm,
        invariant=True,
        title="Diabetic retinopathy screening",
        author="teledx_fed",
    )
    report_status = status(study, diagnosis, reading)
    story: list[Flowable] = [
        Paragraph("Diabetic retinopathy screening", styles["title"]),
        Paragraph(
            f"Patient {_escaped(study.patient or 'unknown')}, study {study.id}"
            f"{f', photographed {_escaped(study.acquired)}' if study.acquired else ''}."
            f" Report of {issued:%d %B %Y, %H:%M %Z}, {report_status}.",
            styles["muted"],
        ),
        Spacer(1, 4 * mm),
        *([Paragraph(wording.REOPENED, styles["verdict"])] if late else []),
        *(_unsigned(diagnosis, styles) if reading is None else _signed(diagnosis, reading, styles)),
        Spacer(1, 4 * mm),
        _eyes(diagnosis.eyes, pictures, styles, regular),
        Spacer(1, 4 * mm),
        Paragraph(f"Intervals follow {_escaped(guideline)}.", styles["muted"]),
    ]
    document.build(story, onFirstPage=frame, onLaterPages=frame)
    return file.getvalue()


def _unsigned(diagnosis: Diagnosis, styles: Styles) -> list[Flowable]:
    """Return lines for a reading by hand: the reader signs a grade of each eye, not only the suggestion."""
    answers = "grade 0–4 ______ or not gradable ☐, macular oedema yes ☐ no ☐ cannot say ☐"
    lines = [
        *(f"{wording.EYES[eye.eye].capitalize()}, read: {answers}" for eye in diagnosis.eyes),
        "Management: ____________________________________________",
        "Read and signed by: ______________________________  on: ______________",
    ]
    suggested = Paragraph(f"Suggested: {wording.advice(diagnosis.action, diagnosis.months)}", styles["verdict"])
    return [suggested, Spacer(1, 2 * mm), *(Paragraph(line, styles["written"]) for line in lines)]


def _signed(diagnosis: Diagnosis, reading: Reading, styles: Styles) -> list[Flowable]:
    reader = f"{_escaped(reading.reader)}, {reading.time:%d %B %Y}"
    lines = [Paragraph(_escaped(line), styles["body"]) for line in wording.reading_sentences(reading)]
    return [
        Paragraph(f"{reader}: {wording.ACTIONS[reading.urgency]}.", styles["verdict"]),
        *lines,
        Paragraph(f"Suggested: {wording.advice(diagnosis.action, diagnosis.months)}", styles["muted"]),
    ]


def _eyes(eyes: Sequence[EyeDiagnosis], pictures: Mapping[Eye, ReportPicture], styles: Styles, font: str) -> Table:
    ordered = sorted(eyes, key=lambda eye: PLACES.index(eye.eye))
    columns = [_eye(eye, pictures.get(eye.eye), styles, font) for eye in ordered]
    table = Table([columns], colWidths=[COLUMN] * len(columns), hAlign="LEFT")
    table.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)])
    return table


def _eye(eye: EyeDiagnosis, picture: ReportPicture | None, styles: Styles, font: str) -> list[Flowable]:
    parts: list[Flowable] = [Paragraph(wording.EYES[eye.eye].capitalize(), styles["heading"])]
    if picture is not None:
        parts += [_picture(picture.photograph if picture.overlay is None else picture.overlay), Spacer(1, 2 * mm)]
    if eye.graded is not None and eye.grade is not None:
        parts.append(_bars(eye.graded.probabilities, font))
    parts += [Paragraph(_escaped(line), styles["body"]) for line in wording.eye_sentences(eye)]
    if picture is not None and picture.sentence:
        parts.append(Paragraph(_escaped(picture.sentence), styles["muted"]))
    return parts


def _picture(pixels: NDArray[np.uint8]) -> Image:
    step = max(1, max(pixels.shape[:2]) // 1000)
    small = np.ascontiguousarray(pixels[::step, ::step])
    width = COLUMN - 6 * mm
    height = min(width * small.shape[0] / small.shape[1], 80 * mm)
    return Image(io.BytesIO(png(small)), height * small.shape[1] / small.shape[0], height, hAlign="LEFT")


def _bars(probabilities: Sequence[float], font: str) -> Drawing:
    line, names = 4.4 * mm, 57 * mm
    drawing = Drawing(COLUMN - 6 * mm, line * len(probabilities) + 2 * mm)
    longest = COLUMN - 6 * mm - names - 14 * mm
    for grade, probability in enumerate(probabilities):
        y = line * (len(probabilities) - 1 - grade) + 2 * mm
        drawing.add(String(0, y, f"{grade} {wording.GRADE_NAMES[grade]}", fontName=font, fontSize=7.5, fillColor=INK))
        drawing.add(Rect(names, y - 0.5 * mm, longest, 2.6 * mm, fillColor=HexColor("#e8ebee"), strokeColor=None))
        drawing.add(Rect(names, y - 0.5 * mm, longest * probability, 2.6 * mm, fillColor=LINE, strokeColor=None))
        share = wording.percent(probability)
        drawing.add(String(names + longest + 2 * mm, y, share, fontName=font, fontSize=7.5, fillColor=INK))
    return drawing


def _styles(regular: str, bold: str) -> dict[str, ParagraphStyle]:
    body = ParagraphStyle("body", fontName=regular, fontSize=8.5, leading=11.5, textColor=INK)
    return {
        "body": body,
        "written": ParagraphStyle("written", body, leading=16),
        "muted": ParagraphStyle("muted", body, fontSize=7.5, leading=10, textColor=MUTED),
        "title": ParagraphStyle("title", body, fontName=bold, fontSize=15, leading=20),
        "heading": ParagraphStyle("heading", body, fontName=bold, fontSize=10, leading=14),
        "verdict": ParagraphStyle("verdict", body, fontName=bold, fontSize=11, leading=15),
    }


@cache
def _fonts() -> tuple[str, str]:
    """Register matplotlib's DejaVu fonts, which cover more scripts than PDF's standard fonts."""
    spec = find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    for name, file in (("Report", "DejaVuSans.ttf"), ("Report-Bold", "DejaVuSans-Bold.ttf")):
        pdfmetrics.registerFont(TTFont(name, folder / file))
    return "Report", "Report-Bold"


def _escaped(text: str) -> str:
    """Escape text for a paragraph; write characters that the font lacks as `[U+XXXX]`."""
    glyphs = pdfmetrics.getFont("Report").face.charToGlyph
    printable = "".join(
        letter if ord(letter) in glyphs or letter == "\n" else f"[U+{ord(letter):04X}]" for letter in text
    )
    return printable.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", "<br/>")
