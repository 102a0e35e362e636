"""Transforms of an update at a site, before it is sent: clipping or noise, for example.

A local run may use transforms that other packages supply as entry points. They run in the order of
`federation.transforms`. Compression follows, so its error feedback sees only transformed values.
"""

from collections.abc import Sequence
from typing import Protocol

from teledx_fed.config.settings import Settings
from teledx_fed.core import extensions
from teledx_fed.core.weights import Weights


class UpdateTransform(Protocol):
    """A transform of an update: values to values. A class that takes the settings of the run.

    It must not use the run's seed for noise that protects patients: draw that from the operating system.
    """

    def __init__(self, settings: Settings) -> None: ...

    def __call__(self, update: Weights) -> Weights:
        """Return the transformed update: differences from the global model, float32, with the layout of `update`."""
        ...


def transforms_of(settings: Settings) -> list[UpdateTransform]:
    """Return the transforms that `federation.transforms` names, in its order."""
    return [extensions.load(extensions.TRANSFORMS, name)(settings) for name in settings.federation.transforms]


def transformed(weights: Weights, start: Weights, transforms: Sequence[UpdateTransform]) -> Weights:
    """Return `weights` after all transforms of their difference from `start`; without any, the same bits."""
    if not transforms:
        return weights
    update = Weights(weights.parameters - start.parameters, weights.statistics - start.statistics, weights.layout)
    for transform in transforms:
        update = transform(update)
    return Weights(start.parameters + update.parameters, start.statistics + update.statistics, weights.layout)
