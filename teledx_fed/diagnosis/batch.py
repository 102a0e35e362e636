"""Many studies at once, into a folder; one bad file never ends it."""

import json
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from teledx_fed.core.clinical import Diagnosis, Study
from teledx_fed.core.errors import ConfigurationError, TeledxError
from teledx_fed.core.files import write_bytes, write_text
from teledx_fed.core.reports import SILENT, Reporter
from teledx_fed.data.photographs import MOST_PIXELS
from teledx_fed.data.preprocessing import place
from teledx_fed.diagnosis import pdf
from teledx_fed.diagnosis.collisions import NAME, Collision, Place, collisions, marked
from teledx_fed.diagnosis.diagnose import Picture, diagnose
from teledx_fed.diagnosis.fhir.export import bundle as fhir_bundle
from teledx_fed.diagnosis.heat_map import overlay, sentence
from teledx_fed.diagnosis.intake import Sent, Submission, identity_of, study_of
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.diagnosis.results import Row, as_json, row, write_csv
from teledx_fed.model.bundle import Bundle

RESULTS = "results.csv"
RELEASE = version("teledx-fed")


def run(
    submissions: Sequence[Submission],
    bundle: Bundle,
    referral: ReferralSettings,
    out: Path,
    reporter: Reporter = SILENT,
    key: bytes | None = None,
    most_pixels: int = MOST_PIXELS,
) -> int:
    """Writes `results.csv`, and a file for each study; returns how many photographs have an error in their row.

    With the hospital's `key`, a study that its sender calls the same has the same id in every batch. Each
    collision and each error is a message with names, for the hospital only. All that collides is kept, and a clinician
    reads it.
    """
    if (out / RESULTS).exists():
        raise ConfigurationError(f"--out must be a new folder, got {out}, which holds results. Name another.")
    ids, found = identities(submissions, key or secrets.token_bytes()), collisions(submissions)
    for collision in found:
        reporter.message(f"{_named(submissions, collision.place)}: {collision.told(partial(_named, submissions))}")
    rows: list[Row] = []
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


def identities(submissions: Sequence[Submission], key: bytes) -> list[str]:
    """One for each, whatever its sender calls it."""
    seen: Counter[tuple[str, str, str]] = Counter()
    ids = []
    for one in submissions:
        called = (one.origin, one.patient, one.name)
        ids.append(identity_of(one, key, seen[called]))
        seen[called] += 1
    return ids


def _named(submissions: Sequence[Submission], place: Place) -> str:
    submission = submissions[place[0]]
    return f"{submission.sent[place[1]].file} of study {submission.name}"


def _collision(file: str, submission: Submission, own: Sequence[Collision], ids: Sequence[str]) -> str:
    """Without names, which stand in no other column than the first."""
    files = [str(sent.file) for sent in submission.sent]
    here = (collision for collision in own if collision.what is NAME or files[collision.place[1]] == file)
    told = (collision.told(lambda place: f"file {place[1] + 1} of study {ids[place[0]]}") for collision in here)
    return "; ".join(dict.fromkeys(told))


def _of(
    submission: Submission, identity: str, bundle: Bundle, referral: ReferralSettings, out: Path, most_pixels: int
) -> list[Row]:
    study, unreadable = study_of(submission, identity, most_pixels)
    rows = [_failed(one.sent, identity, one.reason) for one in unreadable]
    if study is None:
        return rows
    refused = [one.sent for one in unreadable]
    readable = [sent for sent in submission.sent if sent not in refused]
    try:
        diagnosis, pictures = diagnose(study, bundle, referral)
    except (TeledxError, OSError) as error:
        return rows + [_failed(sent, identity, str(error)) for sent in readable]
    _write(study, diagnosis, pictures, referral, out)
    return rows + [
        row(sent.file, study, picture.seen, diagnosis, _number(sent))
        for sent, picture in zip(readable, pictures, strict=True)
    ]


def _failed(sent: Sent, identity: str, reason: str) -> Row:
    return Row(str(sent.file), study=identity, error=reason, row=_number(sent))


def _number(sent: Sent) -> str:
    return "" if sent.row is None else str(sent.row)


def _write(
    study: Study, diagnosis: Diagnosis, pictures: Sequence[Picture], referral: ReferralSettings, out: Path
) -> None:
    now, shown = datetime.now(UTC), {picture.seen.eye: _shown(picture) for picture in reversed(pictures)}
    write_text(out / f"{study.id}.json", json.dumps(as_json(study, diagnosis), indent=1) + "\n")
    page = pdf.report(study, diagnosis, None, shown, now, referral.guideline, RELEASE)
    resources = fhir_bundle(study, diagnosis, None, now, RELEASE, pdf=page)
    write_text(out / f"{study.id}.fhir.json", json.dumps(resources, indent=1) + "\n")
    write_bytes(out / f"{study.id}.pdf", page)


def _shown(picture: Picture) -> pdf.Shown:
    if picture.heat is None:
        return pdf.Shown(picture.pixels)
    disc = None if picture.disc is None else complex(picture.disc.x, picture.disc.y)
    laid_over = overlay(picture.pixels, picture.heat, place(picture.pixels))
    return pdf.Shown(picture.pixels, laid_over, sentence(picture.heat, picture.seen.eye, disc))
