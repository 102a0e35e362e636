"""Transforms of an update at a site before it is sent, such as clipping or noise, and compression, the last of them.

A local run may use transforms that other packages supply as entry points. They run in the order of
`federation.transforms`. Compression sends the transformed difference from the global model in fewer bits, with a scale
for each tensor; its error feedback sees only transformed values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from teledx_fed.config.settings import Settings
from teledx_fed.core import extensions
from teledx_fed.core.weights import Layout, Vector, Weights

QUANTISED, SCALES = "parameters", "scales"

Arrays = Mapping[str, NDArray[np.generic]]
Forms = dict[str, tuple[str, tuple[int, ...]]]


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


@dataclass(frozen=True)
class Codec:
    """A compressed dtype. `steps`: the value that replaces the largest absolute entry of a tensor."""

    dtype: str
    steps: float


CODECS = {"float16": Codec("float16", 1.0), "int8": Codec("int8", 127.0)}


def encode(difference: Vector, layout: Layout, compression: str) -> dict[str, NDArray[np.generic]]:
    """Return `difference` (n,) as `parameters` (n,) in fewer bits, and float32 `scales` (tensors,)."""
    codec = CODECS[compression]
    sizes = _sizes(layout)
    starts = np.cumsum([0, *sizes[:-1]])
    scales = np.maximum.reduceat(np.abs(difference), starts) / np.float32(codec.steps)
    divisors = np.repeat(np.where(scales > 0, scales, np.float32(1)), sizes)
    quantised = difference / divisors
    if codec.dtype == "int8":
        np.rint(quantised, out=quantised)
    with np.errstate(invalid="ignore"):  # int8 has no NaN, but the scale is NaN: validation refuses it
        return {QUANTISED: quantised.astype(codec.dtype), SCALES: scales}


def decode(arrays: Arrays, layout: Layout) -> Vector:
    """Return the approximate difference (n,), float32, from the arrays of `encode`."""
    with np.errstate(over="ignore"):  # validation refuses an update that is not finite
        return arrays[QUANTISED].astype(np.float32) * np.repeat(arrays[SCALES].astype(np.float32), _sizes(layout))


def forms(layout: Layout, compression: str) -> Forms:
    """Return the names, dtypes and shapes of the arrays that carry the parameters."""
    parameters, _ = layout.sizes
    if compression == "none":
        return {QUANTISED: ("float32", (parameters,))}
    return {QUANTISED: (CODECS[compression].dtype, (parameters,)), SCALES: ("float32", (len(layout.parameters),))}


def _sizes(layout: Layout) -> list[int]:
    return [prod(shape) for _, shape in layout.parameters]
