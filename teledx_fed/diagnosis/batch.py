"""Batch diagnosis of many studies into a folder; a bad file does not stop the batch."""

import json
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from teledx_fed.core.clinical import Diagnosis, Study, StudyImage
from teledx_fed.core.errors import ConfigurationError, DataError, TeledxError
from teledx_fed.core.failures import line_for_person
from teledx_fed.core.files import make_folder, write_bytes, write_text
from teledx_fed.core.reports import SILENT, Reporter
from teledx_fed.data.photographs import MOST_PIXELS
from teledx_fed.data.preprocessing import place
from teledx_fed.diagnosis import pdf
from teledx_fed.diagnosis.collisions import NAME, Collision, Place, collisions, mark_shared
from teledx_fed.diagnosis.diagnose import assess_photograph, diagnose
from teledx_fed.diagnosis.fhir.export import bundle as fhir_bundle
from teledx_fed.diagnosis.heat_map import overlay, sentence
from teledx_fed.diagnosis.intake import MOST_IMAGES, PhotographUpload, StudyUpload, open_upload
from teledx_fed.diagnosis.judgement import PhotographResult
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.diagnosis.results import ResultRow, as_json, row_of, write_csv
from teledx_fed.diagnosis.study_files import identity_of
from teledx_fed.model.bundle import Bundle

RESULTS = "results.csv"
RELEASE = version("teledx-fed")


def run(
    submissions: Sequence[StudyUpload],
    bundle: Bundle,
    referral: ReferralSettings,
    out: Path,
    reporter: Reporter = SILENT,
    key: bytes | None = None,
    most_pixels: int = MOST_PIXELS,
) -> int:
    """Write `results.csv` and the files of each study; return how many photographs have an error in their row.

    With the hospital's `key`, a study with the same names has the same id in every batch. The reporter gets each
    collision and each error, with file names, for the hospital only. Colliding studies are still diagnosed; a clinician
    reads those that share a photograph.
    """
    if (out / RESULTS).exists():
        raise ConfigurationError(f"--out must be a new folder, got {out}, which holds results. Name another.")
    ids, duplicates = identities(submissions, key or secrets.token_bytes()), collisions(submissions)
    for collision in duplicates:
        reporter.message(
            f"{_described(submissions, collision.place)}: {collision.sentence(partial(_described, submissions))}"
        )
    rows: list[ResultRow] = []
    for number, submission in enumerate(mark_shared(submissions, duplicates)):
        of_study = [collision for collision in duplicates if collision.place[0] == number]
        study_rows = _diagnose_study(submission, ids[number], bundle, referral, out, most_pixels)
        for row in study_rows:
            if row.error:
                reporter.message(row.error if row.error.startswith(row.file) else f"{row.file}: {row.error}")
        rows += [replace(row, collision=_collision(row.file, submission, of_study, ids)) for row in study_rows]
        reporter.progress(number + 1, len(submissions))
    write_csv(rows, out / RESULTS)
    return sum(bool(row.error) for row in rows)


def identities(submissions: Sequence[StudyUpload], key: bytes) -> list[str]:
    """Return a distinct id for each study, also where studies have the same names."""
    occurrences: Counter[tuple[str, str, str]] = Counter()
    ids = []
    for submission in submissions:
        names = (submission.source, submission.patient or "", submission.key)
        ids.append(identity_of(submission, key, occurrences[names]))
        occurrences[names] += 1
    return ids


def _described(submissions: Sequence[StudyUpload], place: Place) -> str:
    submission = submissions[place[0]]
    return f"{submission.photographs[place[1]].file} of study {submission.key}"


def _collision(file: str, submission: StudyUpload, of_study: Sequence[Collision], ids: Sequence[str]) -> str:
    """Describe the collisions of a file by study ids: only the first column of the table has names."""
    files = [str(upload.file) for upload in submission.photographs]
    of_file = (collision for collision in of_study if collision.what is NAME or files[collision.place[1]] == file)
    descriptions = (
        collision.sentence(lambda place: f"file {place[1] + 1} of study {ids[place[0]]}") for collision in of_file
    )
    return "; ".join(dict.fromkeys(descriptions))


def _diagnose_study(
    upload: StudyUpload, identity: str, bundle: Bundle, referral: ReferralSettings, out: Path, most_pixels: int
) -> list[ResultRow]:
    """Diagnose one study; a photograph that cannot be read gets a row with the reason, and the others are diagnosed."""
    failed, images, results = list[ResultRow](), list[StudyImage](), list[PhotographResult]()
    readable = list[PhotographUpload]()
    for number, photograph in enumerate(upload.photographs):
        try:
            image = _image(photograph, number, most_pixels)
            results.append(assess_photograph(image, bundle))
        except TeledxError as error:
            failed.append(_failed(photograph, identity, str(error)))
        else:
            images.append(image)
            readable.append(photograph)
    if not images:
        return failed
    study = Study(identity, tuple(images), record=upload.record)
    try:
        diagnosis, compared = diagnose(study, results, bundle, referral)
    except Exception as error:  # noqa: BLE001 - one study must not end the batch
        reason = str(error) if isinstance(error, TeledxError | OSError) else line_for_person(error, make_folder(out))
        return failed + [_failed(photograph, identity, reason) for photograph in readable]
    _write(study, diagnosis, compared, referral, out)
    return failed + [
        row_of(photograph.file, study, result, diagnosis, _number(photograph))
        for photograph, result in zip(readable, compared, strict=True)
    ]


def _image(photograph: PhotographUpload, number: int, most_pixels: int) -> StudyImage:
    """Open a photograph; raise a `DataError` if the file cannot be read or the study has too many."""
    try:
        if number >= MOST_IMAGES:
            raise DataError(f"{photograph.file} must be one of at most {MOST_IMAGES} of a study. Split the study.")
        image, _ = open_upload(photograph, most_pixels)
        return image
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"{photograph.file} must be a file that can be read, got: {reason}. Correct its path or permissions."
        ) from error


def _failed(photograph: PhotographUpload, identity: str, reason: str) -> ResultRow:
    return ResultRow(str(photograph.file), study=identity, error=reason, row=_number(photograph))


def _number(photograph: PhotographUpload) -> str:
    return "" if photograph.row is None else str(photograph.row)


def _write(
    study: Study, diagnosis: Diagnosis, results: Sequence[PhotographResult], referral: ReferralSettings, out: Path
) -> None:
    now, pictures = datetime.now(UTC), {result.eye: _picture(result) for result in reversed(results)}
    write_text(out / f"{study.id}.json", json.dumps(as_json(study, diagnosis), indent=1) + "\n")
    page = pdf.report(study, diagnosis, None, pictures, now, referral.guideline, RELEASE)
    resources = fhir_bundle(study, diagnosis, None, now, RELEASE, pdf=page)
    write_text(out / f"{study.id}.fhir.json", json.dumps(resources, indent=1) + "\n")
    write_bytes(out / f"{study.id}.pdf", page)


def _picture(result: PhotographResult) -> pdf.ReportPicture:
    assert result.pixels is not None
    if result.heat is None:
        return pdf.ReportPicture(result.pixels)
    disc = None if result.disc is None else complex(result.disc.x, result.disc.y)
    overlaid = overlay(result.pixels, result.heat, place(result.pixels))
    return pdf.ReportPicture(result.pixels, overlaid, sentence(result.heat, result.eye, disc))
