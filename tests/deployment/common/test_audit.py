"""Append to an audit log: entries, damage by a crash, a full disk, and several processes."""

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signed_log import ENTRIES, ValidLog, faults_in, head_of, signed_log

from teledx_fed.deployment.common import audit
from teledx_fed.deployment.common.audit import LAID_OUT, entries

APPENDER = """
import sys
from pathlib import Path
from teledx_fed.deployment.common.audit import AuditLog
path = Path(sys.argv[1])
log, number, times = AuditLog(path, path.with_name("audit.key")), int(sys.argv[2]), int(sys.argv[3])
for turn in range(times):
    log.append("sent", appender=number, turn=turn, padding="x" * 3000)
"""


def appender(log: Path, number: int, times: int) -> subprocess.Popen[bytes]:
    signed_log(log)
    return subprocess.Popen([sys.executable, "-c", APPENDER, str(log), str(number), str(times)])


def test_an_entry_contains_its_facts_and_the_time(tmp_path: Path) -> None:
    signed_log(tmp_path / "new" / "audit.jsonl").append("refused", reason="epochs", limits={"epochs": 5, "hours": None})
    (entry,) = entries(tmp_path / "new" / "audit.jsonl")
    assert entry["sequence"] == 1
    assert entry["event"] == "refused"
    assert entry["limits"] == {"epochs": 5, "hours": None}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry["time"])
    assert entry["before"] == "0" * 64
    assert (tmp_path / "new" / "audit.jsonl").stat().st_mode & 0o777 == 0o600


@settings(max_examples=20)
@given(data=st.data())
def test_a_crash_at_any_byte_is_a_torn_line_and_appending_continues(valid_log: ValidLog, data: st.DataObject) -> None:
    """The head is one entry behind, and only some bytes of that entry's line were written."""
    number = data.draw(st.integers(1, ENTRIES - 1))
    line = valid_log.lines[number]
    part = line[: data.draw(st.integers(0, len(line)))]
    torn = 0 < len(part) < len(line) - 1
    faults = valid_log.verified(b"".join(valid_log.lines[:number]) + part, valid_log.head_after(number))
    assert faults == ([f"line {number + 1} is torn: the entry is incomplete"] if torn else [])

    signed_log(valid_log.path).append("restarted")
    assert faults_in(valid_log.path) == []
    assert valid_log.path.read_bytes().startswith(b"".join(valid_log.lines[:number]) + part)
    events = [entry["event"] for entry in entries(valid_log.path)][number:]
    assert events == ([audit.TORN] if torn else ["asked"] * (len(part) > 0)) + ["restarted"]


@settings(max_examples=20)
@given(data=st.data())
def test_a_reported_torn_line_cannot_be_changed(valid_log: ValidLog, data: st.DataObject) -> None:
    torn = valid_log.lines[3][: data.draw(st.integers(1, len(valid_log.lines[3]) - 2))]
    valid_log.verified(b"".join(valid_log.lines[:3]) + torn, valid_log.head_after(3))
    signed_log(valid_log.path).append("restarted")
    content, head = valid_log.path.read_bytes(), head_of(valid_log.path).read_bytes()
    assert valid_log.verified(content, head) == []
    gone = content.replace(torn + b"\n", b"", 1)
    changed = content.replace(torn + b"\n", torn[:-1] + b"~\n", 1)
    for spoilt in (gone, changed):
        assert any("reports a torn line" in fault or "line 4 " in fault for fault in valid_log.verified(spoilt, head))


def test_two_crashes_in_a_row(valid_log: ValidLog) -> None:
    before = b"".join(valid_log.lines[:3])
    assert len(valid_log.verified(before + b'{"sequence":4\n{"seq', valid_log.head_after(3))) == 2
    signed_log(valid_log.path).append("restarted")
    assert faults_in(valid_log.path) == []


def test_a_log_with_a_cut_end_continues_and_keeps_the_gap(valid_log: ValidLog) -> None:
    valid_log.verified(b"".join(valid_log.lines[:5])[:-1])
    signed_log(valid_log.path).append("restarted")
    assert faults_in(valid_log.path) == ["line 6 holds entry 9 after entry 5: the entries between were removed"]


def test_a_removed_log_continues_from_its_head(valid_log: ValidLog) -> None:
    valid_log.verified(b"")
    valid_log.path.unlink()
    signed_log(valid_log.path).append("restarted")
    assert faults_in(valid_log.path) == ["line 1 holds entry 9 after entry 0: the entries between were removed"]


def test_a_lost_head_is_reported_forever(valid_log: ValidLog) -> None:
    assert "head is missing" in valid_log.verified(b"".join(valid_log.lines[:5]), b"gone")[0]
    head_of(valid_log.path).unlink()
    assert "head is missing" in faults_in(valid_log.path)[0]
    signed_log(valid_log.path).append("restarted")
    signed_log(valid_log.path).append("restarted")
    assert faults_in(valid_log.path) == ["line 6 reports that the head was lost: entries before it may be missing"]


def test_facts_that_are_not_json_are_refused_before_a_write(tmp_path: Path) -> None:
    log = signed_log(tmp_path / "audit.jsonl")
    log.append("asked")
    before = log.path.read_bytes()
    for wrong in (float("nan"), object(), b"bytes"):
        with pytest.raises((ValueError, TypeError)):
            log.append("asked", wrong=wrong)
    with pytest.raises(AssertionError):
        log.append("asked", sequence=7)
    assert log.path.read_bytes() == before


def test_a_full_disk_is_an_error_and_the_log_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, write = signed_log(tmp_path / "audit.jsonl"), os.write
    log.append(LAID_OUT)
    monkeypatch.setattr(audit.os, "write", lambda file, content: write(file, content[:40]))
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            log.append("asked")
    monkeypatch.undo()
    log.append("asked")
    assert faults_in(log.path) == []


def test_append_reads_only_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, read = signed_log(tmp_path / "audit.jsonl"), list[bytes]()
    for _ in range(50):
        log.append("asked")
    monkeypatch.setattr(audit.Chain, "read", lambda chain, line: read.append(line) or [])
    log.append("asked")
    assert read == []


def test_append_and_verify_wait_for_the_lock(tmp_path: Path) -> None:
    log = signed_log(tmp_path / "audit.jsonl")
    log.append("asked")
    with audit._locked(log.path):
        waiting = [Thread(target=log.append, args=("asked",)), Thread(target=faults_in, args=(log.path,))]
        for thread in waiting:
            thread.start()
        time.sleep(0.1)
        assert all(thread.is_alive() for thread in waiting)
    for thread in waiting:
        thread.join(10)
    assert [entry["sequence"] for entry in entries(log.path)] == [1, 2]


@pytest.mark.slow
def test_concurrent_processes_write_one_chain(tmp_path: Path) -> None:
    path, times = tmp_path / "audit.jsonl", 10
    signed_log(path).append(LAID_OUT)
    appenders = [appender(path, number, times) for number in range(4)]
    while any(process.poll() is None for process in appenders):
        assert not head_of(path).exists() or faults_in(path) == []
        time.sleep(0.02)
    assert [process.returncode for process in appenders] == [0] * 4
    assert faults_in(path) == []
    entry_lines = [(entry["appender"], entry["turn"]) for entry in entries(path) if entry["event"] == "sent"]
    assert sorted(entry_lines) == [(number, turn) for number in range(4) for turn in range(times)]


@pytest.mark.slow
def test_a_killed_process_leaves_at_most_one_torn_line(tmp_path: Path) -> None:
    path, drawn = tmp_path / "audit.jsonl", random.Random(0)
    signed_log(path).append(LAID_OUT)
    for number in range(6):
        process = appender(path, number, 100_000)
        written = path.stat().st_size if path.exists() else 0
        while not path.exists() or path.stat().st_size <= written:
            time.sleep(0.01)
        time.sleep(drawn.uniform(0, 0.05))
        process.kill()
        process.wait()
        assert all("is torn" in fault for fault in faults_in(path))
        signed_log(path).append("restarted")
        assert faults_in(path) == []
    assert [entry["event"] for entry in entries(path)].count("restarted") == 6
