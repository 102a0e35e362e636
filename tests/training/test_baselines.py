from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from reporters import RecordingReporter

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.reports import SILENT, Reporter
from teledx_fed.model.network import build
from teledx_fed.training.baselines import local_models_everywhere, train_baselines
from teledx_fed.training.worker import SiteModel, Worker


def trained(
    sites: dict[str, Site], settings: Settings, folder: Path, reporter: Reporter = SILENT
) -> dict[str, dict[str, list[SiteModel]]]:
    worker = Worker(build(settings.model, settings.seed))
    return train_baselines(sites, worker, settings, folder, reporter)


def test_a_finished_baseline_is_not_trained_again(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path
) -> None:
    sites = {name: tiny_site(name) for name in ("north", "south")}
    first, again = RecordingReporter(), RecordingReporter()
    models = trained(sites, tiny_settings(), tmp_path, first)
    assert first.epochs == [1, 2] * 3
    (tmp_path / "local-south.safetensors").unlink()
    repeated = trained(sites, tiny_settings(), tmp_path, again)
    assert again.epochs == [1, 2]
    assert repeated["local"]["south"][0].weights.equal(models["local"]["south"][0].weights)
    assert [len(models[name]["north"]) for name in ("local", "ensemble", "centralised")] == [1, 2, 1]


def test_without_a_defined_score_the_last_epoch_is_kept(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path
) -> None:
    site = tiny_site("north")
    healthy = tuple(example for example in site.shard.validation if example.grade == 0)
    site = replace(site, shard=replace(site.shard, validation=healthy))
    settings = tiny_settings(baselines=["local"])
    models = trained({"north": site}, settings, tmp_path)["local"]["north"][0]
    worker = Worker(build(settings.model, settings.seed))
    expected = worker.initial
    for round in (1, 2):
        expected = worker.train(site, expected, settings.local_training(round), round).model
    assert models.weights.equal(expected.weights)


def test_a_baseline_trains_without_the_proximal_term(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path
) -> None:
    sites = {"north": tiny_site("north")}
    models = [
        trained(sites, tiny_settings(training__proximal_mu=mu), tmp_path / str(mu))["local"]["north"][0].weights
        for mu in (0.0, 9.0)
    ]
    assert models[0].equal(models[1])


@pytest.mark.slow
def test_an_absent_hospital_trains_only_its_local_model(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path
) -> None:
    sites = {name: tiny_site(name) for name in ("east", "north", "south")}
    present = {name: site for name, site in sites.items() if name != "north"}
    models = trained(sites, tiny_settings(partition__absent="north"), tmp_path / "absent")
    expected = trained(present, tiny_settings(), tmp_path / "present")
    alone = trained({"north": sites["north"]}, tiny_settings(baselines=["local"]), tmp_path / "alone")
    assert models["centralised"]["north"][0].weights.equal(expected["centralised"]["east"][0].weights)
    assert models["local"]["north"][0].weights.equal(alone["local"]["north"][0].weights)
    assert len(models["ensemble"]["north"]) == 2
    for one, other in zip(models["ensemble"]["north"], expected["ensemble"]["south"], strict=True):
        assert one.weights.equal(other.weights)


def test_a_model_at_another_hospital_uses_the_batch_norm_statistics_of_that_hospital(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path
) -> None:
    sites = {name: tiny_site(name) for name in ("north", "south")}
    local = trained(sites, tiny_settings(model__batch_norm="local", baselines=["local"]), tmp_path)["local"]
    (north,), (south,) = local["north"], local["south"]
    ((abroad,),) = (local_models_everywhere(local)["local of north"]["south"],)
    assert abroad.weights.equal(north.weights)
    assert abroad.kept.equal(south.kept)
    assert not abroad.kept.equal(north.kept)
