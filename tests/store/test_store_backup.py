"""Backup and restore between both databases; a damaged backup restores nothing."""

import json
import re
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from invented_studies import DATABASES, SUGGESTED, arrival, reading

from teledx_fed.core.clinical import Action
from teledx_fed.store.backup import MANIFEST
from teledx_fed.store.store import Store, open_store, restore
from teledx_fed.store.values import Role


@pytest.fixture(params=DATABASES)
def other_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of another empty database, to restore into."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql")())
    return f"sqlite:///{tmp_path}/restored.sqlite"


def fill(store: Store) -> dict[str, str]:
    """Add a study for each of four statuses; return their ids, and the tokens of a device and a session."""
    ids = {key: store.add_study(arrival(store, key)).entry.id for key in ("received", "diagnosed", "read", "signed")}
    for key in ("diagnosed", "read", "signed"):
        suggestion = store.add_suggestion(ids[key], SUGGESTED)
        store.views.log(ids[key], "anna")
        if key != "diagnosed":
            new_reading = reading(ids[key], Action.URGENT, suggestion=suggestion.digest, seen=True, note="é")
            store.add_reading(new_reading, sign=key == "signed")
    (store.folder / "map.png").write_bytes(b"a map")
    store.add_derivative(ids["signed"], "map.png")
    device, (session, _) = store.access.add_device("north"), store.access.log_in("anna", timedelta(days=1))
    store.uploads.begin("device/north", 100, timedelta(days=1))
    return ids | {"device": device, "session": session}


def told(store: Store, ids: dict[str, str]) -> list[object]:
    studies = [ids[key] for key in ("received", "diagnosed", "read", "signed")]
    return [
        store.worklist(),
        store.signed(),
        store.retention.patients(),
        store.access.users(),
        store.access.devices(),
        [(stored.entry, stored.images, stored.study.record) for stored in map(store.study, studies)],
        [[ask(study) for study in studies] for ask in (store.suggestions, store.readings, store.views.of_study)],
        [(each.example.grade, each.seen, each.study) for each in store.readings_for_training()],
    ]


def test_a_backup_is_restored_unchanged_into_an_empty_folder(store: Store, other_url: str, tmp_path: Path) -> None:
    ids = fill(store)
    assert store.backup(tmp_path / "backup.zip") == ()
    restored = restore(tmp_path / "backup.zip", other_url, tmp_path / "elsewhere")
    assert told(restored, ids) == told(store, ids)
    for key in ("received", "signed"):
        for image in restored.study(ids[key]).images:
            path = restored.folder / image.path
            assert path.is_relative_to(tmp_path / "elsewhere")
            assert path.read_bytes() == (store.folder / image.path).read_bytes()
    assert (restored.folder / "map.png").read_bytes() == b"a map"
    assert restored.access.device(ids["device"]) is not None
    assert restored.access.logged_in(ids["session"]) is None
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), restored._database.connection() as connection:
        connection.execute(sa.text("DELETE FROM readings"))
    restored.add_reading(reading(ids["read"]), sign=True)
    assert restored.add_study(arrival(restored, "signed")).entry.id == ids["signed"]
    restored.close()


def test_a_backup_of_a_restored_store_is_the_same(store: Store, other_url: str, tmp_path: Path) -> None:
    fill(store)
    store.backup(tmp_path / "first.zip")
    restored = restore(tmp_path / "first.zip", other_url, tmp_path / "elsewhere")
    restored.backup(tmp_path / "second.zip")
    restored.close()
    first, second = ({**_manifest(tmp_path / name)} for name in ("first.zip", "second.zip"))
    assert first == second


def _manifest(path: Path) -> dict[str, object]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(MANIFEST))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A backup of a store on SQLite."""
    store = open_store("", tmp_path / "original")
    store.access.add_user("anna", Role.READER, None)
    fill(store)
    store.backup(tmp_path / "backup.zip")
    store.close()
    return tmp_path / "backup.zip"


def rewritten(archive: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    path = archive.with_name("changed.zip")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if (content := change(name, old.read(name))) is not None:
                new.writestr(name, content)
    return path


def refuses(path: Path, folder: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        restore(path, "", folder)
    assert not any(file.is_file() for file in folder.rglob("*")), "nothing is restored in part"


def test_a_damaged_archive_is_refused_whole(archive: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    reads = "tables/readings.jsonl"
    refuses(rewritten(archive, lambda name, old: old[:-30] if name == reads else old), into, "as it was backed up")
    refuses(rewritten(archive, lambda name, old: None if name == reads else old), into, "must be a whole backup")
    refuses(rewritten(archive, lambda name, old: None if name == MANIFEST else old), into, "must be a whole backup")
    refuses(rewritten(archive, lambda name, old: b"{}" if name == MANIFEST else old), into, "must be a whole backup")
    refuses(
        rewritten(archive, lambda name, old: b"another map" if name == "files/map.png" else old),
        into,
        "map.png must be as it was backed up",
    )
    content = archive.read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.zip").write_bytes(content[:cut])
        refuses(tmp_path / "cut.zip", into, "must be a whole backup")
    refuses(tmp_path / "absent.zip", into, "must be a whole backup")


def test_an_archive_that_names_files_elsewhere_is_refused(archive: Path, tmp_path: Path) -> None:
    def outside(name: str, old: bytes) -> bytes:
        return old.replace(b'"map.png"', b'"../../map.png"') if name == MANIFEST else old

    refuses(rewritten(archive, outside), tmp_path / "into", "inside it")


def test_a_newer_archive_is_refused(archive: Path, tmp_path: Path) -> None:
    for old, new, message in (
        (str(_manifest(archive)["revision"]).encode(), b"of_tomorrow", "this version or an older one"),
        (b'"format": 1', b'"format": 2', "must be of format 1"),
    ):
        newer = rewritten(archive, lambda name, text, old=old, new=new: re.sub(old, new, text))
        with pytest.raises(ValueError, match=message):
            restore(newer, "", tmp_path / message.replace(" ", "-"))


def test_a_backup_is_not_restored_over_existing_data(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "into/images").mkdir(parents=True)
    (tmp_path / "into/images/here.png").touch()
    with pytest.raises(ValueError, match="must be empty, got files"):
        restore(archive, "", tmp_path / "into")
    with pytest.raises(ValueError, match="the database must be empty"):
        restore(archive, f"sqlite:///{tmp_path}/original/site.sqlite", tmp_path / "third")
    assert not any(path.is_file() for path in (tmp_path / "third").rglob("*"))


def test_a_missing_image_is_reported_and_the_others_are_backed_up(store: Store, tmp_path: Path) -> None:
    ids = fill(store)
    lost = store.study(ids["read"]).images[0].path
    (store.folder / lost).unlink()
    assert store.backup(tmp_path / "backup.zip") == (lost,)
    restored = restore(tmp_path / "backup.zip", "", tmp_path / "elsewhere")
    assert len(restored.worklist()) == 3
    restored.close()
