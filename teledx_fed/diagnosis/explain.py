"""Maps of the pixels that contribute to 'referable' or against it, computed from the network in seconds.

The explained output is `heat_map.referable_log_odds`. A signed map has its unit and is summed over red, green and blue.
Its values sum to the difference between the outputs of the photograph and of its baseline.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.examples import GRADES
from teledx_fed.data.maps import Map, smoothed, without_detail
from teledx_fed.diagnosis.evidence import MapKind
from teledx_fed.diagnosis.heat_map import REFERABLE
from teledx_fed.model.network import Grader, read_network

Image = NDArray[np.uint8]

BLURS = (0.03, 0.06, 0.12)
"""Sizes of blurs, as shares of a prepared photograph's side; larger than most lesions."""
SMOOTH = 4 / 224
"""Size of the smoothing of maps, as a share of the side: single pixels have no meaning."""
HIGHEST = 99.8
"""The percentile of a map that becomes 1."""
STEPS = 32
SAMPLES = 64
AT_ONCE = 16


class _LogOdds(nn.Module):
    """Log-odds of float images (b, 3, s, s), 0 to 255. It has no in-place layers: they would lose gradients."""

    def __init__(self, network: Grader) -> None:
        super().__init__()
        self.network = deepcopy(network).eval().requires_grad_(False)
        for module in self.network.modules():
            if hasattr(module, "inplace"):
                module.inplace = False  # type: ignore[assignment]  # its stub takes any attribute for a tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return log-odds (b, 1)."""
        mild, referable = self.network(images)[:, :GRADES].split((REFERABLE, GRADES - REFERABLE), dim=1)
        return (referable.logsumexp(dim=1) - mild.logsumexp(dim=1))[:, None]


class Explainer:
    """Compute maps with the network of a bundle, one at a time."""

    def __init__(self, weights: Path) -> None:
        self._network, self._one_at_a_time = read_network(weights), Lock()

    def __call__(self, image: Image, kind: MapKind) -> Map:
        """Return a map (s, s), 0 to 1, of what raises 'referable' in a photograph (s, s, 3) beside its blur."""
        with self._one_at_a_time:
            signed = EXPLAINED[kind](self._network, image)
        heat = np.maximum(smoothed(signed, SMOOTH * image.shape[0]), 0)
        highest = np.percentile(heat, HIGHEST)
        return np.clip(heat / highest, 0, 1) if highest > 0 else heat


def blurs(image: Image) -> NDArray[np.uint8]:
    """Return blurred copies (n, s, s, 3) of a photograph (s, s, 3), without its lesions."""
    return np.stack([without_detail(image, detail) for detail in BLURS])


def integrated_gradients(network: Grader, image: Image, baseline: Image, steps: int = STEPS) -> Map:
    """Return a signed map (s, s) of prepared photographs (s, s, 3) (Sundararajan et al., arXiv 1703.01365).

    With 32 steps, its sum is within 0.7 of the difference in 95 % of photographs (docs/results/faithfulness.md).
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise _missing("integrated gradients", "captum") from error
    explained = _LogOdds(network)
    attributed = IntegratedGradients(explained).attribute(
        _tensor(network, image[None]),
        _tensor(network, baseline[None]),
        target=0,
        n_steps=steps,
        internal_batch_size=AT_ONCE,
    )
    return _signed(attributed[0].detach().cpu().numpy())


def shap_values(network: Grader, image: Image, background: NDArray[np.uint8], samples: int = SAMPLES) -> Map:
    """Return SHAP's expected gradients (s, s), signed, against a background (n, s, s, 3) of prepared photographs.

    Lundberg and Lee, arXiv 1705.07874; Erion et al., arXiv 1906.10670. The samples have a fixed seed. With 64 samples,
    the sum is within 1.6 of the difference in 95 % of photographs; the error falls with the root of their number.
    """
    try:
        from shap import GradientExplainer
    except ImportError as error:
        raise _missing("SHAP values", "shap") from error
    if len(background) < 2:
        raise ConfigurationError(f"background must hold several photographs, got {len(background)}. Give 2 or more.")
    explainer = GradientExplainer(_LogOdds(network), _tensor(network, background), batch_size=AT_ONCE)
    with _global_generator_as_it_was():
        attributed = explainer.shap_values(_tensor(network, image[None]), nsamples=samples, rseed=0)
    return _signed(np.asarray(attributed).reshape(3, *image.shape[:2]))


@contextmanager
def _global_generator_as_it_was() -> Iterator[None]:
    """Restore numpy's global generator, which shap seeds and uses."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _tensor(network: Grader, images: Image) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(network.device, torch.float32)


def _signed(attributed: NDArray[np.floating]) -> Map:
    return np.asarray(attributed.sum(axis=0), np.float32)


EXPLAINED: Mapping[MapKind, Callable[[Grader, Image], Map]] = {
    MapKind.INTEGRATED_GRADIENTS: lambda network, image: integrated_gradients(network, image, without_detail(image)),
    MapKind.SHAP: lambda network, image: shap_values(network, image, blurs(image)),
}


def _missing(what: str, library: str) -> ConfigurationError:
    return ConfigurationError(f"{what} must have {library} installed, got none. Run pip install 'teledx-fed[explain]'.")
