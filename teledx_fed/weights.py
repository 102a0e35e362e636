"""A network's tensors as two contiguous float32 vectors, with a layout that says which slice is which tensor."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Self

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
BLOCK = 1 << 15
"""Numbers that stay in a core's cache between the steps of one formula."""


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


class Mean:
    """A weighted mean of vectors that are added one by one: memory does not grow with their number.

    The sum is carried in two float64 by error-free addition (Knuth, TAOCP 2, 4.2.2 B): 106 bits hold it exactly, so
    the mean is rounded once and the order in which vectors came shows in no bit.

    >>> mean = Mean(2)
    >>> mean.add(np.float32([0, 4]), by=3)
    >>> mean.add(np.float32([4, 8]), by=1)
    >>> mean.value().tolist()
    [1.0, 5.0]
    """

    def __init__(self, size: int) -> None:
        self._sum, self._carried = np.zeros(size), np.zeros(size)
        self._by = Fraction(0)

    def add(self, vector: Vector, by: float) -> None:
        self._by += Fraction(by)
        terms, sums, errors = np.empty((3, BLOCK))
        for part in blocks(len(vector)):
            here = slice(0, len(vector[part]))
            term, after, error, before = terms[here], sums[here], errors[here], self._sum[part]
            np.copyto(term, vector[part])
            term *= by
            np.add(before, term, out=after)
            np.subtract(after, before, out=error)  # what of the term arrived
            term -= error
            np.subtract(after, error, out=error)  # what of the sum before survived
            np.subtract(before, error, out=error)
            error += term
            self._carried[part] += error
            before[:] = after

    @property
    def by(self) -> float:
        """The sum of the weights."""
        return float(self._by)

    def value(self) -> Vector:
        found, by = np.empty(len(self._sum), np.float32), self.by
        for part in blocks(len(found)):
            found[part] = (self._sum[part] + self._carried[part]) / by
        return found


def mean(vectors: Sequence[Vector], by: Sequence[float]) -> Vector:
    found = Mean(len(vectors[0]))
    for vector, weight in zip(vectors, by, strict=True):
        found.add(vector, weight)
    return found.value()


def distance(one: Vector, other: Vector) -> float:
    """Euclidean, summed in float64 block by block; NaN or infinite where an entry is."""
    total = 0.0
    with np.errstate(all="ignore"):
        for part in blocks(len(one)):
            difference = one[part] - other[part]
            total += float(difference @ difference)
    return math.sqrt(total)


def norm(vector: Vector) -> float:
    """Euclidean, in float64."""
    return distance(vector, np.zeros_like(vector))


def blocks(size: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, size, BLOCK))
