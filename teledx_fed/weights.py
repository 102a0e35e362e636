"""A network's tensors as two contiguous float32 vectors, with a layout that says which slice is which tensor."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """Names and shapes, in order, of what travels: trained parameters, and BatchNorm statistics."""

    parameters: tuple[tuple[str, tuple[int, ...]], ...]
    statistics: tuple[tuple[str, tuple[int, ...]], ...]

    @cached_property
    def digest(self) -> str:
        """Equal where, and only where, two networks lay out the same tensors in the same order."""
        return hashlib.sha256(json.dumps([self.parameters, self.statistics]).encode()).hexdigest()

    @cached_property
    def slices(self) -> Mapping[str, slice]:
        """Where each tensor lies in its own vector."""
        return {**_slices(self.parameters), **_slices(self.statistics)}

    @cached_property
    def variances(self) -> NDArray[np.bool_]:
        """Which entries of `statistics` are variances."""
        sizes = [prod(shape) for _, shape in self.statistics]
        return np.repeat([name.endswith("running_var") for name, _ in self.statistics], sizes).astype(bool)

    @cached_property
    def sizes(self) -> tuple[int, int]:
        return _size(self.parameters), _size(self.statistics)


def _size(tensors: Iterable[tuple[str, tuple[int, ...]]]) -> int:
    return sum(prod(shape) for _, shape in tensors)


def _slices(tensors: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, slice]:
    slices, start = {}, 0
    for name, shape in tensors:
        slices[name] = slice(start, start + prod(shape))
        start += prod(shape)
    return slices


@dataclass(frozen=True)
class Weights:
    """`parameters` (n,) and `statistics` (m,), float32, as `layout` says."""

    parameters: Vector
    statistics: Vector
    layout: Layout

    @classmethod
    def pack(cls, tensors: Mapping[str, NDArray[np.float32]], layout: Layout) -> Self:
        return cls(_concatenate(tensors, layout.parameters), _concatenate(tensors, layout.statistics), layout)

    def unpack(self) -> dict[str, NDArray[np.float32]]:
        """Tensors by name: views, no copies."""
        return {
            name: vector[self.layout.slices[name]].reshape(shape)
            for vector, tensors in (
                (self.parameters, self.layout.parameters),
                (self.statistics, self.layout.statistics),
            )
            for name, shape in tensors
        }

    def equal(self, other: Self) -> bool:
        """Bit for bit."""
        return (
            self.layout == other.layout
            and self.parameters.tobytes() == other.parameters.tobytes()
            and self.statistics.tobytes() == other.statistics.tobytes()
        )


def _concatenate(tensors: Mapping[str, NDArray[np.float32]], wanted: tuple[tuple[str, tuple[int, ...]], ...]) -> Vector:
    parts = [np.asarray(tensors[name], dtype=np.float32).ravel() for name, _ in wanted]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


def mean(vectors: Sequence[Vector], by: Sequence[float]) -> Vector:
    """The mean of `vectors` weighted `by`, summed in float64 in the order given.

    >>> mean([np.float32([0, 4]), np.float32([4, 8])], by=[3, 1]).tolist()
    [1.0, 5.0]
    """
    total = np.zeros(vectors[0].shape, dtype=np.float64)
    for vector, weight in zip(vectors, by, strict=True):
        total += np.multiply(vector, weight, dtype=np.float64)
    return (total / sum(by)).astype(np.float32)


def norm(vector: NDArray[np.floating[Any]]) -> float:
    """Euclidean, in float64."""
    return float(np.linalg.norm(vector.astype(np.float64)))
