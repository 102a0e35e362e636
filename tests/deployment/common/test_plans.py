"""Plans as files and as pages, and the records of questions by plan."""

import json
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sites.__main__ import app
from teledx_fed.config.loading import build
from teledx_fed.config.settings import Settings
from teledx_fed.core.weights import Layout, Weights
from teledx_fed.deployment.common.plans import BOUND, FREE, Plan, read, write
from teledx_fed.deployment.site import approvals, questions
from teledx_fed.deployment.site.layout import init_site
from teledx_fed.deployment.site.plan_wording import page
from teledx_fed.deployment.site.questions import Question, QuestionKind
from teledx_fed.deployment.site.settings import SiteDirectory, SiteSettings

WEIGHTS = Weights(np.zeros(2, np.float32), np.zeros(0, np.float32), Layout((("head.weight", (2,)),), ()))
SITE = SiteSettings("north", "localhost:9092")
OTHERS: dict[str, tuple[Any, ...]] = {
    "name": ("fedadam",),
    "head": ("referable",),
    "freeze": ("backbone",),
    "batch_norm": ("frozen",),
    "optimizer": ("sgd",),
    "schedule": ("cosine",),
    "class_balance": ("none",),
    "compression": ("int8",),
    "weighting": ("sqrt",),
}
TOGETHER = ("name", "initial", "file")
"""Settings that are only valid when changed together."""


def planned(purpose: str = "grading", **groups: Any) -> Plan:
    return Plan.of(build(groups) if groups else Settings(), "0.1.0", purpose, WEIGHTS)


BOUND_SETTINGS = [
    (group, name)
    for group, fields in BOUND.items()
    for name in fields or asdict(Settings())[group]
    if name not in FREE.get(group, ())
]
OWN = [("federation", "quorum"), ("federation", "patience"), ("partition", "test"), ("data", "workers")]
OWN += [("outbound", "min_patients"), ("simulation", "threads"), ("evaluation", "folds")]


def test_every_bound_setting_is_in_the_digest() -> None:
    digests = {planned().digest}
    for group, name in BOUND_SETTINGS:
        written = json.loads(planned().text)
        assert name in written["settings"][group]
        written["settings"][group][name] = "another" if name != "file" else "f" * 64
        digests.add(Plan.parse(json.dumps(written)).digest)
    assert len(digests) == 1 + len(BOUND_SETTINGS)


def test_settings_outside_a_plan_do_not_change_its_digest() -> None:
    other = {group: {name: asdict(Settings())[group][name] for g, name in OWN if g == group} for group, _ in OWN}
    changed = {g: {n: v + 1 if isinstance(v, int) else v / 2 for n, v in names.items()} for g, names in other.items()}
    assert planned(**changed).digest == planned().digest


def test_white_space_and_order_do_not_change_a_plan(tmp_path: Path) -> None:
    write(planned(), tmp_path / "plan.json")
    assert read(tmp_path / "plan.json") == planned()
    shuffled = dict(reversed(json.loads(planned().text).items()))
    assert Plan.parse(json.dumps(shuffled, indent=3)).digest == planned().digest
    assert read(tmp_path / "plan.json").run_settings().training == Settings().training


@pytest.mark.parametrize(
    "spoilt",
    ["", "[]", "{", "[" * 10**5, '{"format": 2}', '{"format": 1, "plan": 1}', "null"],
)
def test_an_invalid_file_is_not_a_plan(spoilt: str) -> None:
    with pytest.raises(ValueError, match="PLAN must be a plan"):
        Plan.parse(spoilt)


def test_a_purpose_is_one_printable_line() -> None:
    for purpose in ("grading\nApproved", "\x1b[2Jgrading", "", "g" * 2000):
        with pytest.raises(ValueError, match=r"plan.purpose must be a line"):
            planned(purpose)


def test_the_page_describes_the_plan() -> None:
    shown = "\n".join(page(planned(federation={"rounds": 3}), SITE, runs=1))
    for words in (
        planned(federation={"rounds": 3}).digest,
        "tf_efficientnet_b0; output: five grades",
        "all of its weights",
        "refuses other weights in round 1",
        "AdamW; learning rate 0.001",
        "at most 3 rounds, each asked once, in one run",
        "your own: 20% validate, 30% test",
        "in multiples of 5",
        "From round 2 on, this machine cannot check",
    ):
        assert words in shown
    assert "mean training loss" not in shown
    assert max(map(len, shown.splitlines())) <= 110


@pytest.mark.slow
def test_the_page_shows_every_setting_of_the_plan() -> None:
    """For example `clip_norm`: with a tiny value, AdamW behaves like plain SGD."""

    def shown(plan: Plan) -> str:
        return "\n".join(page(plan, SITE, runs=1)[1:])

    plain, text = shown(planned()), planned().text

    def changes(group: str, name: str, value: object) -> bool:
        written = json.loads(text)
        written["settings"][group][name] = value
        try:
            return shown(Plan.parse(json.dumps(written))) != plain
        except ValueError:  # this value is invalid for this setting
            return False

    for group, name in BOUND_SETTINGS:
        values = OTHERS.get(name, (True, False, 0.4, 1, 32, 0.7))
        assert name in TOGETHER or any(map(partial(changes, group, name), values)), f"{group}.{name} is not on the page"


def test_a_long_purpose_cannot_imitate_a_line_of_the_page() -> None:
    forged = "grading" + " " * 200 + "network         none at all" + " " * 200
    shown = page(planned(forged), SITE, runs=1)
    assert "  " not in shown[1].split("\n")[0]
    assert all(len(line) <= 110 and not line.startswith("network") for line in shown[1].split("\n"))


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"strategy": {"name": "qfedavg"}}, "the mean training loss, 0 to 10 in hundredths"),
        ({"model": {"freeze": "backbone"}}, "its last layer alone"),
        ({"model": {"head": "referable"}}, "behind a hidden layer"),
        ({"training": {"optimizer": "sgd"}}, "a gradient, from which photographs can be reconstructed"),
        ({"federation": {"compression": "int8"}}, "compressed to int8"),
    ],
)
def test_the_page_shows_unusual_settings(groups: dict[str, Any], words: str) -> None:
    assert words in " ".join("\n".join(page(planned(**groups), SITE, runs=1)).split())


@pytest.fixture
def directory(tmp_path: Path) -> SiteDirectory:
    (tmp_path / "ca.crt").write_text("")
    init_site(SiteDirectory(tmp_path / "site"), "north", "localhost:9092", tmp_path / "ca.crt")
    return SiteDirectory(tmp_path / "site")


def test_the_commands(directory: SiteDirectory, tmp_path: Path) -> None:
    write(planned(), tmp_path / "plan.json")
    short, options = planned().digest[:12], ["--dir", str(directory.folder)]
    approve = ["approve", str(tmp_path / "plan.json"), "--reference", "EK 1", "--expires", "2099-01-01", *options]
    assert CliRunner().invoke(app, approve, input="n\n").exit_code == 1
    assert "no plan is approved" in CliRunner().invoke(app, ["approvals", *options]).stdout
    approved = CliRunner().invoke(app, approve, input="y\n")
    assert approved.exit_code == 0
    assert f"approved until 2099-01-01; python -m sites withdraw {short} ends it" in approved.stdout
    listed = CliRunner().invoke(app, ["approvals", *options]).stdout
    assert listed == f"{short}  until 2099-01-01  EK 1  grading  runs 0 of 1\n"
    (facts,) = json.loads(CliRunner().invoke(app, ["approvals", "--json", *options]).stdout)["approvals"]
    assert (facts["plan"], facts["runs"]) == (planned().digest, [])
    assert CliRunner().invoke(app, ["withdraw", str(tmp_path / "plan.json"), *options]).exit_code == 0
    assert CliRunner().invoke(app, ["withdraw", short, *options]).exit_code == 1
    late = CliRunner().invoke(app, [*approve[:-2], "--yes", *options, "--expires", "2020-01-01"])
    assert (late.exit_code, approvals.find(directory, planned().digest)) == (1, None)


asked_questions = st.builds(
    Question,
    st.sampled_from([QuestionKind.ROUND, *QuestionKind]),
    st.integers(-1, 4),
    st.integers(-1, 4),
    st.sampled_from(["a", "b"]),
)


@given(st.lists(st.tuples(st.sampled_from(["first", "second"]), asked_questions), max_size=25))
def test_any_sequence_of_questions_gets_one_answer_a_round(sequence: list[tuple[str, Question]]) -> None:
    """At most one run, with rounds in order, one model for each, one set of scores of each kind, and no round after."""
    histories: dict[str, Any] = {}
    answered: list[tuple[str, Question]] = []
    for run, question in sequence:
        runs = [name for name in histories if name != run]
        if questions.decide(histories.get(run, {}), question, "p", rounds=3, room=not runs) is None:
            histories[run] = {
                "plan": "p",
                "asked": {**histories.get(run, {}).get("asked", {}), question.slot: question.digest},
            }
            answered.append((run, question))
    assert len({run for run, _ in answered}) <= 1
    slots = {question.slot: set() for _, question in answered}
    for _, question in answered:
        slots[question.slot].add(question.digest)
    assert all(len(digests) == 1 for digests in slots.values())
    assert len(slots) <= 3 + 2
    first = list(dict.fromkeys(question.slot for _, question in answered))
    trained = [slot for slot in first if slot.startswith(QuestionKind.ROUND)]
    assert trained == sorted(trained)
    assert first[: len(trained)] == trained


BOUNDED = """
from pathlib import Path
from teledx_fed.deployment.site.joining import bound_memory
from teledx_fed.deployment.site.settings import SiteDirectory
bound_memory(SiteDirectory(Path({folder!r})))
bytearray(3 * 10**9)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("gigabytes", "fails"), [(2, True), (8, False)])
def test_memory_is_bounded(directory: SiteDirectory, gigabytes: int, fails: bool) -> None:
    """The memory is allocated and not written, so only the limit can refuse it."""
    file = directory.folder / "site.yaml"
    file.write_text(
        file.read_text().replace("memory: 8", f"memory: {gigabytes}").replace("device: auto", "device: cpu")
    )
    ended = subprocess.run(
        [sys.executable, "-c", BOUNDED.format(folder=str(directory.folder))], capture_output=True, text=True
    )
    assert ended.stderr.endswith("MemoryError\n") == fails
    assert (ended.returncode != 0) == fails


def test_the_terms_of_an_approval_are_checked_before_the_plan_is_shown() -> None:
    for reference, expires, runs in (("", "2099-01-01", 1), ("R1", "2020-01-01", 1), ("R1", "2099-01-01", -1)):
        with pytest.raises(ValueError, match=r"--(reference|expires|runs) must"):
            approvals.check_terms(reference, expires, runs)
