"""The tables of the identified store, which has its own database."""

from datetime import datetime

from sqlalchemy import ForeignKey, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from teledx_fed.store.tables import NAMES, Moment


class IdentifiedTable(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {datetime: Moment, str: Text}  # noqa: RUF012


class IdentityRow(IdentifiedTable):
    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("issuer", "number"),)
    pseudonym: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[str]
    issuer: Mapped[str] = mapped_column(server_default="")
    name: Mapped[str | None]
    born: Mapped[str | None]
    seen: Mapped[datetime]


class FilingRow(IdentifiedTable):
    """The archive's identifiers of a study received over DICOM; `filing` is JSON."""

    __tablename__ = "filings"
    study: Mapped[str] = mapped_column(String(32), primary_key=True)
    filing: Mapped[str]
    seen: Mapped[datetime]


class SourceRow(IdentifiedTable):
    """A photograph in the archive: its UIDs, and its SOP class as `kind`."""

    __tablename__ = "sources"
    study: Mapped[str] = mapped_column(ForeignKey("filings.study"), primary_key=True)
    instance: Mapped[str] = mapped_column(primary_key=True)
    series: Mapped[str]
    kind: Mapped[str]
