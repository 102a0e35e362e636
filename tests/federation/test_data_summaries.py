"""Summaries of the sites' data before training, and the readiness of sites."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Error, Message, RecordDict

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Identification, SetAside, SetAsideReason, Site
from teledx_fed.core.reports import Readiness
from teledx_fed.core.updates import Tables
from teledx_fed.data.summary import CELLS, SHAPES, by_cell
from teledx_fed.federation.data_summaries import ask_for_summaries, readiness, together
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.messages import PARAMETERS, TABLES, arrays, vector
from teledx_fed.federation.send_and_collect import Replies
from teledx_fed.federation.site import Hospital, client_app

NAMES = ("east", "north", "west")
Spoil = Callable[[Message], Message]


@pytest.fixture
def ask(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path
) -> Callable[..., tuple[Replies, dict[str, Tables]]]:
    """Ask three hospitals of 60 patients; `spoil` changes the replies of the sites that it names."""

    def ask(
        spoil: Mapping[str, Spoil] = {}, sites: Sequence[Site] = (), **overrides: object
    ) -> tuple[Replies, dict[str, Tables]]:
        settings = tiny_settings(**overrides)
        there = sites or [tiny_site(name, 20) for name in NAMES]
        hospitals = {site.name: Hospital(site, None, settings, tmp_path) for site in there}  # type: ignore[arg-type]
        app = client_app(lambda context: hospitals[str(context.node_config["site"])])

        def spoiled(message: Message, context: Context) -> Message:
            return spoil.get(str(context.node_config["site"]), lambda reply: reply)(app(message, context))

        return ask_for_summaries(InProcessGrid([spoiled], list(hospitals)), settings.federation)  # type: ignore[list-item]

    return ask


def answering(tables: Callable[[dict[str, np.ndarray]], object]) -> Spoil:
    def spoil(reply: Message) -> Message:
        sent = {name: array.numpy().copy() for name, array in reply.content.array_records[TABLES].items()}
        tables(sent)
        reply.content = RecordDict({TABLES: arrays(sent)})
        return reply

    return spoil


def wordy(reply: Message) -> Message:
    reply.content[PARAMETERS] = vector(np.zeros(3), PARAMETERS)
    return reply


FAULTS: dict[str, tuple[Spoil, str]] = {
    "another record": (wordy, "records of arrays must be those agreed"),
    "nothing": (answering(lambda tables: tables.clear()), "tables must be those agreed"),
    "a table more": (answering(lambda tables: tables.update(names=np.zeros(3))), "tables must be those agreed"),
    "another shape": (answering(lambda tables: tables.update(grades=np.zeros(6))), r"must be float64 \(5,\)"),
    "less than nothing": (answering(lambda tables: tables.update(grades=-np.ones(5))), "grades must lie in 0"),
    "two totals": (answering(lambda tables: tables.update(grades=np.ones(5))), "one total"),
    "an error": (lambda reply: Message(error=Error(2, "ValueError"), metadata=reply.metadata), "ValueError"),
}


def test_every_site_sends_its_tables(ask: Callable[..., tuple[Replies, dict[str, Tables]]]) -> None:
    replies, tables = ask()
    assert replies.accepted == tuple(tables) == NAMES
    assert {name: table.shape for name, table in tables["north"].items()} == SHAPES
    assert by_cell(tables["north"])["grades"] == dict.fromkeys("01234", 20)
    assert by_cell(tables["north"])["patients"][Identification.GIVEN] == 60


@pytest.mark.parametrize(("spoil", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_site_and_a_silent_site_are_not_ready_and_the_reason_is_named(
    spoil: Spoil,
    reason: str,
    ask: Callable[..., tuple[Replies, dict[str, Tables]]],
    tiny_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("teledx_fed.federation.in_process.time.monotonic", lambda: now[0])

    def late(reply: Message) -> Message:
        now[0] += 61
        return reply

    replies, tables = ask({"north": spoil, "west": late}, federation__deadline_seconds=60)
    assert (replies.accepted, tuple(replies.refused), replies.silent) == (("east",), ("north",), ("west",))
    settings = tiny_settings()
    east, north, west = readiness(replies, tables, settings)
    assert east == Readiness("east", True, (), by_cell(tables["east"]))
    assert not north.go
    assert re.search(reason, north.reasons[0])
    assert north.reasons[0].startswith("its answer was refused: ")
    assert west == Readiness("west", False, ("it did not answer in time",))


@pytest.mark.parametrize(("quorum", "go"), [(1, True), (2, True), (3, False)])
def test_a_federation_is_ready_with_a_quorum_of_ready_sites(
    quorum: int, go: bool, tiny_settings: Callable[..., Settings]
) -> None:
    sites = [Readiness("east", True), Readiness("north", False, ("why",)), Readiness("west", True)]
    settings = tiny_settings(federation__quorum=quorum)
    assert together(sites, settings) == Readiness("federation", go, (f"2 of 3 sites are ready, {quorum} needed",))


@pytest.mark.parametrize(("weighting", "warned"), [("examples", True), ("sqrt", False)])
def test_a_site_that_declares_most_photographs_is_named(
    weighting: str, warned: bool, tiny_settings: Callable[..., Settings]
) -> None:
    declared = zip(NAMES, (300, 200, 90_000), strict=True)
    counts = {name: by_cell(tables_with(declared={"at most": most})) for name, most in declared}
    sites = [Readiness(name, True, (), of_site) for name, of_site in counts.items()]
    reasons = together(sites, tiny_settings(strategy__weighting=weighting)).reasons
    assert any("west declares 90000 photographs and would have 99% of the weight" in r for r in reasons) == warned


def tables_with(**changed: Mapping[str, int]) -> Tables:
    """Return the summary of 100 patients with 200 photographs, 80 of them referable; `changed` replaces tables."""
    counts: dict[str, Mapping[str, int]] = {
        "grades": {"0": 100, "1": 20, "2": 60, "4": 20},
        "oedema": {"unknown": 200},
        "cameras": {"canon": 200},
        "sides": {"384–511": 200},
        "patients": {"given": 100},
        "set_aside": {},
        "declared": {"at most": 200},
        **changed,
    }
    return {name: np.array([counts[name].get(cell, 0) for cell in cells], np.float64) for name, cells in CELLS.items()}


@pytest.mark.parametrize(
    ("tables", "go", "reasons"),
    [
        (tables_with(), True, ()),
        (tables_with(patients={"inferred": 45}), False, ("50 patients are needed, it has 45",)),
        (tables_with(patients={}), False, ("50 patients are needed, it has 0",)),
        (
            tables_with(grades={"0": 180, "2": 10, "3": 10}),
            False,
            ("5 referable photographs are needed to validate on, 0.2 of 20 is 4",),
        ),
        (
            tables_with(grades={"0": 200}),
            False,
            (
                "5 referable photographs are needed to validate on, 0.2 of 0 is 0",
                "5 referable photographs are needed to test on, 0.3 of 0 is 0",
            ),
        ),
        (tables_with(set_aside={"ungradable": 200, "bad": 900}), True, ()),
        (tables_with(set_aside={"ungradable": 300}), False, ("at most 50% may be ungradable, 60% are",)),
        (tables_with(sides={"0–127": 200}), False, ("at most 50% may be smaller than 300 px, 100% are",)),
        (tables_with(sides={"0–127": 100, "2048–": 100}), True, ()),
        (tables_with(sides={"224–383": 200}), True, ()),
        (
            tables_with(patients={"unknown": 200}),
            True,
            ("patients are unknown: one with two photographs may be trained and tested on",),
        ),
    ],
)
def test_a_site_is_ready_with_enough_to_learn_from_and_to_score(
    tables: Tables, go: bool, reasons: tuple[str, ...], tiny_settings: Callable[..., Settings]
) -> None:
    replies = Replies(("north",), {}, 0, (), 0, 0)
    settings = tiny_settings(data__image_size=300)
    assert readiness(replies, {"north": tables}, settings) == [Readiness("north", go, reasons, by_cell(tables))]


def test_a_site_with_few_patients_sends_zero_counts(
    ask: Callable[..., tuple[Replies, dict[str, Tables]]], tiny_site: Callable[..., Site]
) -> None:
    site = replace(tiny_site("north", 4), set_aside=(SetAside("patient-7.jpg", SetAsideReason.BAD),))
    _, tables = ask(sites=[site], outbound__min_patients=13)
    assert tables["north"].pop("declared") == 26  # 24, rounded up
    assert not any(table.any() for table in tables["north"].values())


def test_the_summary_holds_no_text_of_the_site(
    ask: Callable[..., tuple[Replies, dict[str, Tables]]], tiny_site: Callable[..., Site]
) -> None:
    sent: list[RecordDict] = []

    def watch(reply: Message) -> Message:
        sent.append(reply.content)
        return reply

    site = tiny_site("north", 20)
    spying = tuple(replace(example, camera="CANARY of patient 7") for example in site.shard.train)
    site = replace(
        site,
        shard=replace(site.shard, train=spying),
        set_aside=tuple(SetAside(f"CANARY-{n}.jpg", SetAsideReason.BAD, "CANARY") for n in range(20)),
    )
    ask({"north": watch}, sites=[site])
    (content,) = sent
    assert set(content) == {TABLES}
    assert not any(b"CANARY" in array.data for array in content.array_records[TABLES].values())
    assert not any("CANARY" in name for name in content.array_records[TABLES])
