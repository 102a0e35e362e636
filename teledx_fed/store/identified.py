"""The identified store: who is behind a pseudonym. A database of its own, which nothing else reads."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, select

from teledx_fed.store import backup
from teledx_fed.store.database import Database
from teledx_fed.store.schema import IDENTIFIED
from teledx_fed.store.store import now
from teledx_fed.store.tables import IdentityRow
from teledx_fed.store.values import Identity, check_text


def open_identified(url: str, folder: Path, clock: Callable[[], datetime] = now) -> "IdentifiedStore":
    """Without a URL, an SQLite database in the folder's `identified`."""
    return IdentifiedStore(url or _default(folder), clock)


class IdentifiedStore:
    """`ValueError` for a number that belongs to another pseudonym."""

    def __init__(self, url: str, clock: Callable[[], datetime] = now) -> None:
        self._clock, self._database = clock, Database(url)
        self._database.upgrade(IDENTIFIED)

    def close(self) -> None:
        self._database.close()

    def register(self, identity: Identity) -> None:
        """Before the patient's study is stored, each time one comes; what is new of the person is taken over."""
        for name in ("pseudonym", "number", "name", "born"):
            if (value := getattr(identity, name)) is not None:
                check_text(f"identity.{name}", value)
        with self._database.writing() as session:
            other = session.scalar(select(IdentityRow.pseudonym).where(IdentityRow.number == identity.number))
            if other not in (None, identity.pseudonym):
                raise ValueError(
                    "identity.number must belong to one pseudonym, got one that has another. Use the site's one key."
                )
            session.merge(IdentityRow(**vars(identity), seen=self._clock()))

    def identity(self, pseudonym: str) -> Identity | None:
        with self._database.reading() as session:
            row = session.get(IdentityRow, pseudonym)
            return None if row is None else Identity(row.pseudonym, row.number, row.name, row.born)

    def forget(self, before: datetime, keep: frozenset[str]) -> int:
        """Everybody not registered since then, but for the pseudonyms to `keep`: `Store.patients`, read before."""
        with self._database.writing() as session:
            old = session.scalars(select(IdentityRow.pseudonym).where(IdentityRow.seen < before)).all()
            gone = [pseudonym for pseudonym in old if pseudonym not in keep]
            for pseudonym in gone:
                session.execute(delete(IdentityRow).where(IdentityRow.pseudonym == pseudonym))
            return len(gone)

    def backup(self, path: Path) -> None:
        backup.write(path, self._database, IDENTIFIED, None)


def restore_identified(path: Path, url: str, folder: Path) -> IdentifiedStore:
    """What `IdentifiedStore.backup` wrote, into an empty database."""
    backup.load(path, url or _default(folder), IDENTIFIED, None)
    return open_identified(url, folder)


def _default(folder: Path) -> str:
    return f"sqlite:///{folder.absolute()}/identified/identities.sqlite"
