from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch

from teledx_fed.config.learning import ModelSettings
from teledx_fed.core.errors import ConfigurationError, DataError, UnavailableError
from teledx_fed.model.backbone import BatchNorm
from teledx_fed.model.network import build, load, pack, read_network, save
from teledx_fed.model.pretrained import lite0_state, load_hub


def tiny(**settings: object) -> ModelSettings:
    return ModelSettings(**{"name": "test_efficientnet", "initial": "none", **settings})  # type: ignore[arg-type]


def photographs(count: int = 4, size: int = 64) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=rng)


def training_batch_norms(network: torch.nn.Module) -> int:
    return sum(module.training for module in network.modules() if isinstance(module, BatchNorm))


def test_b0_computes_exactly_the_features_of_lite0() -> None:
    lite0 = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    lite0.load_state_dict(lite0_state(lite0.state_dict()))
    network, images = build(ModelSettings(freeze="backbone"), seed=0), photographs(2, 224)
    with torch.inference_mode():
        expected = lite0.eval()((images / 255 - 0.5) / 0.5)
        torch.testing.assert_close(network.frozen(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_the_gates_of_the_warm_start_learn() -> None:
    network = build(ModelSettings(), seed=0)
    network(photographs(2, 96)).square().sum().backward()
    gradients = [p.grad for name, p in network.named_parameters() if name.endswith("se.conv_expand.weight")]
    assert len(gradients) == 16
    assert all(gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("batch_norm", ["average", "local", "frozen"])
@pytest.mark.parametrize("freeze", ["none", "2", "backbone"])
def test_the_layout_contains_what_is_trained(freeze: str, batch_norm: str) -> None:
    network = build(tiny(freeze=freeze, batch_norm=batch_norm), seed=0).train()
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert [name for name, _ in network.layout.parameters] == trained
    moving = training_batch_norms(network)
    statistics = len(network.layout.statistics) + len(network.kept.statistics)
    assert statistics == 2 * moving
    if batch_norm == "frozen" or freeze == "backbone":
        assert moving == 0
    else:
        assert bool(network.kept.statistics) == (batch_norm == "local")
        assert moving > 0


def test_a_head_only_run_sends_the_head() -> None:
    network = build(ModelSettings(freeze="backbone"), seed=0)
    assert network.layout.sizes == (1280 * 5 + 5, 0)


def test_more_frozen_blocks_leave_less_to_train() -> None:
    sizes = [build(tiny(freeze=freeze), seed=0).layout.sizes[0] for freeze in ("none", "1", "2", "3", "backbone")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


def test_frozen_statistics_do_not_move_in_training() -> None:
    network = build(tiny(freeze="2"), seed=0)
    before = {name: buffer.clone() for name, buffer in network.named_buffers() if "running" in name}
    network.train()(photographs(8))
    changed = {name for name, buffer in network.named_buffers() if name in before and not buffer.equal(before[name])}
    assert changed == {name for name, _ in network.layout.statistics}


def test_a_saved_network_is_read_back_with_its_settings(tmp_path: Path) -> None:
    network = build(tiny(oedema=True, freeze="2"), seed=3)
    save(network, tmp_path / "model.safetensors")
    images = photographs()
    with torch.inference_mode():
        assert read_network(tmp_path / "model.safetensors")(images).equal(network(images))


def test_a_file_cannot_name_the_head_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(tiny(), seed=0)
    monkeypatch.setattr(network, "settings", SimpleNamespace(**{**vars(network.settings), "head": "ordinal"}))
    save(network, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"head of .* must be one of grade, referable, got 'ordinal'"):
        read_network(tmp_path / "model.safetensors")


def test_load_undoes_pack_bit_for_bit() -> None:
    first, second = build(tiny(), seed=0), build(tiny(), seed=1)
    weights = pack(first, first.layout)
    assert not pack(second, second.layout).equal(weights)
    load(second, weights)
    assert pack(second, second.layout).equal(weights)
    with torch.inference_mode():
        assert first(photographs()).equal(second(photographs()))


def test_a_dead_channel_has_a_positive_variance_and_the_same_function() -> None:
    """Lite0 has channels that are never active: their variance is exactly 0."""
    network, images = build(ModelSettings(), seed=0), photographs(2, 96)
    dead = sum(int((module.running_var == 0).sum()) for module in network.modules() if isinstance(module, BatchNorm))
    with torch.inference_mode():
        before = network(images)
        weights = pack(network, network.layout)
        load(network, weights)
        after = network(images)
    assert dead > 0
    assert (weights.statistics[network.layout.variances] > 0).all()
    assert after.equal(before)


def test_equal_seeds_give_equal_bits_and_the_global_generator_is_unchanged() -> None:
    state = torch.get_rng_state()
    first, second = build(tiny(), seed=3), build(tiny(), seed=3)
    assert torch.get_rng_state().equal(state)
    assert pack(first, first.layout).equal(pack(second, second.layout))


def test_all_seeds_share_the_backbone_and_each_has_its_own_head() -> None:
    first, second = (build(ModelSettings(freeze="backbone"), seed=seed).state_dict() for seed in (0, 1))
    assert {name for name in first if not first[name].equal(second[name])} == {"head.weight", "head.bias"}


def test_the_oedema_output_is_last_and_contiguous() -> None:
    network = build(tiny(oedema=True), seed=0)
    span = network.layout.span("oedema.")
    assert span is not None
    expected = torch.cat([parameter.flatten() for parameter in network.oedema.parameters()])  # type: ignore[union-attr]
    assert pack(network, network.layout).parameters[span].tolist() == expected.tolist()
    assert network(photographs()).shape == (4, 6)
    assert build(tiny(), seed=0).layout.span("oedema.") == slice(0, 0)


def test_the_seed_head_has_one_output_and_128_hidden_units() -> None:
    network = build(tiny(head="referable", freeze="backbone"), seed=0)
    assert network(photographs()).shape == (4, 1)
    assert ("head.0.weight", (128, 256)) in network.layout.parameters


def test_a_saved_network_initialises_only_the_same_network(tmp_path: Path) -> None:
    network = build(tiny(), seed=0)
    save(network, tmp_path / "model.safetensors")
    again = build(tiny(initial="file", file=str(tmp_path / "model.safetensors")), seed=1)
    assert pack(again, again.layout).equal(pack(network, network.layout))
    with pytest.raises(ValueError, match=r"model.file must hold this network"):
        build(tiny(initial="file", file=str(tmp_path / "model.safetensors"), head="referable"), seed=1)
    with pytest.raises(ValueError, match=r"model.file must be a safetensors file"):
        build(tiny(initial="file", file=str(tmp_path / "absent.safetensors")), seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_a_saved_network_keeps_the_activations_and_pixel_scale_of_its_origin(freeze: str, tmp_path: Path) -> None:
    """With SiLU, or another scale of pixels, the same weights would be another function."""
    network = build(ModelSettings(freeze=freeze), seed=0)
    save(network, tmp_path / "model.safetensors")
    again = build(ModelSettings(initial="file", file=str(tmp_path / "model.safetensors"), freeze=freeze), seed=1)
    with torch.inference_mode():
        assert torch.equal(again(photographs()), network(photographs()))
    save(again, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_saved_bytes_depend_on_the_weights_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(build(tiny(), seed=0), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "a").read_bytes()


def test_an_unreachable_hub_is_an_error_without_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match=r"model.initial=hub must reach the model hub for resnet10t"):
        build(ModelSettings(name="resnet10t", initial="hub"), seed=0)


def test_an_unexpected_error_while_loading_from_the_hub_is_not_reported_as_an_unreachable_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of the program")

    network = build(tiny(), seed=0)
    monkeypatch.setattr("timm.create_model", fail)
    with pytest.raises(RuntimeError, match="a fault of the program"):
        load_hub(network.backbone, "resnet10t")


@pytest.mark.parametrize(
    ("name", "initial", "requirement"),
    [("resnet_10", "none", "be the name of a network in timm"), ("test_vit4", "hub", "have weights at timm's hub")],
)
def test_a_name_that_timm_or_its_hub_does_not_have_is_a_configuration_error(
    name: str, initial: str, requirement: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"model.name must {requirement}"):
        build(ModelSettings(name=name, initial=initial), seed=0)


def test_the_normalisation_is_that_of_the_backbones_weights() -> None:
    grey = torch.full((1, 3, 8, 8), 128, dtype=torch.uint8)
    network = build(ModelSettings(freeze="backbone"), seed=0)
    assert np.allclose(network.normalise(grey).numpy(), 2 * 128 / 255 - 1, atol=1e-6)
