"""`verify` detects every change of a log, and distinguishes it from the remains of a crash."""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signed_log import faults_in, signed_log

from teledx_fed.deployment.common import audit
from teledx_fed.deployment.common.audit import LAID_OUT, Head, entries

ENTRIES = 8

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


def head_of(log: Path) -> Path:
    return log.with_name(log.name + ".head")


Tamper = Callable[[list[bytes], bytes], tuple[list[bytes], bytes]]


class Honest:
    """The lines and the head of a valid log; `verified` checks other contents in their place."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "audit.jsonl"
        log = signed_log(self.path)
        for number in range(ENTRIES):
            event = LAID_OUT if number == 0 else "asked"
            log.append(event, round=number, by="server", names=["parameters", "é\n"], nothing=None)
        self.lines = self.path.read_bytes().splitlines(keepends=True)
        self.head = head_of(self.path).read_bytes()

    def verified(self, content: bytes, head: bytes | None = None) -> list[str]:
        self.path.write_bytes(content)
        head_of(self.path).write_bytes(self.head if head is None else head)
        return faults_in(self.path)

    def head_after(self, number: int) -> bytes:
        """Return the head of the log after `number` entries."""
        entry = json.loads(self.lines[number - 1])
        head = Head(number, entry["hash"], len(b"".join(self.lines[:number])))
        head.write(self.path, self.path.with_name("audit.key"))
        return head_of(self.path).read_bytes()


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Honest:
    return Honest(tmp_path_factory.mktemp("log"))


lines = st.integers(0, ENTRIES - 1)


def test_an_entry_contains_its_facts_and_the_time(tmp_path: Path) -> None:
    signed_log(tmp_path / "new" / "audit.jsonl").append("refused", reason="epochs", limits={"epochs": 5, "hours": None})
    (entry,) = entries(tmp_path / "new" / "audit.jsonl")
    assert entry["sequence"] == 1
    assert entry["event"] == "refused"
    assert entry["limits"] == {"epochs": 5, "hours": None}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry["time"])
    assert entry["before"] == "0" * 64
    assert (tmp_path / "new" / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_an_unchanged_log_has_no_fault(honest: Honest) -> None:
    assert honest.verified(b"".join(honest.lines)) == []


SPOILT: dict[str, tuple[Callable[[list[bytes]], list[bytes]], list[str]]] = {
    "changed": (
        lambda x: [*x[:3], x[3].replace(b'"round":3', b'"round":4'), *x[4:]],
        ["line 4 was changed or inserted: it is not an entry of this log"],
    ),
    "the last one changed": (
        lambda x: [*x[:7], x[7].replace(b'"round":7', b'"round":8')],
        [
            "entry 8 is not the one in the head file, or ends at another byte",
            "line 8 was changed or inserted: it is not an entry of this log",
        ],
    ),
    "swapped": (
        lambda x: [*x[:3], x[4], x[3], *x[5:]],
        [
            "line 4 holds entry 5 after entry 3: the entries between were removed",
            "line 5 holds entry 4 after entry 5: it was moved or inserted",
        ],
    ),
    "repeated": (lambda x: [*x, x[7]], ["line 9 holds entry 8 after entry 8: it was moved or inserted"]),
}


@pytest.mark.parametrize("name", SPOILT)
def test_each_fault_is_listed_once(honest: Honest, name: str) -> None:
    spoil, faults = SPOILT[name]
    assert honest.verified(b"".join(spoil(honest.lines))) == faults


def test_a_missing_log_is_a_fault(tmp_path: Path) -> None:
    assert faults_in(tmp_path / "audit.jsonl") == [f"{tmp_path / 'audit.jsonl'} is missing"]


@pytest.mark.slow
@given(data=st.data())
def test_a_changed_byte_is_detected(honest: Honest, data: st.DataObject) -> None:
    content = bytearray(b"".join(honest.lines))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    line = 1 + bytes(content[:at]).count(b"\n")
    assert any(f"line {line} " in fault for fault in honest.verified(bytes(content)))


@pytest.mark.slow
@given(data=st.data())
def test_a_changed_byte_in_the_head_file_is_detected(honest: Honest, data: st.DataObject) -> None:
    head = bytearray(honest.head)
    at = data.draw(st.integers(0, len(head) - 1))
    head[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != head[at]))
    assert honest.verified(b"".join(honest.lines), bytes(head)) != []


@given(first=lines, count=st.integers(1, ENTRIES))
def test_removed_lines_are_detected(honest: Honest, first: int, count: int) -> None:
    remaining = honest.lines[:first] + honest.lines[first + count :]
    faults = honest.verified(b"".join(remaining))
    cut = first + count >= ENTRIES
    assert any(("cut off" if cut else f"line {first + 1} holds entry {first + count + 1}") in fault for fault in faults)


@given(at=st.integers(0, ENTRIES), copied=lines)
def test_a_repeated_line_is_detected(honest: Honest, at: int, copied: int) -> None:
    content = [*honest.lines[:at], honest.lines[copied], *honest.lines[at:]]
    assert any(re.match(r"line \d+ holds entry", fault) for fault in honest.verified(b"".join(content))) or at == copied


@pytest.mark.slow
@given(at=st.integers(0, ENTRIES), line=st.binary(max_size=80).filter(lambda line: b"\n" not in line))
def test_a_foreign_line_is_detected(honest: Honest, at: int, line: bytes) -> None:
    content = [*honest.lines[:at], line + b"\n", *honest.lines[at:]]
    assert any(fault.startswith(f"line {at + 1} ") for fault in honest.verified(b"".join(content)))


@given(pair=st.lists(lines, min_size=2, max_size=2, unique=True))
def test_two_swapped_lines_are_detected(honest: Honest, pair: list[int]) -> None:
    one, other = sorted(pair)
    content = [*honest.lines]
    content[one], content[other] = content[other], content[one]
    assert any(fault.startswith(f"line {one + 1} ") for fault in honest.verified(b"".join(content)))


@given(data=st.data())
def test_a_cut_end_is_detected(honest: Honest, data: st.DataObject) -> None:
    content = b"".join(honest.lines)
    intact = content[: data.draw(st.integers(0, len(content) - 1))]
    missed = "ends at another byte" if len(intact) == len(content) - 1 else "the end is cut off"
    assert any(missed in fault for fault in honest.verified(intact))


@settings(max_examples=20)
@given(data=st.data())
def test_a_crash_at_any_byte_is_a_torn_line_and_appending_continues(honest: Honest, data: st.DataObject) -> None:
    """The head is one entry behind, and only some bytes of that entry's line were written."""
    number = data.draw(st.integers(1, ENTRIES - 1))
    line = honest.lines[number]
    part = line[: data.draw(st.integers(0, len(line)))]
    torn = 0 < len(part) < len(line) - 1
    faults = honest.verified(b"".join(honest.lines[:number]) + part, honest.head_after(number))
    assert faults == ([f"line {number + 1} is torn: the entry is incomplete"] if torn else [])

    signed_log(honest.path).append("restarted")
    assert faults_in(honest.path) == []
    assert honest.path.read_bytes().startswith(b"".join(honest.lines[:number]) + part)
    events = [entry["event"] for entry in entries(honest.path)][number:]
    assert events == ([audit.TORN] if torn else ["asked"] * (len(part) > 0)) + ["restarted"]


@settings(max_examples=20)
@given(data=st.data())
def test_a_reported_torn_line_cannot_be_changed(honest: Honest, data: st.DataObject) -> None:
    torn = honest.lines[3][: data.draw(st.integers(1, len(honest.lines[3]) - 2))]
    honest.verified(b"".join(honest.lines[:3]) + torn, honest.head_after(3))
    signed_log(honest.path).append("restarted")
    content, head = honest.path.read_bytes(), head_of(honest.path).read_bytes()
    assert honest.verified(content, head) == []
    gone = content.replace(torn + b"\n", b"", 1)
    changed = content.replace(torn + b"\n", torn[:-1] + b"~\n", 1)
    for spoilt in (gone, changed):
        assert any("tells of a torn line" in fault or "line 4 " in fault for fault in honest.verified(spoilt, head))


def test_two_crashes_in_a_row(honest: Honest) -> None:
    before = b"".join(honest.lines[:3])
    assert len(honest.verified(before + b'{"sequence":4\n{"seq', honest.head_after(3))) == 2
    signed_log(honest.path).append("restarted")
    assert faults_in(honest.path) == []


def test_a_log_with_a_cut_end_continues_and_keeps_the_gap(honest: Honest) -> None:
    honest.verified(b"".join(honest.lines[:5])[:-1])
    signed_log(honest.path).append("restarted")
    assert faults_in(honest.path) == ["line 6 holds entry 9 after entry 5: the entries between were removed"]


def test_a_removed_log_continues_from_its_head(honest: Honest) -> None:
    honest.verified(b"")
    honest.path.unlink()
    signed_log(honest.path).append("restarted")
    assert faults_in(honest.path) == ["line 1 holds entry 9 after entry 0: the entries between were removed"]


def test_a_lost_head_is_reported_forever(honest: Honest) -> None:
    assert "head is missing" in honest.verified(b"".join(honest.lines[:5]), b"gone")[0]
    head_of(honest.path).unlink()
    assert "head is missing" in faults_in(honest.path)[0]
    signed_log(honest.path).append("restarted")
    signed_log(honest.path).append("restarted")
    assert faults_in(honest.path) == ["line 6 reports that the head was lost: entries before it may be missing"]


def test_a_chain_forged_from_the_middle_is_detected(honest: Honest) -> None:
    """Every forged entry has the right hash and the hash of the entry before."""
    last, forged = Head(4, json.loads(honest.lines[3])["hash"]), list[bytes]()
    for number in range(4, ENTRIES):
        line, digest = audit._line(last, "asked", {"round": 100 + number})
        last = Head(number + 1, digest)
        forged.append(line)
    assert honest.verified(b"".join([*honest.lines[:4], *forged])) == [
        "entry 8 is not the one in the head file, or ends at another byte"
    ]
    faults = honest.verified(b"".join([*honest.lines[:4], forged[0], *honest.lines[5:]]))
    assert "line 6 does not follow entry 5 as it is now: one of the two was changed" in faults


def test_malformed_lines_with_a_correct_hash_do_not_stop_verify(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    signed_log(path).append(LAID_OUT)
    rest = b',"time":"","event":"asked","before":""'
    wrong = (
        b'{"sequence":true' + rest,
        b'{"sequence":2,"event":3',
        b'{"sequence":' + b"[" * 100_000 + rest,
        b'{"sequence":' + b"9" * 5000 + rest,
    )
    for body in wrong:
        digest = audit.hashlib.sha256(body).hexdigest()
        with path.open("ab") as log:
            log.write(body + f',"hash":"{digest}"}}\n'.encode())
    assert len(faults_in(path)) == 4
    assert len(list(entries(path))) == 1
    signed_log(path).append("asked")
    assert [entry["event"] for entry in entries(path)] == [LAID_OUT, audit.TORN, "asked"]


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


def test_a_log_that_was_started_again_is_detected(tmp_path: Path) -> None:
    log = signed_log(tmp_path / "audit.jsonl")
    log.append(LAID_OUT)
    log.append("asked")
    for path in (log.path, head_of(log.path)):
        path.unlink()
    log.append("asked")
    assert faults_in(log.path) == [
        "the first entry must be the one that init wrote, got 'asked': the log was started again"
    ]


def test_a_head_signed_with_another_key_is_detected(honest: Honest, tmp_path: Path) -> None:
    other = signed_log(tmp_path / "audit.jsonl").key
    honest.verified(b"".join(honest.lines[:3]))
    entry = json.loads(honest.lines[2])
    Head(3, entry["hash"], len(b"".join(honest.lines[:3]))).write(honest.path, other)
    assert "head is missing or was changed" in faults_in(honest.path)[0]
