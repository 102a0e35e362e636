"""The tables of the site's database."""

from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy import DateTime as DatabaseTime
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from teledx_fed.core.clinical import Action
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Eye, Field
from teledx_fed.store.values import Role, StudyStatus

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Moment(TypeDecorator[datetime]):
    """An aware time outside the database, stored in UTC: SQLite stores no time zones."""

    impl = DatabaseTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise DataError(f"time must have a time zone, got {value.isoformat()}. Use datetime.now(UTC).")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _words(kind: type[StrEnum]) -> Enum:
    """Return a column type for an enum: by value, and wide enough for future values."""
    return Enum(kind, native_enum=False, length=32, values_callable=_values)


def _values(kind: type[StrEnum]) -> list[str]:
    return [member.value for member in kind]


class SiteTable(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012
        datetime: Moment,
        str: Text,
        int: BigInteger,
        StudyStatus: _words(StudyStatus),
        Action: _words(Action),
        Role: _words(Role),
        Eye: _words(Eye),
        Field: _words(Field),
    }


DIGEST = String(64)


class PatientRow(SiteTable):
    __tablename__ = "patients"
    pseudonym: Mapped[str] = mapped_column(primary_key=True)


class StudyRow(SiteTable):
    """A study; `content` is the digest of its first content, to detect other content with the same key."""

    __tablename__ = "studies"
    __table_args__ = (UniqueConstraint("source", "key"), Index(None, "status", "received"))
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    source: Mapped[str]
    key: Mapped[str]
    content: Mapped[str] = mapped_column(DIGEST)
    patient: Mapped[str | None] = mapped_column(ForeignKey("patients.pseudonym"), index=True)
    record: Mapped[str]
    acquired: Mapped[str | None]
    received: Mapped[datetime] = mapped_column(index=True)
    status: Mapped[StudyStatus]
    action: Mapped[Action | None]
    images: Mapped[list["ImageRow"]] = relationship(order_by="ImageRow.number")


class ImageRow(SiteTable):
    __tablename__ = "images"
    __table_args__ = (UniqueConstraint("study", "digest"), UniqueConstraint("study", "instance"))
    study: Mapped[str] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(DIGEST, index=True)
    path: Mapped[str] = mapped_column(unique=True)
    width: Mapped[int]
    height: Mapped[int]
    eye: Mapped[Eye]
    field: Mapped[Field]
    camera: Mapped[str]
    faults: Mapped[str]
    doubts: Mapped[str] = mapped_column(server_default="[]")
    instance: Mapped[str | None] = mapped_column(DIGEST)


class DerivativeRow(SiteTable):
    """A file made from a study's photographs, such as a heat map."""

    __tablename__ = "derivatives"
    path: Mapped[str] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(ForeignKey("studies.id"), index=True)


class SuggestionRow(SiteTable):
    """A suggestion, append-only; `diagnosis` is JSON, `digest` the SHA-256 of its bytes."""

    __tablename__ = "suggestions"
    study: Mapped[str] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[datetime]
    diagnosis: Mapped[str]
    digest: Mapped[str] = mapped_column(DIGEST)
    model: Mapped[str]
    demonstration: Mapped[bool]


class ReadingRow(SiteTable):
    """A reading, append-only; `reading` is JSON, `digest` the SHA-256 of its bytes."""

    __tablename__ = "readings"
    study: Mapped[str] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    reader: Mapped[str] = mapped_column(ForeignKey("users.name"), index=True)
    reading: Mapped[str]
    digest: Mapped[str] = mapped_column(DIGEST)
    signed: Mapped[datetime | None]


class ViewRow(SiteTable):
    """A logged view, append-only."""

    __tablename__ = "views"
    study: Mapped[str] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    user: Mapped[str] = mapped_column(ForeignKey("users.name"), index=True)
    what: Mapped[str]
    time: Mapped[datetime]


class RefusalRow(SiteTable):
    """A refusal for the page's list, because its sender may not see the response or may try again for days."""

    __tablename__ = "refusals"
    id: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    source: Mapped[str]
    patient: Mapped[str | None]
    reason: Mapped[str]
    first: Mapped[datetime]
    last: Mapped[datetime] = mapped_column(index=True)
    times: Mapped[int]
    settled: Mapped[datetime | None]
    settled_by: Mapped[str | None]


class UserRow(SiteTable):
    __tablename__ = "users"
    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[Role]
    password: Mapped[str | None]
    disabled: Mapped[bool]


class SessionRow(SiteTable):
    __tablename__ = "sessions"
    token: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    csrf: Mapped[str]
    user: Mapped[str] = mapped_column(ForeignKey("users.name"), index=True)
    expires: Mapped[datetime]


class DeviceRow(SiteTable):
    __tablename__ = "devices"
    name: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(DIGEST, unique=True)
    created: Mapped[datetime]
    revoked: Mapped[datetime | None]


class LinkRow(SiteTable):
    __tablename__ = "links"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    token: Mapped[str] = mapped_column(DIGEST, unique=True)
    label: Mapped[str]
    patient: Mapped[str | None]
    expires: Mapped[datetime]
    used: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)


class UploadRow(SiteTable):
    __tablename__ = "uploads"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    source: Mapped[str]
    path: Mapped[str] = mapped_column(unique=True)
    length: Mapped[int]
    offset: Mapped[int]
    expires: Mapped[datetime]


class RetentionRow(SiteTable):
    """Has a row only in a transaction that deletes old studies: the row allows it in append-only tables."""

    __tablename__ = "retention"
    __table_args__ = (CheckConstraint("id = 1", "single"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    before: Mapped[datetime]
