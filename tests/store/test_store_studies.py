"""Studies in the store: added once, ordered in the worklist, and with permanent readings."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from invented_studies import SUGGESTED, Clock, arrival, photograph, reading

from teledx_fed.core.clinical import Action, Diagnosis, EyeReading, Fault, Graded, PatientRecord
from teledx_fed.core.examples import Eye, Field
from teledx_fed.store.rows import DIAGNOSES, diagnosis_digest, to_json
from teledx_fed.store.store import Store, open_store
from teledx_fed.store.values import Arrival, Role, StoredImage, StudyStatus


def test_a_study_comes_back_as_it_was_sent(store: Store) -> None:
    sent = replace(photograph(store.folder, "deep/one"), field=Field.DISC, camera="Canon", faults=(Fault.BLURRED,))
    record = PatientRecord(age=54.0, pregnant=False, acuity=0.8)
    added = store.add_study(Arrival("k", "device/north", (sent,), "p1", record, "2026-01-01T10:00:00"))
    found = store.study(added.entry.id)
    assert found == added
    assert found.images == (sent,)
    assert found.study.record == record
    assert (found.study.patient, found.study.acquired) == ("p1", "2026-01-01T10:00:00")
    (image,) = found.study.images
    assert (image.eye, image.field, image.camera) == (Eye.LEFT, Field.DISC, "Canon")
    assert image.photograph.name == str(store.folder / "deep/one.png")
    assert image.photograph.digest() == sent.digest
    assert found.entry.status is StudyStatus.RECEIVED
    assert found.entry.received.tzinfo is UTC


def test_the_same_key_is_the_same_study(store: Store) -> None:
    sent = arrival(store, "k")
    first = store.add_study(sent)
    assert store.add_study(sent) == first
    moved = replace(sent, images=tuple(replace(each, path=f"again/{each.path}") for each in sent.images))
    assert store.add_study(moved) == first, "a retry may have written other files"
    assert len(store.worklist()) == 1
    with pytest.raises(ValueError, match=r"study\.key must be new for a new study, got 'k'"):
        store.add_study(replace(sent, patient="p2"))
    assert store.retention.patients() == {"p1"}
    assert store.add_study(replace(arrival(store, "other"), key="k", source="device/x")).entry.id != first.entry.id


def test_half_a_study_is_none(store: Store) -> None:
    sent = arrival(store, "k")
    (store.folder / sent.images[1].path).unlink()
    with pytest.raises(ValueError, match=r"image\.path must be a file"):
        store.add_study(sent)
    other = store.add_study(arrival(store, "other"))
    stolen = replace(sent, images=(replace(sent.images[0], path=other.images[0].path),))
    with pytest.raises(ValueError, match=r"image\.path must be this study's alone"):
        store.add_study(stolen)
    assert [entry.id for entry in store.worklist()] == [other.entry.id]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "a\\b", "", "a\0b"])
def test_a_path_stays_in_the_folder(path: str) -> None:
    with pytest.raises(ValueError, match=r"image\.path must be"):
        StoredImage("0" * 64, path, 1, 1)


def test_the_same_photograph_for_both_eyes_is_refused(store: Store) -> None:
    image = photograph(store.folder, "one")
    with pytest.raises(ValueError, match="must be different files"):
        Arrival("k", "page", (image, replace(image, path="two.png", eye=Eye.RIGHT)))


def test_urgent_first_then_the_oldest_and_nothing_signed(store: Store) -> None:
    a, b, c, d = (store.add_study(arrival(store, key)).entry.id for key in "abcd")
    store.add_suggestion(a, SUGGESTED)
    store.add_suggestion(c, replace(SUGGESTED, action=Action.URGENT))
    assert [entry.id for entry in store.worklist()] == [c, a, b, d]
    assert [entry.id for entry in store.worklist(limit=2, offset=1)] == [a, b]
    store.add_reading(reading(d, Action.URGENT), sign=False)
    store.add_reading(reading(c, Action.REFER), sign=False)
    assert [entry.id for entry in store.worklist()] == [d, a, b, c]
    store.add_suggestion(d, replace(SUGGESTED, action=Action.RESCREEN))
    assert store.worklist()[0].action is Action.URGENT, "a reader said so"
    store.add_reading(reading(a), sign=True)
    assert [entry.id for entry in store.worklist()] == [d, b, c]
    assert [entry.id for entry in store.signed()] == [a]
    assert store.study(b).entry.status is StudyStatus.RECEIVED
    assert store.study(c).entry.status is StudyStatus.READ


def test_previous_studies_are_the_same_patients(store: Store) -> None:
    a, _, c, d = (
        store.add_study(arrival(store, key, patient)).entry.id
        for key, patient in [("a", "p1"), ("b", "p2"), ("c", "p1"), ("d", "p1")]
    )
    assert [entry.id for entry in store.previous(d)] == [c, a]
    assert store.previous(a) == ()
    nobody = [store.add_study(arrival(store, key, None)).entry.id for key in "ef"]
    assert store.previous(nobody[1]) == ()


def test_who_sent_a_study_sees_no_other(store: Store) -> None:
    mine = store.add_study(arrival(store, "a", source="device/mine")).entry
    assert store.submitted("device/mine", mine.id) == mine
    for asked in (mine.id, "0" * 32):
        with pytest.raises(ValueError, match="study must be one that is stored"):
            store.submitted("device/other", asked)


def test_what_is_not_there_is_named(store: Store) -> None:
    for ask in (store.study, store.suggestions, store.readings, store.previous, store.views.of_study):
        with pytest.raises(ValueError, match="study must be one that is stored, got 'nowhere'"):
            ask("nowhere")
    with pytest.raises(ValueError, match="'nowhere'"):
        store.add_suggestion("nowhere", SUGGESTED)
    with pytest.raises(ValueError, match="'nowhere'"):
        store.add_reading(reading("nowhere"), sign=True)
    with pytest.raises(ValueError, match="'nowhere'"):
        store.views.log("nowhere", "anna")


def test_an_eye_can_be_named_until_the_study_is_read(store: Store) -> None:
    added = store.add_study(arrival(store, "a"))
    store.set_eye(added.entry.id, added.images[0].digest, Eye.UNKNOWN)
    assert store.study(added.entry.id).study.images[0].eye is Eye.UNKNOWN
    with pytest.raises(ValueError, match="image must be one"):
        store.set_eye(added.entry.id, "f" * 64, Eye.LEFT)
    store.set_eye(added.entry.id, added.images[0].digest, Eye.RIGHT)
    store.add_reading(reading(added.entry.id), sign=False)
    with pytest.raises(ValueError, match="must be unread"):
        store.set_eye(added.entry.id, added.images[0].digest, Eye.LEFT)


def test_suggestions_and_readings_are_kept_in_order(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    again = replace(SUGGESTED, model="b" * 64)
    made = [store.add_suggestion(study, each) for each in (SUGGESTED, again)]
    assert store.suggestions(study) == tuple(made)
    assert [each.diagnosis for each in made] == [SUGGESTED, again]
    assert made[0].digest == diagnosis_digest(SUGGESTED)
    draft = store.add_reading(reading(study, suggestion=made[1].digest, seen=True, note="\0 é 目"), sign=False)
    final = store.add_reading(reading(study, grade=3, overrules="haemorrhages"), sign=True)
    assert store.readings(study) == (draft, final)
    assert draft.signed is None
    assert final.signed is not None
    assert draft.reading.note == "\0 é 目"


def test_a_demonstration_cannot_be_signed(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    demonstration = store.add_suggestion(study, replace(SUGGESTED, demonstration=True))
    store.add_reading(reading(study, suggestion=demonstration.digest), sign=False)
    for named in (demonstration.digest, None):
        with pytest.raises(ValueError, match="got a demonstration"):
            store.add_reading(reading(study, suggestion=named), sign=True)
    trained = store.add_suggestion(study, SUGGESTED)
    with pytest.raises(ValueError, match="got a demonstration"):
        store.add_reading(reading(study, suggestion=demonstration.digest), sign=True)
    store.add_reading(reading(study, suggestion=trained.digest), sign=True)
    assert store.study(study).entry.status is StudyStatus.SIGNED


def test_a_reading_that_cannot_be_is_refused(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    right = reading(study)
    wrong = {
        "who may log in": replace(right, reader="nobody"),
        "must be one made of study": replace(right, suggestion="f" * 64),
        "must have a zone": replace(right, time=datetime(2026, 1, 1)),
        "must name one eye or more": replace(right, eyes=()),
        "each once": replace(right, eyes=right.eyes * 2),
        "0 to 4": replace(right, eyes=(EyeReading(Eye.LEFT, True, 5),)),
        "0 to 4, and none where": replace(right, eyes=(EyeReading(Eye.LEFT, True, None),)),
        r"\(left, right\), got left": replace(right, eyes=right.eyes[:1]),
        "got left, right, unknown": replace(right, eyes=(*right.eyes, EyeReading(Eye.UNKNOWN, True, 0))),
        "not gradable, got 2": replace(right, eyes=(EyeReading(Eye.LEFT, False, 2),)),
    }
    for message, each in wrong.items():
        with pytest.raises(ValueError, match=message):
            store.add_reading(each, sign=True)
    store.access.set_disabled("anna", True)
    with pytest.raises(ValueError, match="who may log in, got 'anna'"):
        store.add_reading(right, sign=True)
    assert store.readings(study) == ()


def test_nobody_amends_a_reading_that_they_have_not_seen(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    store.add_reading(reading(study), sign=False, signed=0)
    store.add_reading(reading(study), sign=True, signed=0)
    with pytest.raises(ValueError, match="must have 0 signed readings, as its reader saw, got 1"):
        store.add_reading(reading(study, grade=4), sign=True, signed=0)
    store.add_reading(reading(study, grade=4), sign=True, signed=1)


def test_what_cannot_be_read_back_is_not_stored(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    with pytest.raises(ValueError, match="must hold plain numbers"):
        store.add_suggestion(study, replace(SUGGESTED, months=float("nan")))
    assert store.suggestions(study) == ()


@pytest.mark.slow
@given(st.from_type(Diagnosis))
def test_any_diagnosis_is_the_same_after_json(diagnosis: Diagnosis) -> None:
    graded = [eye.graded for eye in diagnosis.eyes if eye.graded is not None]
    numbers = [diagnosis.months, *(number for each in graded for number in _numbers(each))]
    if all(number is None or abs(number) < float("inf") for number in numbers):
        assert DIAGNOSES.validate_json(to_json(DIAGNOSES, diagnosis)) == diagnosis


def _numbers(graded: Graded) -> tuple[float | None, ...]:
    return (*graded.probabilities, graded.referable, graded.vision_threatening, graded.oedema)


def test_what_was_stored_is_compared_with_its_digest(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    store.add_suggestion(study, SUGGESTED)
    with store._database.connection() as connection:
        _drop_guard(connection, "suggestions")
        connection.execute(sa.text("UPDATE suggestions SET diagnosis = replace(diagnosis, 'refer', 'rescreen')"))
    with pytest.raises(ValueError, match="must have the digest"):
        store.suggestions(study)


def _drop_guard(connection: sa.Connection, table: str) -> None:
    sqlite = connection.dialect.name == "sqlite"
    drop = f"DROP TRIGGER {table}_update" if sqlite else f"DROP TRIGGER {table}_change ON {table}"
    connection.execute(sa.text(drop))


def test_the_database_itself_refuses_to_change_what_is_appended(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    store.add_suggestion(study, SUGGESTED)
    store.add_reading(reading(study), sign=True)
    store.views.log(study, "anna")
    sqlite = store._database.engine.dialect.name == "sqlite"
    for table in ("suggestions", "readings", "views"):
        wholesale = f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}" if sqlite else f"TRUNCATE {table}"
        for change in (f"UPDATE {table} SET number = 7", f"DELETE FROM {table}", wholesale):
            with (
                pytest.raises(sa.exc.IntegrityError, match=f"{table} is append-only"),
                store._database.connection() as connection,
            ):
                connection.execute(sa.text(change))
    assert len(store.suggestions(study)) == len(store.readings(study)) == len(store.views.of_study(study)) == 1


def test_signed_readings_are_learned_from(store: Store) -> None:
    blurred = replace(photograph(store.folder, "blurred"), faults=(Fault.BLURRED,))
    sent = arrival(store, "a")
    study = store.add_study(replace(sent, images=(*sent.images, blurred))).entry.id
    store.add_reading(reading(study, grade=3), sign=False)
    assert store.readings_for_training() == ()
    store.add_reading(reading(study, grade=3, seen=True), sign=True)
    store.add_reading(reading(study, grade=2), sign=True)
    store.add_reading(reading(study, grade=4), sign=False)
    left, right = store.readings_for_training()
    assert (left.example.grade, left.example.eye, left.example.patient) == (2, Eye.LEFT, "p1")
    assert (right.example.grade, right.example.eye, right.example.oedema) == (0, Eye.RIGHT, False)
    assert left.example.image.digest() == sent.images[1].digest
    assert (left.seen, left.reader, left.study) == (False, "anna", study)

    ungradable = store.add_study(arrival(store, "b", patient=None)).entry.id
    store.add_reading(reading(ungradable, grade=None), sign=True)
    *_, last = store.readings_for_training()
    assert (last.study, last.example.eye, last.example.patient) == (ungradable, Eye.RIGHT, f"study/{ungradable}")
    assert len(store.readings_for_training()) == 3


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


def test_what_is_old_is_forgotten_and_nothing_else(store: Store, clock: Clock) -> None:
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


def test_the_way_to_forget_is_shut_to_newer_studies(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    store.views.log(study, "anna")
    with store._database.connection() as connection:
        connection.execute(sa.text("INSERT INTO retention VALUES (1, :before)"), {"before": "2020-01-01 00:00:00"})
        with pytest.raises(sa.exc.IntegrityError, match="append-only"):
            connection.execute(sa.text("DELETE FROM views"))
        connection.rollback()
    assert len(store.views.of_study(study)) == 1


def test_files_that_no_row_tells_of_are_found(store: Store) -> None:
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
def test_any_order_of_what_is_done(database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
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


def test_a_row_is_plain_to_read(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    store.add_suggestion(study, SUGGESTED)
    with store._database.connection() as connection:
        (text,) = connection.scalars(sa.text("SELECT diagnosis FROM suggestions"))
    assert json.loads(text)["eyes"][0]["graded"]["grades"] == [2]
