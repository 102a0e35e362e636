"""Counts of a store's contents."""

from dataclasses import replace
from pathlib import Path

from invented_studies import SUGGESTED, Clock, arrival, reading

from teledx_fed.core.clinical import Action, Certainty
from teledx_fed.store.store import Store


def test_an_empty_store(store: Store) -> None:
    census = store.census()
    assert (census.studies, census.waiting, census.oldest_waiting, census.uploads) == ({}, {}, None, 0)


def test_studies_suggestions_and_readings_are_counted_without_names(store: Store, clock: Clock) -> None:
    sources = {"a": "page/anna", "b": "page/bob", "c": "link/1234", "d": "device/camera"}
    ids = {key: store.add_study(arrival(store, key, source=source)).entry.id for key, source in sources.items()}
    doubtful = replace(SUGGESTED, certainty=Certainty.UNCERTAIN, action=Action.HUMAN_READ)
    for key, diagnosis in {"a": SUGGESTED, "b": SUGGESTED, "c": doubtful}.items():
        store.add_suggestion(ids[key], diagnosis)
    store.add_reading(reading(ids["a"], Action.URGENT, overrules='new "vessels", \0', note="\0"), sign=True)
    store.add_reading(reading(ids["b"], note='"overrules":"x"'), sign=False)
    for source in ("dicom/CAMERA", "dicom/OTHER", "folder"):
        store.refusals.add(source, None, "no fundus")
    store.refusals.settle(store.refusals.open()[0].id, "anna")
    census = store.census()
    assert census.refused == {"dicom": 2}
    assert census.studies == {
        ("page", "signed"): 1,
        ("page", "read"): 1,
        ("link", "diagnosed"): 1,
        ("device", "received"): 1,
    }
    assert census.waiting == {"refer": 1, "human_read": 1, "none": 1}
    assert census.oldest_waiting == store.study(ids["b"]).entry.received
    assert census.suggestions == {("refer", "confident"): 2, ("human_read", "uncertain"): 1}
    assert census.readings == {(True, True): 1, (False, False): 1}


def test_the_store_records_the_time_of_the_last_backup(store: Store, tmp_path: Path) -> None:
    assert store.last_backup is None
    store.backup(tmp_path / "backup.zip")
    first = store.last_backup
    assert first is not None
