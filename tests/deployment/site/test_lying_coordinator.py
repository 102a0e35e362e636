"""The real message handler refuses each invalid request of a dishonest coordinator, with the reason."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from rig import Rig, assert_refused

from teledx_fed.config.settings import Settings
from teledx_fed.core.reports import SILENT
from teledx_fed.core.updates import GlobalModel
from teledx_fed.core.weights import Weights
from teledx_fed.data.hospitals import hospitals
from teledx_fed.deployment.common.audit import entries
from teledx_fed.deployment.common.plans import Plan, sha256_of
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.common.settings import RELEASE
from teledx_fed.deployment.site import approvals, lineage
from teledx_fed.deployment.site.approvals import approve
from teledx_fed.deployment.site.hospital import MessageHandler, own_settings
from teledx_fed.deployment.site.monitoring import Tally
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.federation import messages as wire
from teledx_fed.model.network import build as build_network
from teledx_fed.model.network import save
from teledx_fed.training.worker import Worker


@pytest.fixture
def rig(tmp_path: Path, tiny_settings: Callable[..., Settings]) -> Rig:
    return Rig(tmp_path, tiny_settings(data__hospitals={}, federation__rounds=4))


def assert_nothing_was_computed(rig: Rig) -> None:
    assert not rig.directory.cache.exists()
    assert not (rig.directory.state / "runs").exists()
    assert not (rig.directory.state / "splits").exists()


def varied(settings: Settings, **groups: dict[str, object]) -> Settings:
    return replace(settings, **{name: replace(getattr(settings, name), **fields) for name, fields in groups.items()})  # type: ignore[arg-type]


OTHERS: dict[str, dict[str, dict[str, object]]] = {
    "network": {"model": {"name": "vit_tiny_patch16_224"}},
    "head": {"model": {"head": "referable"}},
    "frozen part": {"model": {"freeze": "backbone"}},
    "one step of SGD": {"training": {"optimizer": "sgd", "batch_size": 4096, "momentum": 0.0}},
    "learning rate": {"training": {"learning_rate": 1.0}},
    "photographs of another size": {"data": {"image_size": 96}},
    "more rounds": {"federation": {"rounds": 5}},
    "strategy": {"strategy": {"name": "qfedavg"}},
    "threshold": {"evaluation": {"target_sensitivity": 0.5}},
}


def test_a_plan_that_differs_in_anything_is_another_plan(rig: Rig) -> None:
    """Its digest is not approved."""
    for groups in OTHERS.values():
        other = Plan.of(varied(rig.settings, **groups), RELEASE, "test", rig.worker.initial.weights)
        assert other.digest != rig.plan.digest
        assert_refused(rig.answer(rig.content(), plan=other.digest), Refusal.PLAN)
    for plan in ("", "0" * 64, "../../secrets/split", rig.plan.digest[:12], rig.plan.digest.upper()):
        assert_refused(rig.answer(rig.content(), plan=plan), Refusal.PLAN)
        assert_refused(rig.answer(RecordDict(), "query.statistics", plan=plan), Refusal.PLAN)
    assert_nothing_was_computed(rig)


def test_a_request_outside_the_approved_plan_is_refused(rig: Rig, tiny_settings: Callable[..., Settings]) -> None:
    other_head = Worker(build_network(tiny_settings(model__head="referable").model, 0)).initial.weights
    unordered = {"epochs": 50, "batch_size": 4096, "optimizer": "sgd", "learning_rate": 1.0, "views": 10**9, "seed": 1}
    for name, value in unordered.items():
        assert_refused(rig.answer(rig.content(**{name: value})), Refusal.TRAINING)
    assert_refused(rig.answer(rig.content(rig.crafted())), Refusal.INITIAL)
    assert_refused(rig.answer(rig.content(rig.crafted(), round=2)), Refusal.INITIAL)
    assert_refused(rig.answer(rig.content(rig.crafted(), trained_in=-1)), Refusal.ORDER)
    assert_refused(rig.answer(rig.content(rig.crafted(), round=5, trained_in=4)), Refusal.ORDER)
    assert_refused(rig.answer(rig.content(other_head)), Refusal.REQUEST)
    assert_refused(rig.answer(rig.content(split="train"), "evaluate"), Refusal.REQUEST)
    assert_refused(rig.answer(rig.content(split="validation"), "evaluate"), Refusal.ORDER)
    assert_nothing_was_computed(rig)


def test_limits_hold_for_approved_plans(rig: Rig) -> None:
    """A plan beyond the limits cannot be approved; a plan that was approved before is refused under lower limits."""
    beyond = {
        "network": Refusal.NETWORK,
        "head": Refusal.HEAD,
        "one step of SGD": Refusal.OPTIMIZER,
        "learning rate": Refusal.LEARNING_RATE,
    }
    for name, word in beyond.items():
        plan = Plan.of(varied(rig.settings, **OTHERS[name]), RELEASE, "test", rig.worker.initial.weights)
        with pytest.raises(ValueError, match=f"PLAN must lie within limits of site.yaml, got '{word.value}'"):
            approve(rig.directory, plan, "R1", "2099-01-01")
    lowered = {
        Refusal.OPTIMIZER: {"optimizers": ["sgd"]},
        Refusal.LEARNING_RATE: {"learning_rate": [1e-6, 1e-5]},
        Refusal.BATCH_SIZE: {"batch_size": 11},
        Refusal.IMAGE_SIZE: {"image_size": 63},
    }
    before = (rig.directory.folder / "site.yaml").read_text()
    for word, limits in lowered.items():
        rig.change(limits=limits)
        assert_refused(rig.answer(rig.content()), word)
        (rig.directory.folder / "site.yaml").write_text(before)
    assert_nothing_was_computed(rig)


def test_a_round_has_one_question_and_an_approval_one_run(rig: Rig) -> None:
    """The same bytes are answered again; another model, a wrong order or another run's name is refused."""
    first = rig.answer(rig.content())
    assert "train_loss" not in first.content.metric_records[wire.METRICS]
    assert rig.answer(rig.content()).content == first.content
    assert not rig.answer(rig.content(rig.crafted(), round=3, trained_in=1)).has_error()
    assert_refused(rig.answer(rig.content(round=3, trained_in=1)), Refusal.ASKED)
    assert_refused(rig.answer(rig.content(rig.crafted(), round=3, trained_in=2)), Refusal.ASKED)
    assert_refused(rig.answer(rig.content(rig.crafted(), round=2, trained_in=1)), Refusal.ORDER)
    rig.handler = MessageHandler(rig.directory, Tally())  # the record survives a restart
    assert_refused(rig.answer(rig.content(), run="renamed"), Refusal.RUNS)
    assert not rig.answer(asked_for("test", rig, 0.1), "evaluate").has_error()
    assert_refused(rig.answer(asked_for("test", rig, 0.2), "evaluate"), Refusal.ASKED)
    assert_refused(rig.answer(rig.content(rig.crafted(), round=4, trained_in=3)), Refusal.ORDER)


def test_the_loss_leaves_only_if_the_plan_needs_it_and_is_rounded(rig: Rig) -> None:
    plan = rig.approved(varied(rig.settings, strategy={"name": "qfedavg"}))
    reply = rig.answer(rig.content(), plan=plan.digest)
    loss = reply.content.metric_records[wire.METRICS]["train_loss"]
    assert loss == round(loss, wire.LOSS_DECIMALS)  # type: ignore[call-overload]
    assert 0 <= loss <= wire.LARGEST_LOSS  # type: ignore[operator]


def asked_for(split: str, rig: Rig, shift: float, round: int = 4) -> RecordDict:
    weights = rig.worker.initial.weights
    shifted = Weights(weights.parameters + np.float32(shift), weights.statistics, weights.layout)
    return wire.score_request(GlobalModel(round, shifted, round), split)


def test_a_test_set_has_one_budget_for_all_runs_and_plans(rig: Rig) -> None:
    rig.change(limits={"test_answers": 2})
    plans = [rig.plan, *(rig.approved(replace(rig.settings, seed=seed)) for seed in range(1, 4))]

    def tested(number: int) -> Message:
        content = asked_for("test", rig, 0.1 * (number + 1))
        return rig.answer(content, "evaluate", run=f"run{number}", plan=plans[number].digest)

    assert [tested(number).has_error() for number in range(2)] == [False] * 2
    assert_refused(tested(2), Refusal.TESTED)
    assert not tested(1).has_error()  # the same question is answered again
    leaving = json.loads(rig.directory.test_answers.read_text().splitlines()[0])["photographs"][0]
    lineage.exclude(rig.directory, patient_of(rig, leaving))  # a test set that lost a patient keeps the same budget
    assert_refused(tested(3), Refusal.TESTED)
    assert_refused(tested(1), Refusal.TESTED)  # the difference from its first answer would reveal the patient
    answers = [
        (entry["answers"], entry["of"])
        for entry in entries(rig.directory.audit_log.path)
        if entry["event"] == "test set"
    ]
    assert answers == [(1, 2), (2, 2), (2, 2)]


def patient_of(rig: Rig, digest: str) -> str:
    settings = own_settings(rig.plan.run_settings(), rig.directory)
    key = rig.directory.split_key.read_bytes()
    site = hospitals(settings, rig.directory.state, SILENT, key)["north"]
    return next(one.patient.removeprefix("north/") for one in site.shard.examples if one.image.digest() == digest)


def test_the_coordinator_cannot_set_the_split(rig: Rig, tiny_settings: Callable[..., Settings]) -> None:
    """The coordinator cannot set it: a plan has no partition, and a file with one is not a valid plan."""
    settings = varied(rig.settings, partition={"validation": 0.05, "test": 0.05})
    assert Plan.of(settings, RELEASE, "test", rig.worker.initial.weights).digest == rig.plan.digest
    written = json.loads(rig.plan.text)
    for group in ("partition", "simulation", "outbound"):
        with pytest.raises(ValueError, match=r"plan.settings must hold \['data'"):
            Plan.parse(json.dumps({**written, "settings": {**written["settings"], group: {}}}))
    planted = {**written["settings"], "data": {**written["settings"]["data"], "cache": "/tmp"}}
    with pytest.raises(
        ValueError, match=r"plan.settings.data must hold no setting that is not in a plan, got \['cache'\]"
    ):
        Plan.parse(json.dumps({**written, "settings": planted}))
    rig.change(partition={"validation": 0.3, "test": 0.4})
    assert own_settings(settings, SiteDirectory(rig.directory.folder)).partition.test == 0.4


def test_an_approval_expires_and_can_be_withdrawn(rig: Rig) -> None:
    assert (
        rig.directory.approval(rig.plan.digest).stat().st_mode & 0o777,
        rig.directory.approvals.stat().st_mode & 0o777,
    ) == (
        0o600,
        0o700,
    )
    file = rig.directory.approval(rig.plan.digest)
    file.write_text(file.read_text().replace("2099-01-01", "2020-01-01"))
    assert_refused(rig.answer(rig.content()), Refusal.EXPIRED)
    file.write_text(file.read_text().replace('"optimizer": "adamw"', '"optimizer": "adam"'))
    assert rig.answer(rig.content()).has_error()  # the plan does not match the file's name
    rig.approved(rig.settings)
    assert approvals.withdraw(rig.directory, rig.plan.digest[:12]).plan == rig.plan
    assert_refused(rig.answer(rig.content()), Refusal.PLAN)
    assert_nothing_was_computed(rig)


def test_a_warm_start_needs_a_file_that_the_hospital_has(rig: Rig, tmp_path: Path) -> None:
    network = build_network(rig.settings.model, 7)
    save(network, tmp_path / "model.safetensors")
    settings = varied(rig.settings, model={"initial": "file", "file": str(tmp_path / "model.safetensors")})
    plan = Plan.of(settings, RELEASE, "test", Worker(build_network(settings.model, 0)).initial.weights)
    assert plan.file == sha256_of(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="PLAN must start from a model that this hospital has"):
        approve(rig.directory, plan, "R1", "2099-01-01")
    save(build_network(rig.settings.model, 8), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="--model must have the SHA-256"):
        approve(rig.directory, plan, "R1", "2099-01-01", model=tmp_path / "other.safetensors")
    approve(rig.directory, plan, "R1", "2099-01-01", model=tmp_path / "model.safetensors")
    assert_refused(rig.answer(rig.content(), plan=plan.digest), Refusal.INITIAL)
    started = Worker(build_network(settings.model, 0)).initial.weights
    assert not rig.answer(rig.content(started), plan=plan.digest).has_error()
    rig.directory.model(plan.file or "").unlink()
    assert_refused(rig.answer(rig.content(started), plan=plan.digest), Refusal.START)


def test_weights_that_need_a_download_are_refused(rig: Rig) -> None:
    settings = varied(rig.settings, model={"initial": "hub"})
    plan = Plan.of(settings, RELEASE, "test", rig.worker.initial.weights)
    with pytest.raises(ValueError, match="starting model not held at this site"):
        approve(rig.directory, plan, "R1", "2099-01-01")


def test_first_weights_that_the_hospital_does_not_build_are_refused(rig: Rig) -> None:
    """A coordinator may put any digest into the plan; the hospital compares it with the weights that it builds."""
    plan = Plan.of(rig.settings, RELEASE, "crafted", rig.crafted())
    approve(rig.directory, plan, "R1", "2099-01-01")
    assert_refused(rig.answer(rig.content(rig.crafted()), plan=plan.digest), Refusal.INITIAL)
    assert_nothing_was_computed(rig)
