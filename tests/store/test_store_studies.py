"""Studies in the store: added once, ordered in the worklist, and with permanent readings."""

import json
from dataclasses import replace
from datetime import UTC

import pytest
import sqlalchemy as sa
from invented_studies import SUGGESTED, arrival, photograph, reading

from teledx_fed.core.clinical import Action, Fault, PatientRecord
from teledx_fed.core.examples import Eye, Field
from teledx_fed.store.store import Store
from teledx_fed.store.values import Arrival, StoredImage, StudyStatus


def test_a_study_comes_back_as_it_was_sent(store: Store) -> None:
    sent = replace(photograph(store.folder, "deep/one"), field=Field.DISC, camera="Canon", faults=(Fault.BLURRED,))
    record = PatientRecord(age=54.0, pregnant=False, acuity=0.8)
    added = store.add_study(Arrival("k", "device/north", (sent,), "p1", record, "2026-01-01T10:00:00"))
    stored = store.study(added.entry.id)
    assert stored == added
    assert stored.images == (sent,)
    assert stored.study.record == record
    assert (stored.study.patient, stored.study.acquired) == ("p1", "2026-01-01T10:00:00")
    (image,) = stored.study.images
    assert (image.eye, image.field, image.camera) == (Eye.LEFT, Field.DISC, "Canon")
    assert image.photograph.name == str(store.folder / "deep/one.png")
    assert image.photograph.digest() == sent.digest
    assert stored.entry.status is StudyStatus.RECEIVED
    assert stored.entry.received.tzinfo is UTC


def test_the_same_key_is_the_same_study(store: Store) -> None:
    sent = arrival(store, "k")
    first = store.add_study(sent)
    assert store.add_study(sent) == first
    elsewhere = replace(sent, images=tuple(replace(each, path=f"again/{each.path}") for each in sent.images))
    assert store.add_study(elsewhere) == first, "a retry may have written other files"
    assert len(store.worklist()) == 1
    with pytest.raises(ValueError, match=r"study\.key must be new for a new study, got 'k'"):
        store.add_study(replace(sent, patient="p2"))
    assert store.retention.patients() == {"p1"}
    assert store.add_study(replace(arrival(store, "other"), key="k", source="device/x")).entry.id != first.entry.id


def test_an_incomplete_study_is_refused(store: Store) -> None:
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


def test_the_worklist_has_urgent_studies_first_then_the_oldest(store: Store) -> None:
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


def test_a_sender_sees_only_its_own_studies(store: Store) -> None:
    mine = store.add_study(arrival(store, "a", source="device/mine")).entry
    assert store.submitted("device/mine", mine.id) == mine
    for study in (mine.id, "0" * 32):
        with pytest.raises(ValueError, match="study must be one that is stored"):
            store.submitted("device/other", study)


def test_an_unknown_study_is_named(store: Store) -> None:
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


def test_a_suggestion_is_stored_as_readable_json(store: Store) -> None:
    study = store.add_study(arrival(store, "a")).entry.id
    store.add_suggestion(study, SUGGESTED)
    with store._database.connection() as connection:
        (text,) = connection.scalars(sa.text("SELECT diagnosis FROM suggestions"))
    assert json.loads(text)["eyes"][0]["graded"]["grades"] == [2]
