"""Replies of a hospital, and the scores that follow from its counts."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from federated_world import NAMES, World
from flwr.app import Message, RecordDict

from teledx_fed.core.updates import GlobalModel
from teledx_fed.evaluation.cross_site import compare
from teledx_fed.federation.checkpoint import Progress
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.messages import TABLES
from teledx_fed.federation.scoring import ask_for_scores
from teledx_fed.federation.simulation import federate
from teledx_fed.federation.site import Hospital, client_app
from teledx_fed.training.evaluate import evaluate


def test_a_hospital_tests_one_model_and_no_other(world: Callable[..., World]) -> None:
    here = world()
    final = list(here.run())[-1][0]
    hospital = Hospital(here.sites["north"], here.worker, here.settings, here.folder / "sites" / "north")
    grid = InProcessGrid([client_app(lambda context: hospital)], ["north"])
    (first, _), (again, _) = (ask_for_scores(grid, model_of(final), "test", here.settings, {}) for _ in range(2))
    assert first.accepted
    assert again.accepted
    other = replace(final, weights=here.worker.initial.weights)
    assert ask_for_scores(grid, model_of(other), "test", here.settings, {})[0].refused == {"north": "ValueError"}
    assert ask_for_scores(grid, model_of(other), "validation", here.settings, {})[0].accepted


def model_of(progress: Progress) -> GlobalModel:
    return GlobalModel(progress.round, progress.weights, progress.trained_in)


def test_counts_alone_give_the_scores_of_the_patients(world: Callable[..., World]) -> None:
    here = world()
    federation = federate(here.sites, [here.worker], here.settings, here.folder)
    federation.conclude()
    estimates = json.loads((here.folder / "test.json").read_text())
    tested = evaluate(here.worker, here.sites, {"federated": federation.ensembles(NAMES)}, here.settings)
    drawn = np.random.default_rng(0)
    exact = compare([tested], 20, drawn).models["federated"]["all_patients"]
    for name in ("qwk", "accuracy", "sensitivity", "specificity"):
        assert estimates[name]["value"] == pytest.approx(exact[name]["value"])
        assert estimates[name]["low"] <= estimates[name]["value"] <= estimates[name]["high"]


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["float16", "int8"])
def test_a_compressed_federation_learns_as_much_from_fewer_bytes(compression: str, world: Callable[..., World]) -> None:
    settings = {"federation__rounds": 6, "training__epochs": 2}
    whole, small = (list(world(federation__compression=name, **settings).run())[-2:] for name in ("none", compression))
    assert small[-1][1].metrics["referable_auroc"] > 0.9
    assert small[0][1].bytes_up < whole[0][1].bytes_up
    assert all(not report.refused for _, report in small)


def test_a_reply_holds_no_name_and_no_value_of_an_image(world: Callable[..., World]) -> None:
    """Names in replies are those of the protocol, and arrays are weights and tables."""
    sent: list[RecordDict] = []

    def watch(site: str, round: int, reply: Message) -> Message:
        sent.append(reply.content)
        return reply

    here = world()
    list(here.run(watch))
    for content in sent:
        for record in content.array_records.values():
            for array in record.values():
                assert not any(name.encode() in array.data for name in ("north-", "east-", "west-"))
        tables = content.array_records[TABLES]
        cells = sum(array.numpy().size for array in tables.values())
        assert cells < 1500, "tables have a fixed size: nothing in them grows with the images"
