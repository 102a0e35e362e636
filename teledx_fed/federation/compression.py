"""Compression of updates: the difference from the global model in fewer bits, with a scale for each tensor."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.weights import Layout, Vector

QUANTISED, SCALES = "parameters", "scales"

Arrays = Mapping[str, NDArray[np.generic]]
Forms = dict[str, tuple[str, tuple[int, ...]]]


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
    return arrays[QUANTISED].astype(np.float32) * np.repeat(arrays[SCALES].astype(np.float32), _sizes(layout))


def forms(layout: Layout, compression: str) -> Forms:
    """Return the names, dtypes and shapes of the arrays that carry the parameters."""
    parameters, _ = layout.sizes
    if compression == "none":
        return {QUANTISED: ("float32", (parameters,))}
    return {QUANTISED: (CODECS[compression].dtype, (parameters,)), SCALES: ("float32", (len(layout.parameters),))}


def _sizes(layout: Layout) -> list[int]:
    return [prod(shape) for _, shape in layout.parameters]
