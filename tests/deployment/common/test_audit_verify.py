"""`verify` detects every change of an audit log."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signed_log import ENTRIES, ValidLog, faults_in, head_of, signed_log

from teledx_fed.deployment.common import audit
from teledx_fed.deployment.common.audit import LAID_OUT, SignedHead, entries

lines = st.integers(0, ENTRIES - 1)


def test_an_unchanged_log_has_no_fault(valid_log: ValidLog) -> None:
    assert valid_log.verified(b"".join(valid_log.lines)) == []


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
def test_each_fault_is_listed_once(valid_log: ValidLog, name: str) -> None:
    spoil, faults = SPOILT[name]
    assert valid_log.verified(b"".join(spoil(valid_log.lines))) == faults


def test_a_missing_log_is_a_fault(tmp_path: Path) -> None:
    assert faults_in(tmp_path / "audit.jsonl") == [f"{tmp_path / 'audit.jsonl'} is missing"]


@pytest.mark.slow
@given(data=st.data())
def test_a_changed_byte_is_detected(valid_log: ValidLog, data: st.DataObject) -> None:
    content = bytearray(b"".join(valid_log.lines))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    line = 1 + bytes(content[:at]).count(b"\n")
    assert any(f"line {line} " in fault for fault in valid_log.verified(bytes(content)))


@pytest.mark.slow
@given(data=st.data())
def test_a_changed_byte_in_the_head_file_is_detected(valid_log: ValidLog, data: st.DataObject) -> None:
    head = bytearray(valid_log.head)
    at = data.draw(st.integers(0, len(head) - 1))
    head[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != head[at]))
    assert valid_log.verified(b"".join(valid_log.lines), bytes(head)) != []


@given(first=lines, count=st.integers(1, ENTRIES))
def test_removed_lines_are_detected(valid_log: ValidLog, first: int, count: int) -> None:
    remaining = valid_log.lines[:first] + valid_log.lines[first + count :]
    faults = valid_log.verified(b"".join(remaining))
    cut = first + count >= ENTRIES
    assert any(("cut off" if cut else f"line {first + 1} holds entry {first + count + 1}") in fault for fault in faults)


@given(at=st.integers(0, ENTRIES), copied=lines)
def test_a_repeated_line_is_detected(valid_log: ValidLog, at: int, copied: int) -> None:
    content = [*valid_log.lines[:at], valid_log.lines[copied], *valid_log.lines[at:]]
    faults = valid_log.verified(b"".join(content))
    assert at == copied or any(re.match(r"line \d+ holds entry", fault) for fault in faults)


@pytest.mark.slow
@given(at=st.integers(0, ENTRIES), line=st.binary(max_size=80).filter(lambda line: b"\n" not in line))
def test_a_foreign_line_is_detected(valid_log: ValidLog, at: int, line: bytes) -> None:
    content = [*valid_log.lines[:at], line + b"\n", *valid_log.lines[at:]]
    assert any(fault.startswith(f"line {at + 1} ") for fault in valid_log.verified(b"".join(content)))


@given(pair=st.lists(lines, min_size=2, max_size=2, unique=True))
def test_two_swapped_lines_are_detected(valid_log: ValidLog, pair: list[int]) -> None:
    one, other = sorted(pair)
    content = [*valid_log.lines]
    content[one], content[other] = content[other], content[one]
    assert any(fault.startswith(f"line {one + 1} ") for fault in valid_log.verified(b"".join(content)))


@given(data=st.data())
def test_a_cut_end_is_detected(valid_log: ValidLog, data: st.DataObject) -> None:
    content = b"".join(valid_log.lines)
    intact = content[: data.draw(st.integers(0, len(content) - 1))]
    missed = "ends at another byte" if len(intact) == len(content) - 1 else "the end is cut off"
    assert any(missed in fault for fault in valid_log.verified(intact))


def test_a_chain_forged_from_the_middle_is_detected(valid_log: ValidLog) -> None:
    """Every forged entry has the right hash and the hash of the entry before."""
    last, forged = SignedHead(4, json.loads(valid_log.lines[3])["hash"]), list[bytes]()
    for number in range(4, ENTRIES):
        line, digest = audit._line(last, "asked", {"round": 100 + number})
        last = SignedHead(number + 1, digest)
        forged.append(line)
    assert valid_log.verified(b"".join([*valid_log.lines[:4], *forged])) == [
        "entry 8 is not the one in the head file, or ends at another byte"
    ]
    faults = valid_log.verified(b"".join([*valid_log.lines[:4], forged[0], *valid_log.lines[5:]]))
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


def test_a_head_signed_with_another_key_is_detected(valid_log: ValidLog, tmp_path: Path) -> None:
    other = signed_log(tmp_path / "audit.jsonl").key
    valid_log.verified(b"".join(valid_log.lines[:3]))
    entry = json.loads(valid_log.lines[2])
    SignedHead(3, entry["hash"], len(b"".join(valid_log.lines[:3]))).write(valid_log.path, other)
    assert "head is missing or was changed" in faults_in(valid_log.path)[0]
