"""Both sides log the same digest of a message, and a comparison finds messages that only one side logged."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signed_log import faults_in, signed_log

from teledx_fed.deployment.common.receipts import LISTED, Packed, contents, digest, unmatched

MESSAGE = {
    "parameters": {"parameters": Packed("float32", (2,), b"12345678"), "scales": Packed("float32", (1,), b"1234")},
    "metrics": {"round": 3, "train_loss": 0.25},
    "config": {"split": "test", "list": [1, 2], "raw": b"\x00\xff"},
    "tables": {},
}

names = st.text(max_size=5)
plain = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(), st.binary(max_size=4), names)
packed = st.builds(Packed, names, st.lists(st.integers(0, 9), max_size=2).map(tuple), st.binary(max_size=8))
messages = st.dictionaries(names, st.dictionaries(names, packed | plain, max_size=3), max_size=3)


def turned(message: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    return {record: dict(reversed(values.items())) for record, values in reversed(message.items())}


@given(message=messages)
def test_the_digest_does_not_depend_on_the_order_of_names(message: dict[str, dict[str, object]]) -> None:
    assert digest(message) == digest(turned(message))


@given(one=messages, other=messages)
def test_two_messages_have_two_digests(one: dict[str, dict[str, object]], other: dict[str, dict[str, object]]) -> None:
    same = repr(sorted((r, sorted(v.items(), key=str)) for r, v in one.items())) == repr(
        sorted((r, sorted(v.items(), key=str)) for r, v in other.items())
    )
    assert same == (digest(one) == digest(other))


@pytest.mark.parametrize(
    "other",
    [
        {"parameters": {"parameters": Packed("float32", (2,), b"12345679")}},
        {"parameters": {"parameters": Packed("float64", (2,), b"12345678")}},
        {"parameters": {"parameters": Packed("float32", (2, 1), b"12345678")}},
        {"parameters": {"weights": Packed("float32", (2,), b"12345678")}},
        {"parameters": {}, "parameters2": {"parameters": Packed("float32", (2,), b"12345678")}},
        {"parameters": {"parameters": Packed("float32", (2,), b"1234567"), "8": 1}},
    ],
)
def test_any_difference_changes_the_digest(other: dict[str, dict[str, object]]) -> None:
    assert digest(other) != digest({"parameters": {"parameters": Packed("float32", (2,), b"12345678")}})


def test_bytes_and_text_have_different_digests() -> None:
    assert digest({"config": {"key": b"\x00"}}) != digest({"config": {"key": "00"}})


def test_the_digest_of_an_example_is_stable() -> None:
    assert digest(MESSAGE) == "088fffa5c98b67196489217fd32a32540a6b8039aea54e0929f680dc7bf534fb"


def test_contents_are_names_forms_and_numbers() -> None:
    assert json.loads(json.dumps(contents(MESSAGE))) == {
        "config": {"list": "a list", "raw": "a bytes", "split": "test"},
        "metrics": {"round": 3, "train_loss": 0.25},
        "parameters": {
            "parameters": {"dtype": "float32", "shape": [2], "bytes": 8},
            "scales": {"dtype": "float32", "shape": [1], "bytes": 4},
        },
        "tables": {},
    }


def test_the_log_of_a_hostile_message_is_short(tmp_path: Path) -> None:
    swollen = Packed("x" * 10**6, (1,) * 10**5, b"")
    hostile = {
        **{f"{number}": {"a": swollen} for number in range(500)},
        "0": {**{f"{number:04}" + "n" * 10**4: "t" * 10**4 for number in range(500)}},
        "1": {"nan": float("nan"), "infinite": float("-inf"), "huge": 10**5000, "yes": True},
    }
    log = signed_log(tmp_path / "audit.jsonl")
    log.append("laid out")
    log.append("refused", contents=contents(hostile))
    assert log.path.stat().st_size < 50_000
    assert faults_in(log.path) == []
    faults = contents(hostile)
    assert faults["and more"] == 500 - LISTED
    assert faults["0"]["and more"] == 500 - LISTED
    assert faults["1"] == {"nan": "nan", "infinite": "-inf", "huge": "a large int", "yes": True}


class Sides:
    def __init__(self, folder: Path) -> None:
        self.site, self.server = signed_log(folder / "site.jsonl"), signed_log(folder / "server.jsonl")

    def down(self, message: str, lost: bool = False) -> None:
        self.server.append("sent", site="north", digest=self.digest(message))
        if not lost:
            self.site.append("received", digest=self.digest(message))

    def up(self, message: str, lost: bool = False) -> None:
        self.site.append("sent", digest=self.digest(message))
        if not lost:
            self.server.append("received", site="north", digest=self.digest(message))

    def digest(self, message: str) -> str:
        return digest({"message": {"text": message}})

    def unmatched(self) -> list[str]:
        faults = unmatched(self.site.path, self.server.path, "north")
        assert sorted(faults) == sorted(unmatched(self.server.path, self.site.path, "north"))
        return faults


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    sides = Sides(tmp_path)
    for number in range(3):
        sides.down("model")
        sides.up(f"update {number}")
    sides.server.append("sent", site="south", digest=sides.digest("another"))
    sides.server.append("received", site="south", digest=sides.digest("update of another"))
    sides.site.append("refused", digest=sides.digest("the request"))
    return sides


def test_logs_of_the_same_messages_agree(sides: Sides) -> None:
    assert sides.unmatched() == []


def test_each_message_in_only_one_log_is_listed(sides: Sides) -> None:
    sides.up("lost on the way", lost=True)
    sides.down("model", lost=True)
    sides.site.append("received", digest=sides.digest("from somebody else"))
    sides.server.append("received", site="north", digest=sides.digest("made up"))
    for faults, (log, event) in zip(
        sides.unmatched(),
        [("site", "sent"), ("server", "sent"), ("site", "received"), ("server", "received")],
        strict=True,
    ):
        assert f"{log}.jsonl {event}" in faults


def test_entries_without_a_digest_are_ignored(sides: Sides) -> None:
    sides.server.append("sent", site="north", digest="\x1b[2J")
    sides.server.append("sent", site="north", digest=[1])
    sides.server.append("sent", site="north")
    assert sides.unmatched() == []
