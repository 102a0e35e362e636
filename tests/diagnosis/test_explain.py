import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from teledx_fed.config.learning import ModelSettings
from teledx_fed.core.examples import Eye, Field
from teledx_fed.data.preprocessing import prepare
from teledx_fed.data.synthetic import SyntheticPhotograph
from teledx_fed.diagnosis.explain import integrated_gradients, shap_values
from teledx_fed.diagnosis.heat_map import referable_log_odds
from teledx_fed.model.network import Grader, build

Image = NDArray[np.uint8]
pytestmark = pytest.mark.filterwarnings(
    "ignore:The set_.* function will be deprecated:PendingDeprecationWarning"  # shap 0.50 under matplotlib 3.11
)


def network() -> Grader:
    """Return a network with in-place activations, and with outputs as confident as those of a trained one."""
    network = build(ModelSettings(name="test_efficientnet", initial="none"), seed=0)
    with torch.no_grad():
        network.head.weight *= 100
    return network


def photographs(count: int, size: int = 64, grade: int = 0) -> Image:
    drawn = (
        SyntheticPhotograph(0, f"p{i}", Eye.RIGHT, Field.MACULA, grade, False, "topcon").read() for i in range(count)
    )
    return np.stack([prepare(image, size) for image in drawn])


def log_odds(of: Grader, images: Image) -> NDArray[np.float32]:
    with torch.inference_mode():
        return referable_log_odds(of(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy())


def test_integrated_gradients_sum_to_the_output_minus_that_of_the_baseline() -> None:
    """Within 1 %, with 128 steps."""
    explained, (image,) = network(), photographs(1, grade=4)
    baseline = np.zeros_like(image)
    heat = integrated_gradients(explained, image, baseline, steps=128)
    assert heat.shape == (64, 64)
    assert heat.min() < 0 < heat.max()
    output, compared = log_odds(explained, np.stack([image, baseline]))
    assert abs(output - compared) > 0.1
    assert heat.sum() == pytest.approx(output - compared, rel=0.01)


@pytest.mark.slow
def test_shap_values_sum_to_the_output_minus_the_mean_of_the_backgrounds() -> None:
    """Within 10 %, with 400 samples."""
    explained, (image,), background = network(), photographs(1, grade=4), photographs(4)[1:]
    background = 255 - background  # very different, so that the outputs differ
    heat = shap_values(explained, image, background, samples=400)
    assert heat.shape == (64, 64)
    difference = log_odds(explained, image[None])[0] - log_odds(explained, background).mean()
    assert abs(difference) > 0.1
    assert heat.sum() == pytest.approx(difference, rel=0.1)


def test_explanations_are_reproducible_and_leave_the_global_generator_unchanged() -> None:
    explained, (image,), background = network().train(), photographs(1), photographs(3)
    weights = {name: tensor.clone() for name, tensor in explained.state_dict().items()}
    drawn = np.random.get_state()[1].tolist()  # noqa: NPY002
    first, second = (shap_values(explained, image, background, samples=4) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    integrated_gradients(explained, image, background[0], steps=4)
    assert np.random.get_state()[1].tolist() == drawn  # noqa: NPY002
    assert explained.training
    assert all(parameter.requires_grad for parameter in explained.parameters())
    assert all(tensor.equal(weights[name]) for name, tensor in explained.state_dict().items())


def test_a_missing_explanation_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    explained, (image,) = network(), photographs(1)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(ValueError, match=r"must have captum installed, got none\. Run pip install 'teledx-fed\[expl"):
        integrated_gradients(explained, image, image)
    with pytest.raises(ValueError, match="must have shap installed"):
        shap_values(explained, image, np.stack([image, image]))


def test_one_background_is_too_few() -> None:
    with pytest.raises(ValueError, match=r"background must hold several photographs, got 1\."):
        shap_values(network(), *photographs(1), photographs(1))
