"""The transform and the aggregation of docs/extending.md, installed as another package."""

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from extension_package import install
from federated_world import World
from flwr.app import Message

from teledx_fed.config.loading import build, compose
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.weights import Layout, Weights
from teledx_fed.federation.checkpoint import Progress
from teledx_fed.federation.site import Hospital
from teledx_fed.privacy.transforms import transformed


def vector(weights: Weights) -> np.ndarray:
    return np.concatenate([weights.parameters, weights.statistics])


def first_round(world: World) -> Progress:
    progress, _ = next(world.run())
    return progress


@pytest.mark.parametrize("compression", ["none", pytest.param("int8", marks=pytest.mark.slow)])
def test_a_transform_of_another_package_clips_updates(
    compression: str,
    tiny_settings: Callable[..., Settings],
    tiny_site: Callable[..., Site],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one site, the step of FedAvg is its update: the transform changes only the norm."""
    name = install("A transform of updates", tmp_path / "installed", monkeypatch)
    plain = tiny_settings(federation__compression=compression, training__learning_rate=0.5)
    clipped = replace(plain, federation=replace(plain.federation, transforms=[name]))
    worlds = [World(settings, [tiny_site("north")], tmp_path / str(n)) for n, settings in enumerate((plain, clipped))]
    whole, scaled = (vector(first_round(world).weights) - vector(world.worker.initial.weights) for world in worlds)
    assert np.linalg.norm(whole) > 1
    assert np.linalg.norm(scaled) == pytest.approx(0.5, rel=0.02)
    assert scaled @ whole == pytest.approx(np.linalg.norm(scaled) * np.linalg.norm(whole), rel=0.02)


def test_transforms_run_in_their_order() -> None:
    layout = Layout((("head.bias", (1,)),), ())
    start, weights = (Weights(np.float32([x]), np.empty(0, np.float32), layout) for x in (1, 4))

    def add(update: Weights) -> Weights:
        return replace(update, parameters=update.parameters + 1)

    def double(update: Weights) -> Weights:
        return replace(update, parameters=update.parameters * 2)

    orders: tuple[list[Callable[[Weights], Weights]], ...] = ([], [add, double], [double, add])
    results = [transformed(weights, start, order) for order in orders]  # type: ignore[arg-type]
    assert [float(result.parameters[0]) for result in results] == [4, 1 + (3 + 1) * 2, 1 + 3 * 2 + 1]
    assert results[0] is weights


def test_an_aggregation_of_another_package_sends_the_model_to_ready_sites(
    tiny_settings: Callable[..., Settings],
    tiny_site: Callable[..., Site],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = install("An aggregation", tmp_path / "installed", monkeypatch)
    plain = tiny_settings(federation__rounds=2)
    settings = replace(plain, federation=replace(plain.federation, aggregation=name))
    world = World(settings, [tiny_site("north", 5), tiny_site("south", 5)], tmp_path / "run")
    trained: list[str] = []

    def record(site: str, round: int, reply: Message) -> Message:
        trained.append(site)
        return reply

    rounds = world.run(record)
    _, first = next(rounds)
    monkeypatch.setattr(Hospital, "summary", lambda hospital, message: {"south": None}[hospital.site.name])
    _, second = next(rounds)
    assert (first.accepted, trained[:2]) == (("north", "south"), ["north", "south"])
    assert (second.accepted, second.refused) == ((), {"north": "KeyError", "south": "TypeError"})
    assert trained[2:] == []


@pytest.mark.parametrize("setting", ["federation.transforms=[clip]", "federation.aggregation=ready_sites"])
def test_parts_of_another_package_are_refused_outside_a_local_run(
    setting: str, tiny_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for heading in ("A transform of updates", "An aggregation"):
        install(heading, tmp_path / heading, monkeypatch)
    key, value = setting.removeprefix("federation.").split("=")
    values = asdict(tiny_settings())
    values["federation"][key] = ["clip"] if key == "transforms" else value
    name = rf"federation\.{key} must be one of"
    for attempt in (lambda: build(values), lambda: compose(["experiment=quick", setting])):
        with pytest.raises(ValueError, match=name):
            attempt()
    assert not {"clip_update", "ready_sites"} & set(sys.modules), "no code of the packages ran"
    build(values, local=True)
    values["simulation"]["backend"] = "ray"
    with pytest.raises(ValueError, match=r"simulation\.backend .* must be one of in_process"):
        build(values, local=True)
