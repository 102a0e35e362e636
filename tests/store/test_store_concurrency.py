"""Several processes on one store: nothing is lost or incomplete, even if a process is killed."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from invented_studies import SUGGESTED, arrival, reading

from teledx_fed.store.store import Store, open_store
from teledx_fed.store.values import Role, StudyStatus

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from invented_studies import SUGGESTED, arrival, reading
from teledx_fed.store.store import open_store
store = open_store(sys.argv[2], Path(sys.argv[3]))
who, times = sys.argv[4], int(sys.argv[5])
for turn in range(times):
    study = store.add_study(arrival(store, f"{who}-{turn}", source=f"page/{who}")).entry.id
    try:
        suggested = store.add_suggestion(study, SUGGESTED)
        store.views.log(study, "anna")
        store.add_reading(reading(study, suggestion=suggested.digest), sign=True)
    except ValueError as error:
        if "study must be one that is stored" not in str(error):
            raise
    else:
        print(study, flush=True)
"""


def writer(url: str, folder: Path, who: str, times: int) -> subprocess.Popen[str]:
    arguments = [str(Path(__file__).parent), url, str(folder), who, str(times)]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True)


def whole(store: Store, study: str) -> bool:
    """Return whether a study has both images, and the suggestions and readings of its status."""
    stored = store.study(study)
    counts = len(store.suggestions(study)), len(store.readings(study))
    expected = {StudyStatus.RECEIVED: (0, 0), StudyStatus.DIAGNOSED: (1, 0), StudyStatus.SIGNED: (1, 1)}
    return len(stored.images) == 2 and counts == expected[stored.entry.status]


def all_studies(store: Store) -> list[str]:
    return [entry.id for entry in (*store.worklist(10_000), *store.signed(10_000))]


@pytest.mark.slow
def test_concurrent_processes_lose_no_study(store: Store, database_url: str, tmp_path: Path) -> None:
    writers = [writer(database_url, tmp_path, f"writer {number}", 25) for number in range(3)]
    reported = [line for each in writers for line in each.communicate(timeout=120)[0].split()]
    assert [each.returncode for each in writers] == [0, 0, 0]
    assert sorted(all_studies(store)) == sorted(reported)
    assert len(reported) == 75
    assert all(whole(store, study) and store.study(study).entry.status is StudyStatus.SIGNED for study in reported)


@pytest.mark.slow
def test_a_killed_process_leaves_no_half_study(store: Store, database_url: str, tmp_path: Path) -> None:
    """Kill a process four times, at different moments, while another one continues."""
    steady = writer(database_url, tmp_path, "steady", 150)
    reported = list[str]()
    for turn in range(4):
        doomed = writer(database_url, tmp_path, f"doomed {turn}", 100_000)
        assert doomed.stdout is not None
        reported += [doomed.stdout.readline().strip() for _ in range(3 + turn)]
        time.sleep(0.007 * turn)
        os.kill(doomed.pid, signal.SIGKILL)
        reported += doomed.communicate()[0].split()
    reported += steady.communicate(timeout=200)[0].split()
    assert steady.returncode == 0
    stored = all_studies(store)
    assert set(reported) <= set(stored), "each study that a writer reported is stored"
    assert len(stored) - len(reported) <= 4, "and of each that was killed at most the one it was at"
    assert all(whole(store, study) for study in stored)
    assert _is_sound(store)
    again = arrival(store, "doomed 0-0", source="page/doomed 0")
    assert store.add_study(again).entry.id in reported, "a retry finds its study"


def _is_sound(store: Store) -> bool:
    if store._database.is_postgresql:
        return True
    with store._database.connection() as connection:
        checks = [connection.scalar(sa.text(f"PRAGMA {check}")) for check in ("integrity_check", "foreign_key_check")]
    return checks == ["ok", None]


@pytest.mark.slow
def test_deleting_old_studies_does_not_disturb_writers(store: Store, database_url: str, tmp_path: Path) -> None:
    """Delete all studies while writers add to them: a writer gets at most an error that it handles."""
    busy = [writer(database_url, tmp_path, f"busy {number}", 60) for number in range(2)]
    forgotten = 0
    while any(each.poll() is None for each in busy):
        forgotten += store.retention.forget(datetime.now(UTC)).studies
        time.sleep(0.02)
    for each in busy:
        each.communicate()
    assert [each.returncode for each in busy] == [0, 0]
    left = all_studies(store)
    assert all(whole(store, study) for study in left)
    assert forgotten > 0
    assert forgotten + len(left) == 120
    assert store.retention.forget(datetime.now(UTC)).studies == len(left)
    assert all_studies(store) == []
    assert store.retention.patients() == frozenset()
    assert _is_sound(store)


def test_two_stores_of_one_database_see_each_others_studies(tmp_path: Path) -> None:
    first, second = open_store("", tmp_path), open_store("", tmp_path)
    first.access.add_user("anna", Role.READER, None)
    study = first.add_study(arrival(first, "a")).entry.id
    second.add_suggestion(study, SUGGESTED)
    second.add_reading(reading(study), sign=True)
    assert first.study(study).entry.status is StudyStatus.SIGNED
    first.close()
    second.close()
