"""Many studies at once, into a folder; one bad file never ends it."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from teledx_fed.clinical import Diagnosis, Study
from teledx_fed.data.preprocessing import place
from teledx_fed.diagnosis import fhir, pdf
from teledx_fed.diagnosis.diagnose import Picture, diagnose
from teledx_fed.diagnosis.heat_map import overlay, sentence
from teledx_fed.diagnosis.intake import Submission, study_of
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.diagnosis.results import Row, as_json, row, write_csv
from teledx_fed.files import write_bytes, write_text
from teledx_fed.model.bundle import Bundle

RESULTS = "results.csv"
RELEASE = version("teledx-fed")
Advance = Callable[[int, int], None]


def run(
    submissions: Sequence[Submission], bundle: Bundle, referral: ReferralSettings, out: Path, advance: Advance
) -> int:
    """Writes `results.csv`, and a file for each study; returns how many photographs have an error in their row."""
    if (out / RESULTS).exists():
        raise ValueError(f"--out must be a new folder, got {out}, which holds results. Name another.")
    rows: list[Row] = []
    for done, submission in enumerate(submissions, start=1):
        rows += _of(submission, bundle, referral, out)
        advance(done, len(submissions))
    write_csv(rows, out / RESULTS)
    return sum(bool(one.error) for one in rows)


def _of(submission: Submission, bundle: Bundle, referral: ReferralSettings, out: Path) -> list[Row]:
    study, unreadable = study_of(submission)
    rows = [Row(str(one.file), error=one.reason) for one in unreadable]
    if study is None:
        return rows
    files = [Path(image.photograph.name) for image in study.images]
    try:
        diagnosis, pictures = diagnose(study, bundle, referral)
    except ValueError as error:
        return rows + [Row(str(file), study.id, error=str(error)) for file in files]
    _write(study, diagnosis, pictures, referral, out)
    return rows + [row(file, study, picture.seen, diagnosis) for file, picture in zip(files, pictures, strict=True)]


def _write(
    study: Study, diagnosis: Diagnosis, pictures: Sequence[Picture], referral: ReferralSettings, out: Path
) -> None:
    now, shown = datetime.now(UTC), {picture.seen.eye: _shown(picture) for picture in reversed(pictures)}
    write_text(out / f"{study.id}.json", json.dumps(as_json(study, diagnosis), indent=1) + "\n")
    resources = fhir.bundle(study, diagnosis, None, now, RELEASE)
    write_text(out / f"{study.id}.fhir.json", json.dumps(resources, indent=1) + "\n")
    page = pdf.report(study, diagnosis, None, shown, now, referral.guideline, RELEASE)
    write_bytes(out / f"{study.id}.pdf", page)


def _shown(picture: Picture) -> pdf.Shown:
    if picture.heat is None:
        return pdf.Shown(picture.pixels)
    disc = None if picture.disc is None else complex(picture.disc.x, picture.disc.y)
    laid_over = overlay(picture.pixels, picture.heat, place(picture.pixels))
    return pdf.Shown(picture.pixels, laid_over, sentence(picture.heat, picture.seen.eye, disc))
