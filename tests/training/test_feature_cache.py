from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from teledx_fed.config.learning import ModelSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Example, Site
from teledx_fed.model.network import Grader, build, pack
from teledx_fed.training.feature_cache import PLAIN, FeatureCache, Gather, augmented
from teledx_fed.training.inputs import FeatureInputs
from teledx_fed.training.worker import TrainedModel, Worker


@dataclass(frozen=True)
class Images:
    """Images that record which photographs were read."""

    folder: Path
    asked: list[str] = field(default_factory=list)

    def batch(self, examples: Sequence[Example]) -> NDArray[np.uint8]:
        self.asked.extend(example.image.name for example in examples)
        return np.stack([example.image.read() for example in examples])


@pytest.fixture
def examples(tiny_site: Callable[..., Site]) -> tuple[Example, ...]:
    return tiny_site("north", 20).shard.train


def network(seed: int = 0, **settings: object) -> Grader:
    options = {"name": "test_efficientnet", "initial": "none", "freeze": "backbone", **settings}
    return build(ModelSettings(**options), seed)  # type: ignore[arg-type]


def every(gather: Gather, count: int, view: int = 0) -> torch.Tensor:
    return gather(torch.full((count,), view), torch.arange(count))


def photographs(examples: Sequence[Example]) -> torch.Tensor:
    return torch.from_numpy(np.stack([example.image.read() for example in examples])).permute(0, 3, 1, 2)


@pytest.mark.parametrize("freeze", ["backbone", "2"])
def test_cached_features_equal_those_of_the_frozen_part(
    freeze: str, tmp_path: Path, examples: tuple[Example, ...]
) -> None:
    learner = network(freeze=freeze)
    cached = every(FeatureCache(Images(tmp_path), learner).gather(examples, PLAIN), len(examples))
    with torch.inference_mode():
        expected = learner.frozen(photographs(examples))
    torch.testing.assert_close(cached, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert cached.is_contiguous(memory_format=torch.channels_last) if freeze == "2" else cached.ndim == 2


@pytest.mark.parametrize("freeze", ["backbone", "2"])
def test_the_bits_of_a_feature_do_not_depend_on_the_other_photographs(
    freeze: str, tmp_path: Path, examples: tuple[Example, ...]
) -> None:
    learner = network(freeze=freeze)
    together = every(FeatureCache(Images(tmp_path / "a"), learner).gather(examples, PLAIN), len(examples))
    for place in (0, 33):
        gather = FeatureCache(Images(tmp_path / str(place)), learner).gather(examples[place : place + 1], PLAIN)
        assert every(gather, 1)[0].equal(together[place])


def test_each_view_is_computed_once(tmp_path: Path, examples: tuple[Example, ...]) -> None:
    images = Images(tmp_path)
    FeatureCache(images, network()).gather(examples[:30], (0, 1))
    FeatureCache(images, network()).gather(examples[10:], (0, 1, 2))
    names = [example.image.name for example in examples]
    assert sorted(images.asked) == sorted([*names, *names, *names[10:]])


@pytest.mark.slow
def test_another_network_or_preparation_has_a_separate_cache(tmp_path: Path, examples: tuple[Example, ...]) -> None:
    small, large = Images(tmp_path / "96px"), Images(tmp_path / "224px")
    changed = network()
    with torch.no_grad():
        next(changed.backbone.buffers()).add_(1)
    rescaled = network()
    rescaled.normalise.mean.add_(0.1)
    others = (network(), network(seed=1), network(freeze="2"), network(freeze="1"), changed, rescaled)
    for learner in others:
        FeatureCache(small, learner).gather(examples[:1], PLAIN)
    FeatureCache(large, network()).gather(examples[:1], PLAIN)
    assert len(small.asked) == len(others)
    assert len(large.asked) == 1


def test_equal_weights_with_another_activation_have_a_separate_cache(
    tmp_path: Path, examples: tuple[Example, ...]
) -> None:
    images, silu, relu = Images(tmp_path), network(), network()
    for module in relu.backbone.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.SiLU):
                setattr(module, name, torch.nn.ReLU())
    assert repr(silu.frozen) != repr(relu.frozen)
    for learner in (silu, relu):
        FeatureCache(images, learner).gather(examples[:1], PLAIN)
    assert len(images.asked) == 2


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["empty", "short", "flipped"])
def test_a_damaged_cache_file_is_written_again(damage: str, tmp_path: Path, examples: tuple[Example, ...]) -> None:
    images = Images(tmp_path)
    expected = every(FeatureCache(images, network()).gather(examples[:3], PLAIN), 3)
    path = sorted(tmp_path.rglob("*.npy"))[0]
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[500] ^= 1
    path.write_bytes({"empty": b"", "short": whole[:-9], "flipped": flipped}[damage])
    assert every(FeatureCache(images, network()).gather(examples[:3], PLAIN), 3).equal(expected)
    assert path.read_bytes() == whole
    assert len(images.asked) == 4


def test_a_view_is_the_features_of_the_augmented_photograph(tmp_path: Path, examples: tuple[Example, ...]) -> None:
    learner, images = network(), Images(tmp_path)
    gather = FeatureCache(images, learner).gather(examples[:4], (0, 1))
    prepared = images.batch(examples[:4])
    for view in (0, 1):
        views = [augmented(image, each.image, view) for image, each in zip(prepared, examples[:4], strict=True)]
        with torch.inference_mode():
            expected = learner.frozen(torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2))
        torch.testing.assert_close(every(gather, 4, view), expected, rtol=1e-4, atol=1e-4)
    assert not every(gather, 4, 0).equal(every(gather, 4, 1))


def test_a_view_depends_on_the_photograph_and_its_number_alone(examples: tuple[Example, ...]) -> None:
    image = examples[0].image.read()
    first, again, second = (augmented(image, examples[0].image, view) for view in (0, 0, 1))
    other = augmented(image, examples[1].image, 0)
    assert np.array_equal(first, again)
    assert len({picture.tobytes() for picture in (image, first, second, other)}) == 4


def test_each_epoch_draws_new_views_and_evaluation_uses_none() -> None:
    drawn: list[list[int]] = []

    def gather(view: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        drawn.append(view.tolist())
        return torch.zeros(len(index), 256)

    inputs, augmentation = FeatureInputs(gather, 40, views=4), torch.Generator().manual_seed(0)
    for generator in (augmentation, augmentation, None):
        inputs.logits(network(), np.arange(40), generator)
    assert drawn[0] != drawn[1]
    assert set(drawn[0]) == {0, 1, 2, 3}
    assert set(drawn[2]) == {0}


ASKED = {"training__augment": True, "training__views": 2, "training__epochs": 3}


def trained(settings: Settings, site: Site, worker: Worker | None = None) -> TrainedModel:
    worker = worker or Worker(build(settings.model, 0))
    return worker.train(site, worker.initial, settings.local_training(1), 1)


def test_a_worker_trains_on_views_and_scores_without_augmentation(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site]
) -> None:
    site, settings = tiny_site("north"), tiny_settings(model__freeze="backbone", **ASKED)
    worker = Worker(build(settings.model, 0))
    model = trained(settings, site, worker).model
    stored = {path.parents[1].name for path in site.images.folder.rglob("*.npy")}
    assert {name.partition("-v1")[0] for name in stored} == {"view-0", "view-1"}
    scores = worker.predictions(site.images, model, site.shard.validation)
    plain = Worker(build(settings.model, 0)).predictions(site.images, model, site.shard.validation)
    assert np.array_equal(scores.referable_score, plain.referable_score)


def test_without_views_photographs_are_augmented_in_each_epoch(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site]
) -> None:
    site = tiny_site("north")
    trained(tiny_settings(model__freeze="backbone", training__augment=True), site)
    assert not list(site.images.folder.rglob("*.npy"))


@pytest.mark.parametrize("freeze", ["1", "2", "backbone"])
@pytest.mark.parametrize("batch_norm", ["average", "local"])
def test_training_on_cached_features_equals_training_on_photographs(
    freeze: str,
    batch_norm: str,
    tiny_settings: Callable[..., Settings],
    tiny_site: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = tiny_site("north")
    settings = tiny_settings(model__freeze=freeze, model__batch_norm=batch_norm, training__optimizer="sgd")
    cached = trained(settings, site)
    assert list(site.images.folder.rglob("*.npy"))
    monkeypatch.setattr(Grader, "has_frozen_stages", False)
    whole = trained(settings, site)
    assert cached.loss == pytest.approx(whole.loss, rel=1e-4)
    for first, second in ((cached.model.weights, whole.model.weights), (cached.model.kept, whole.model.kept)):
        np.testing.assert_allclose(first.statistics, second.statistics, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(first.parameters, second.parameters, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("batch_norm", ["average", "local", "frozen"])
def test_frozen_parameters_do_not_change(
    batch_norm: str, tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site]
) -> None:
    settings = tiny_settings(model__freeze="2", model__batch_norm=batch_norm, **ASKED)
    learner = build(settings.model, 0)
    before = {name: tensor.clone() for name, tensor in learner.frozen.state_dict().items()}
    first = pack(learner, learner.layout).parameters
    updated = trained(settings, tiny_site("north"), Worker(learner)).model.weights.parameters
    assert not np.array_equal(updated, first)
    assert all(tensor.equal(before[name]) for name, tensor in learner.frozen.state_dict().items())


def test_a_backbone_without_stages_is_cached_only_if_all_of_it_is_frozen() -> None:
    whole, part = (network(name="resnet10t", freeze=freeze) for freeze in ("backbone", "2"))
    assert whole.has_frozen_stages
    assert not part.has_frozen_stages
    assert 0 < part.layout.sizes[0] < network(name="resnet10t", freeze="none").layout.sizes[0]


def test_inputs_are_reused_in_later_rounds(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, settings = tiny_site("north"), tiny_settings(model__freeze="backbone")
    worker = Worker(build(settings.model, 0))
    first = trained(settings, site, worker).model.weights
    monkeypatch.setattr(FeatureCache, "_read", None)
    assert trained(settings, site, worker).model.weights.equal(first)
