"""Views, deletion of old studies, and stray files; any order of operations keeps the store consistent."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from invented_studies import SUGGESTED, Clock, arrival, reading

from teledx_fed.core.clinical import Action
from teledx_fed.store.store import Store, open_store
from teledx_fed.store.values import Role, StudyStatus


def test_views_are_logged(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    store.views.log(study, "anna")
    store.views.log(study, "anna", "report.pdf")
    assert [(view.user, view.what) for view in store.views.of_study(study)] == [
        ("anna", "page"),
        ("anna", "report.pdf"),
    ]
    with pytest.raises(ValueError, match="user must be one that is stored, got 'eve'"):
        store.views.log(study, "eve")


def test_only_old_studies_are_deleted(store: Store, clock: Clock) -> None:
    old, kept = (store.add_study(arrival(store, key, patient)).entry.id for key, patient in [("a", "p1"), ("b", "p2")])
    clock.pass_days(10)
    between = clock()
    new = store.add_study(arrival(store, "c", "p2")).entry.id
    for study in (old, new):
        store.add_suggestion(study, SUGGESTED)
        store.add_reading(reading(study), sign=True)
        store.views.log(study, "anna")
    store.add_derivative(old, "maps/old.png")
    assert store.retention.forget(store.study(old).entry.received).studies == 0, "not before itself"
    assert len(store.study(old).images) == 2
    forgotten = store.retention.forget(between)
    assert forgotten.studies == 2
    names = ["a-left.png", "a-right.png", "b-left.png", "b-right.png", "maps/old.png"]
    assert list(forgotten.paths) == [store.folder / name for name in names]
    assert store.retention.patients() == {"p2"}
    for study in (old, kept):
        with pytest.raises(ValueError, match="must be one that is stored"):
            store.study(study)
    assert len(store.suggestions(new)) == len(store.readings(new)) == len(store.views.of_study(new)) == 1
    assert store.retention.forget(between) == type(forgotten)(0, ())
    assert store.add_study(arrival(store, "a", "p1")).entry.id != old, "a key is forgotten with its study"


def test_the_database_refuses_to_delete_newer_studies(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    store.views.log(study, "anna")
    with store._database.connection() as connection:
        connection.execute(sa.text("INSERT INTO retention VALUES (1, :before)"), {"before": "2020-01-01 00:00:00"})
        with pytest.raises(sa.exc.IntegrityError, match="append-only"):
            connection.execute(sa.text("DELETE FROM views"))
        connection.rollback()
    assert len(store.views.of_study(study)) == 1


def test_files_without_a_row_are_found(store: Store) -> None:
    added = store.add_study(arrival(store, "a"))
    upload = store.uploads.begin("device/x", 10, timedelta(hours=1))
    for name in (upload.path, "orphan.png", "maps/.half"):
        (store.folder / name).parent.mkdir(exist_ok=True)
        (store.folder / name).touch()
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert store.retention.stray_files(later) == (store.folder / "maps/.half", store.folder / "orphan.png")
    assert store.retention.stray_files(datetime.now(UTC) - timedelta(minutes=1)) == ()
    assert (store.folder / added.images[0].path).exists()


class AnyOrder(RuleBasedStateMachine):
    """Compare the store with a plain list of operations, for any operations in any order."""

    new_store: Callable[[Clock], Store]

    @initialize()
    def open(self) -> None:
        self.clock = Clock()
        self.store = self.new_store(self.clock)
        self.store.access.add_user("anna", Role.READER, None)
        self.ids: dict[str, str] = {}
        self.received: dict[str, datetime] = {}
        self.done: dict[str, list[tuple[str, Action]]] = {}

    @rule(key=st.sampled_from("abc"))
    def add(self, key: str) -> None:
        added = self.store.add_study(arrival(self.store, key)).entry
        assert self.ids.setdefault(key, added.id) == added.id
        self.received.setdefault(key, added.received)
        self.done.setdefault(key, [])

    @rule(key=st.sampled_from("abc"), action=st.sampled_from(Action), demonstration=st.booleans())
    def suggest(self, key: str, action: Action, demonstration: bool) -> None:
        if key in self.ids:
            self.store.add_suggestion(self.ids[key], replace(SUGGESTED, action=action, demonstration=demonstration))
            self.done[key].append(("demonstration" if demonstration else "suggestion", action))

    @rule(key=st.sampled_from("abc"), action=st.sampled_from(Action), sign=st.booleans())
    def read(self, key: str, action: Action, sign: bool) -> None:
        if key not in self.ids:
            return
        suggested = [what for what, _ in self.done[key] if what in ("suggestion", "demonstration")]
        if sign and suggested[-1:] == ["demonstration"]:
            with pytest.raises(ValueError, match="demonstration"):
                self.store.add_reading(reading(self.ids[key], action), sign=True)
        else:
            self.store.add_reading(reading(self.ids[key], action), sign=sign)
            self.done[key].append(("signed" if sign else "read", action))

    @rule(days=st.integers(1, 3))
    def wait(self, days: int) -> None:
        self.clock.pass_days(days)

    @rule(days=st.integers(1, 6))
    def forget(self, days: int) -> None:
        before = self.clock.time - timedelta(days=days)
        gone = [key for key, received in self.received.items() if received < before]
        assert self.store.retention.forget(before).studies == len(gone)
        for key in gone:
            del self.ids[key], self.received[key], self.done[key]

    @invariant()
    def tells_what_was_done(self) -> None:
        waiting = [key for key in self.ids if all(what != "signed" for what, _ in self.done[key])]
        ordered = sorted(waiting, key=lambda key: (self._action(key) is not Action.URGENT, self.received[key]))
        assert [entry.id for entry in self.store.worklist()] == [self.ids[key] for key in ordered]
        assert self.store.retention.patients() == ({"p1"} if self.ids else set())
        for key, study in self.ids.items():
            entry = self.store.study(study).entry
            assert (entry.status, entry.action) == (self._status(key), self._action(key))
            kinds = [what for what, _ in self.done[key]]
            made = len(self.store.suggestions(study)), len(self.store.readings(study))
            assert made == (
                sum(what in ("suggestion", "demonstration") for what in kinds),
                sum(what in ("read", "signed") for what in kinds),
            )

    def _status(self, key: str) -> StudyStatus:
        kinds = {what for what, _ in self.done[key]}
        if kinds & {"signed", "read"}:
            return StudyStatus.SIGNED if "signed" in kinds else StudyStatus.READ
        return StudyStatus.DIAGNOSED if kinds else StudyStatus.RECEIVED

    def _action(self, key: str) -> Action | None:
        read = [action for what, action in self.done[key] if what in ("read", "signed")]
        return (read or [action for _, action in self.done[key]] or [None])[-1]

    def teardown(self) -> None:
        self.store.close()


@pytest.mark.slow
def test_any_order_of_operations_keeps_the_store_consistent(
    database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each example has a new folder on SQLite, and a new database on PostgreSQL."""
    fresh = iter(range(10_000))

    def new_store(clock: Clock) -> Store:
        folder = tmp_path / str(next(fresh))
        is_sqlite = database_url.startswith("sqlite")
        return open_store("" if is_sqlite else request.getfixturevalue("postgresql")(), folder, clock)

    run_state_machine_as_test(
        type("AnyOrder", (AnyOrder,), {"new_store": staticmethod(new_store)}),
        settings=settings(
            max_examples=6, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    shutil.rmtree(tmp_path)
