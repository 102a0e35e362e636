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
from teledx_fed.core.files import write_bytes, write_text
from teledx_fed.core.reports import SILENT, Reporter
from teledx_fed.data.photographs import MOST_PIXELS
from teledx_fed.data.preprocessing import place
from teledx_fed.diagnosis import pdf
from teledx_fed.diagnosis.collisions import NAME, Collision, Place, collisions, marked
from teledx_fed.diagnosis.diagnose import assess_photograph, diagnose
from teledx_fed.diagnosis.fhir.export import bundle as fhir_bundle
from teledx_fed.diagnosis.heat_map import overlay, sentence
from teledx_fed.diagnosis.intake import MOST_IMAGES, PhotographUpload, StudyUpload, opened
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
    ids, found = identities(submissions, key or secrets.token_bytes()), collisions(submissions)
    for collision in found:
        reporter.message(f"{_named(submissions, collision.place)}: {collision.told(partial(_named, submissions))}")
    rows: list[ResultRow] = []
    for number, submission in enumerate(marked(submissions, found)):
        own = [collision for collision in found if collision.place[0] == number]
        read = _of(submission, ids[number], bundle, referral, out, most_pixels)
        for one in read:
            if one.error:
                reporter.message(one.error if one.error.startswith(one.file) else f"{one.file}: {one.error}")
        rows += [replace(one, collision=_collision(one.file, submission, own, ids)) for one in read]
        reporter.progress(number + 1, len(submissions))
    write_csv(rows, out / RESULTS)
    return sum(bool(one.error) for one in rows)


def identities(submissions: Sequence[StudyUpload], key: bytes) -> list[str]:
    """Return a distinct id for each study, also where studies have the same names."""
    seen: Counter[tuple[str, str, str]] = Counter()
    ids = []
    for one in submissions:
        called = (one.source, one.patient or "", one.key)
        ids.append(identity_of(one, key, seen[called]))
        seen[called] += 1
    return ids


def _named(submissions: Sequence[StudyUpload], place: Place) -> str:
    submission = submissions[place[0]]
    return f"{submission.photographs[place[1]].file} of study {submission.key}"


def _collision(file: str, submission: StudyUpload, own: Sequence[Collision], ids: Sequence[str]) -> str:
    """Describe the collisions of a file by study ids: only the first column of the table has names."""
    files = [str(upload.file) for upload in submission.photographs]
    here = (collision for collision in own if collision.what is NAME or files[collision.place[1]] == file)
    told = (collision.told(lambda place: f"file {place[1] + 1} of study {ids[place[0]]}") for collision in here)
    return "; ".join(dict.fromkeys(told))


def _of(
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
    except (TeledxError, OSError) as error:
        return failed + [_failed(photograph, identity, str(error)) for photograph in readable]
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
        image, _ = opened(photograph, most_pixels)
        return image
    except OSError as error:
        got = error.strerror or error
        raise DataError(
            f"{photograph.file} must be a file that can be read, got: {got}. Correct its path or permissions."
        ) from error


def _failed(photograph: PhotographUpload, identity: str, reason: str) -> ResultRow:
    return ResultRow(str(photograph.file), study=identity, error=reason, row=_number(photograph))


def _number(photograph: PhotographUpload) -> str:
    return "" if photograph.row is None else str(photograph.row)


def _write(
    study: Study, diagnosis: Diagnosis, results: Sequence[PhotographResult], referral: ReferralSettings, out: Path
) -> None:
    now, shown = datetime.now(UTC), {result.eye: _shown(result) for result in reversed(results)}
    write_text(out / f"{study.id}.json", json.dumps(as_json(study, diagnosis), indent=1) + "\n")
    page = pdf.report(study, diagnosis, None, shown, now, referral.guideline, RELEASE)
    resources = fhir_bundle(study, diagnosis, None, now, RELEASE, pdf=page)
    write_text(out / f"{study.id}.fhir.json", json.dumps(resources, indent=1) + "\n")
    write_bytes(out / f"{study.id}.pdf", page)


def _shown(result: PhotographResult) -> pdf.Shown:
    assert result.pixels is not None
    if result.heat is None:
        return pdf.Shown(result.pixels)
    disc = None if result.disc is None else complex(result.disc.x, result.disc.y)
    laid_over = overlay(result.pixels, result.heat, place(result.pixels))
    return pdf.Shown(result.pixels, laid_over, sentence(result.heat, result.eye, disc))
