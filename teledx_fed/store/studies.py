"""Studies: insert one, add photographs, correct the eye of a photograph."""

import hashlib
import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from teledx_fed.core.clinical import Gap
from teledx_fed.core.errors import DataError, RefusedError
from teledx_fed.core.examples import Eye
from teledx_fed.store.access import hashed
from teledx_fed.store.database import insert_once
from teledx_fed.store.rows import DOUBTS, FAULTS, RECORDS, image, study_row, to_json, unknown
from teledx_fed.store.tables import DerivativeRow, ImageRow, LinkRow, PatientRow, StudyRow
from teledx_fed.store.values import Arrival, StoredImage, StudyStatus, check_different, check_path


def add(session: Session, arrival: Arrival, link: str | None, folder: Path, time: datetime) -> tuple[StudyRow, bool]:
    """Insert a study, unless its key is stored; return the study, and whether it is new."""
    study, content = uuid4().hex, _content(arrival)
    if arrival.patient is not None:
        insert_once(session, PatientRow, pseudonym=arrival.patient)
    is_new = insert_once(
        session,
        StudyRow,
        id=study,
        source=arrival.source,
        key=arrival.key,
        content=content,
        patient=arrival.patient,
        record=to_json(RECORDS, arrival.record),
        acquired=arrival.acquired,
        received=time,
        status=StudyStatus.RECEIVED,
    )
    if is_new:
        _add_images(session, study, arrival.images, folder)
        if link is not None:
            _use_link(session, arrival, link, time)
    row = session.scalars(select(StudyRow).filter_by(source=arrival.source, key=arrival.key)).one()
    if row.content != content:
        raise DataError(f"study.key must be new for a new study, got {arrival.key!r} again. Make another key.")
    return row, is_new


def grow(session: Session, study: str, images: tuple[StoredImage, ...], folder: Path) -> StudyRow:
    """Add photographs to a study; reopen it if it was read."""
    row = study_row(session, study, lock=True)
    check_different([*map(image, row.images), *images])
    _add_images(session, study, images, folder, len(row.images))
    if row.status in (StudyStatus.READ, StudyStatus.SIGNED):
        row.status = StudyStatus.REOPENED
    session.expire(row, ["images"])
    return row


def set_eye(session: Session, study: str, digest: str, eye: Eye) -> None:
    row = study_row(session, study, lock=True)
    if row.status in (StudyStatus.READ, StudyStatus.REOPENED, StudyStatus.SIGNED):
        raise DataError(f"study must be unread for its eyes to change, got {row.status}. Send it again.")
    query = select(ImageRow).where(ImageRow.study == study, ImageRow.digest == digest)
    if (photograph := session.scalars(query).one_or_none()) is None:
        raise unknown("image", digest)
    photograph.eye = eye
    doubts = set(image(photograph).doubts) & {Gap.PHOTOGRAPH_SHARED, Gap.BOTH_EYES_ALIKE}
    photograph.doubts = to_json(DOUBTS, tuple(doubts))


def add_derivative(session: Session, study: str, path: str) -> None:
    check_path("derivative", path)
    session.merge(DerivativeRow(path=path, study=study))


def _content(arrival: Arrival) -> str:
    """Return the digest of an arrival's content, without the paths of its files."""
    images = [(stored.digest, stored.eye, stored.field, stored.camera) for stored in arrival.images]
    content = [images, arrival.patient, asdict(arrival.record), arrival.acquired]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _add_images(session: Session, study: str, images: tuple[StoredImage, ...], folder: Path, start: int = 0) -> None:
    for number, added in enumerate(images, start):
        if not (folder / added.path).is_file():
            raise DataError(f"image.path must be a file in {folder}, got {added.path!r}. Write it there first.")
        facts = asdict(added) | {"faults": to_json(FAULTS, added.faults), "doubts": to_json(DOUBTS, added.doubts)}
        session.add(ImageRow(study=study, number=number, **facts))
    try:
        session.flush()
    except IntegrityError as error:
        paths = sorted(added.path for added in images)
        raise DataError(f"image.path must be this study's alone, got {paths}. Write another file.") from error


def _use_link(session: Session, arrival: Arrival, token: str, time: datetime) -> None:
    """Mark a link as used, in the transaction that inserts its study."""
    unused = (LinkRow.token == hashed(token), LinkRow.used.is_(None), LinkRow.expires > time)
    used = update(LinkRow).where(*unused).values(used=time).returning(LinkRow.id, LinkRow.patient)
    link = session.execute(used).one_or_none()
    if link is None:
        raise RefusedError("link must be new and in time, got one that is used, expired or unknown. Ask for another.")
    allowed = (f"link/{link.id}", arrival.patient if link.patient is None else link.patient)
    if allowed != (arrival.source, arrival.patient):
        raise RefusedError("link must be this source's and this patient's, got another's. Ask for another.")
