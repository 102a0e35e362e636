import numpy as np
import pytest
import torch
from torch import Tensor, nn

from teledx_fed.config.learning import ModelSettings
from teledx_fed.core.randomness import generator
from teledx_fed.model.export import export
from teledx_fed.model.network import Grader, build
from teledx_fed.model.runtime import Runtime


def photographs(count: int, size: int) -> np.ndarray:
    return generator(1, purpose="photographs").integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def tiny(**settings: object) -> Grader:
    return build(ModelSettings(**{"name": "test_efficientnet", "initial": "none", **settings}), seed=0)  # type: ignore[arg-type]


def agree(module: nn.Module, size: int) -> tuple[int, ...]:
    runtime = Runtime(export(module, size), threads=1)
    for count in (1, 5):
        images = photographs(count, size)
        with torch.inference_mode():
            expected = module(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
        np.testing.assert_allclose(runtime(images), expected, atol=1e-5 * np.abs(expected).max())
    return expected.shape


def test_features_maps_and_logits_are_those_of_pytorch() -> None:
    assert agree(tiny(freeze="backbone").frozen, 64) == (5, 256)
    assert len(agree(tiny(freeze="2").frozen, 64)) == 4
    assert agree(tiny(oedema=True), 64) == (5, 6)


@pytest.mark.slow
def test_b0_with_uneven_padding_equals_pytorch() -> None:
    assert agree(build(ModelSettings(), seed=0), 70) == (5, 5)


@pytest.mark.slow
def test_the_export_does_not_change_the_network() -> None:
    network = build(ModelSettings(), seed=0).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    export(network, 64)
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())
    assert network.training
    assert network(torch.zeros((2, 3, 96, 96), dtype=torch.uint8)).shape == (2, 5)  # its padding is not fixed at 64 px


def test_the_same_network_gives_the_same_bytes() -> None:
    assert export(tiny(), 64) == export(tiny(), 64) != export(tiny(head="referable"), 64)


class Remembering(nn.Module):
    """Its traced graph contains the batch size as a constant."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3)) * float(len(images))


def test_a_graph_that_computes_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the exported network must differ from PyTorch by at most"):
        export(Remembering(), 16)


def test_weights_that_are_not_finite_are_refused() -> None:
    network = tiny()
    nn.init.constant_(network.head.bias, torch.nan)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got nan. Check the weights"):
        export(network, 32)
