"""Suggestions and readings in the store: append-only, in order, with digests; what training learns from them."""

from dataclasses import replace
from datetime import datetime

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from invented_studies import SUGGESTED, arrival, photograph, reading

from teledx_fed.core.clinical import Diagnosis, EyeReading, Fault, Graded
from teledx_fed.core.examples import Eye
from teledx_fed.store.rows import DIAGNOSES, diagnosis_digest, to_json
from teledx_fed.store.store import Store
from teledx_fed.store.values import StudyStatus


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


def test_an_invalid_reading_is_refused(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    right = reading(study)
    wrong = {
        "who may log in": replace(right, reader="nobody"),
        "must be a suggestion for study": replace(right, suggestion="f" * 64),
        "must have a time zone": replace(right, time=datetime(2026, 1, 1)),
        "must name at least one eye": replace(right, eyes=()),
        "no eye twice": replace(right, eyes=right.eyes * 2),
        "0 to 4": replace(right, eyes=(EyeReading(Eye.LEFT, True, 5),)),
        "0 to 4 for a gradable eye": replace(right, eyes=(EyeReading(Eye.LEFT, True, None),)),
        r"\(left, right\), got left": replace(right, eyes=right.eyes[:1]),
        "got left, right, unknown": replace(right, eyes=(*right.eyes, EyeReading(Eye.UNKNOWN, True, 0))),
        "empty for another one, got 2": replace(right, eyes=(EyeReading(Eye.LEFT, False, 2),)),
    }
    for message, each in wrong.items():
        with pytest.raises(ValueError, match=message):
            store.add_reading(each, sign=True)
    store.access.set_disabled("anna", True)
    with pytest.raises(ValueError, match="who may log in, got 'anna'"):
        store.add_reading(right, sign=True)
    assert store.readings(study) == ()


def test_a_reader_cannot_amend_an_unseen_signed_reading(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    store.add_reading(reading(study), sign=False, signed_count=0)
    store.add_reading(reading(study), sign=True, signed_count=0)
    with pytest.raises(ValueError, match=r"as many signed readings as the reader saw \(0\), got 1"):
        store.add_reading(reading(study, grade=4), sign=True, signed_count=0)
    store.add_reading(reading(study, grade=4), sign=True, signed_count=1)


def test_a_value_that_json_changes_is_not_stored(store: Store) -> None:
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


def test_stored_text_is_compared_with_its_digest(store: Store) -> None:
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


def test_the_database_refuses_changes_of_append_only_rows(store: Store) -> None:
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
