"""Access control, lifetimes, and what the database stores of a token; the identified store."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from invented_studies import SUGGESTED, Clock, arrival

from teledx_fed.core.errors import RefusedError
from teledx_fed.store.identified import IdentifiedStore, Identity, open_identified, restore_identified
from teledx_fed.store.store import Store
from teledx_fed.store.values import Role, User

HOUR = timedelta(hours=1)


def everything(store: Store) -> str:
    """Return all rows of the database as text."""
    with store._database.connection() as connection:
        tables = sa.inspect(connection).get_table_names()
        return "\n".join(str(connection.execute(sa.text(f'SELECT * FROM "{name}"')).all()) for name in tables)


def test_users_are_added_and_changed(store: Store) -> None:
    store.access.add_user("boris", Role.ADMIN, None)
    assert store.access.user("boris") == User("boris", Role.ADMIN, None, False)
    assert [user.name for user in store.access.users()] == ["anna", "boris"]
    store.access.set_password("boris", "another hash")
    store.access.set_role("boris", Role.READER)
    assert store.access.user("boris") == User("boris", Role.READER, "another hash", False)
    assert store.access.user("eve") is None
    assert store.access.user("a\0") is None
    with pytest.raises(ValueError, match=r"user\.name must be new, got 'anna'"):
        store.access.add_user("anna", Role.ADMIN, None)
    with pytest.raises(ValueError, match="user must be one that is stored, got 'eve'"):
        store.access.set_role("eve", Role.ADMIN)
    for name in ("", "a\nb", "x" * 201):
        with pytest.raises(ValueError, match="1 to 200 printable"):
            store.access.add_user(name, Role.READER, None)


def test_a_session_ends(store: Store, clock: Clock) -> None:
    token, session = store.access.log_in("anna", HOUR)
    assert store.access.logged_in(token) == session
    assert session.user.name == "anna"
    assert session.csrf not in (token, store.access.log_in("anna", HOUR)[1].csrf)
    store.access.log_out(token)
    assert store.access.logged_in(token) is None
    late, _ = store.access.log_in("anna", HOUR)
    clock.time += HOUR
    assert store.access.logged_in(late) is None
    for unknown in ("", "\0", "\ud800", secrets.token_urlsafe(32)):
        assert store.access.logged_in(unknown) is None


def test_disabling_a_user_or_changing_the_password_ends_the_sessions(store: Store) -> None:
    token, _ = store.access.log_in("anna", HOUR)
    store.access.set_password("anna", "another hash")
    assert store.access.logged_in(token) is None
    token, _ = store.access.log_in("anna", HOUR)
    store.access.set_disabled("anna", True)
    assert store.access.logged_in(token) is None
    with pytest.raises(RefusedError, match="must be enabled, got 'anna'"):
        store.access.log_in("anna", HOUR)
    store.access.set_disabled("anna", False)
    assert store.access.logged_in(token) is None
    store.access.log_in("anna", HOUR)


def test_a_device_token_is_valid_until_it_is_revoked(store: Store) -> None:
    token, other = store.access.add_device("north"), store.access.add_device("south")
    device = store.access.device(token)
    assert device is not None
    assert device.source == "device/north"
    store.access.revoke_device("north")
    assert store.access.device(token) is None
    assert store.access.device(other) is not None
    assert [each.revoked is None for each in store.access.devices()] == [False, True]
    with pytest.raises(ValueError, match=r"device\.name must be new"):
        store.access.add_device("north")
    with pytest.raises(ValueError, match="device must be one that is stored, got 'west'"):
        store.access.revoke_device("west")


def test_a_link_is_used_up_by_one_study(store: Store) -> None:
    token, link = store.access.add_link("clinic", HOUR, patient="p1")
    assert store.access.link(token) == link
    assert store.access.logged_in(token) is store.access.device(token) is None
    sent = arrival(store, "a", source=link.source)
    missing = store.folder / sent.images[0].path
    missing.rename(missing.with_suffix(".away"))
    with pytest.raises(ValueError, match="must be a file"):
        store.add_study(sent, token)
    assert store.access.link(token) == link, "no study, no use"
    missing.with_suffix(".away").rename(missing)
    for wrong in (arrival(store, "b", source="page/anna"), arrival(store, "c", patient="p2", source=link.source)):
        with pytest.raises(RefusedError, match="this source's and this patient's"):
            store.add_study(wrong, token)
    added = store.add_study(sent, token)
    assert store.access.link(token) is None
    assert store.add_study(sent, token) == added, "the same study, sent again"
    with pytest.raises(RefusedError, match="link must be new and in time"):
        store.add_study(arrival(store, "d", source=link.source), token)
    assert len(store.worklist()) == 1


def test_a_link_expires(store: Store, clock: Clock) -> None:
    token, link = store.access.add_link("patient", HOUR)
    clock.time += HOUR
    assert store.access.link(token) is None
    with pytest.raises(RefusedError, match="link must be new and in time"):
        store.add_study(arrival(store, "a", source=link.source), token)


def test_one_of_many_concurrent_requests_uses_a_link(store: Store) -> None:
    token, link = store.access.add_link("clinic", HOUR)
    sent = [arrival(store, f"k{number}", source=link.source) for number in range(8)]

    def used(number: int) -> bool:
        try:
            store.add_study(sent[number], token)
        except RefusedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(used, range(8))) == 1
    assert len(store.worklist()) == 1


def test_the_database_has_no_token(store: Store) -> None:
    tokens = [
        store.access.log_in("anna", HOUR)[0],
        store.access.add_device("north"),
        store.access.add_link("c", HOUR)[0],
    ]
    content = everything(store)
    assert "anna" in content
    for token in tokens:
        assert len(token) >= 43
        assert token not in content


def test_an_upload_continues_where_it_was_cut(store: Store, clock: Clock) -> None:
    upload = store.uploads.begin("device/north", 100, HOUR)
    assert store.uploads.advance("device/north", upload.id, 0, 60).offset == 60
    with pytest.raises(ValueError, match=r"upload\.start must be 60, got 0"):
        store.uploads.advance("device/north", upload.id, 0, 50)
    for end in (60, 101):
        with pytest.raises(ValueError, match=r"upload\.end must lie in 61…100"):
            store.uploads.advance("device/north", upload.id, 60, end)
    with pytest.raises(ValueError, match="upload must be one that is stored"):
        store.uploads.get("device/south", upload.id)
    assert store.uploads.get("device/north", upload.id).offset == 60
    assert store.uploads.advance("device/north", upload.id, 60, 100).offset == 100
    store.uploads.end("device/north", upload.id)
    with pytest.raises(ValueError, match="upload must be one that is stored"):
        store.uploads.get("device/north", upload.id)
    with pytest.raises(ValueError, match=r"upload\.length must be positive"):
        store.uploads.begin("device/north", 0, HOUR)


def test_one_of_many_concurrent_requests_continues_an_upload(store: Store) -> None:
    upload = store.uploads.begin("device/north", 100, HOUR)

    def advanced(_: int) -> bool:
        try:
            store.uploads.advance("device/north", upload.id, 0, 50)
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(advanced, range(8))) == 1


def test_expired_sessions_links_and_uploads_are_deleted(store: Store, clock: Clock) -> None:
    store.access.log_in("anna", HOUR)
    store.access.add_link("clinic", HOUR)
    over = store.uploads.begin("device/north", 100, HOUR)
    clock.time += HOUR
    token, _ = store.access.log_in("anna", HOUR)
    goes_on = store.uploads.begin("device/north", 100, HOUR)
    assert store.retention.expire() == (store.folder / over.path,)
    assert store.access.logged_in(token) is not None
    assert store.uploads.get("device/north", goes_on.id) == goes_on
    with store._database.connection() as connection:
        left = [connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in ("sessions", "links", "uploads")]
    assert left == [1, 0, 1]


@pytest.fixture
def identified(tmp_path: Path, clock: Clock, database_url: str, request: pytest.FixtureRequest) -> IdentifiedStore:
    url = "" if database_url.startswith("sqlite") else request.getfixturevalue("postgresql")()
    return open_identified(url, tmp_path, clock)


def test_only_the_identified_store_has_the_identity(store: Store, identified: IdentifiedStore) -> None:
    person = Identity("p1", "MRN XZ-4711", "Maria Muster", "1961-02-03")
    identified.register(person)
    added = store.add_study(arrival(store, "a", "p1"))
    store.add_suggestion(added.entry.id, SUGGESTED)
    assert identified.identity("p1") == person
    assert identified.identity("p2") is None
    assert "p1" in everything(store)
    assert not any(word in everything(store) for word in ("XZ-4711", "Maria", "1961-02-03"))
    with pytest.raises(ValueError, match=r"identity\.number must have one pseudonym"):
        identified.register(Identity("p2", "MRN XZ-4711"))
    identified.close()


def test_a_person_is_forgotten_with_the_last_study(store: Store, identified: IdentifiedStore, clock: Clock) -> None:
    for name in ("p1", "p2"):
        identified.register(Identity(name, f"MRN {name}"))
        store.add_study(arrival(store, name, name))
    clock.pass_days(1)
    between = clock()
    identified.register(Identity("p2", "MRN p2"))
    identified.register(Identity("p3", "MRN p3"))
    store.add_study(arrival(store, "again", "p2"))
    store.retention.forget(between)
    assert identified.forget(between, store.retention.patients(), store.retention.studies()) == 1
    remaining = [identified.identity(name) is not None for name in ("p1", "p2", "p3")]
    assert remaining == [False, True, True], "p3 is registered, and the study is on its way"
    identified.close()


def test_the_identified_store_is_restored_separately(identified: IdentifiedStore, tmp_path: Path) -> None:
    person = Identity("p1", "MRN 1", "Maria Muster")
    identified.register(person)
    identified.backup(tmp_path / "identities.zip")
    identified.close()
    restored = restore_identified(tmp_path / "identities.zip", "", tmp_path / "new")
    assert restored.identity("p1") == person
    restored.close()
