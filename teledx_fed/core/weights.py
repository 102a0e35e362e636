"""A network's tensors as two contiguous float32 vectors, with a layout that gives the slice of each tensor."""

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
BLOCK = 1 << 16
"""Elements in a block, so few that a block stays in a CPU's cache between the steps of a formula."""
ROUNDS_TO_MULTIPLES = 1.5 * 2.0**32
"""Adding it to a float64 below 2^31, then subtracting it, rounds to the nearest multiple of 2^-20."""


@dataclass(frozen=True)
class Layout:
    """Names and shapes, in order, of the tensors in messages: trained parameters, and BatchNorm statistics."""

    parameters: tuple[tuple[str, tuple[int, ...]], ...]
    statistics: tuple[tuple[str, tuple[int, ...]], ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the layout, equal exactly for networks with the same tensors in the same order."""
        return hashlib.sha256(json.dumps([self.parameters, self.statistics]).encode()).hexdigest()

    @cached_property
    def slices(self) -> Mapping[str, slice]:
        """The slice of each tensor in its vector."""
        return {**_slices(self.parameters), **_slices(self.statistics)}

    @cached_property
    def variances(self) -> NDArray[np.bool_]:
        """Mask (m,) of the variances in `statistics`."""
        sizes = [prod(shape) for _, shape in self.statistics]
        return np.repeat([name.endswith("running_var") for name, _ in self.statistics], sizes).astype(bool)

    def span(self, prefix: str) -> slice:
        """Return the slice of the parameters whose names begin with `prefix`, which are adjacent; empty if none."""
        names = [name for name, _ in self.parameters if name.startswith(prefix)]
        return slice(self.slices[names[0]].start, self.slices[names[-1]].stop) if names else slice(0, 0)

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
    """Weights: `parameters` (n,) and `statistics` (m,), float32, ordered as in `layout`."""

    parameters: Vector
    statistics: Vector
    layout: Layout

    def equal(self, other: Self) -> bool:
        """Whether all bits are equal."""
        return (
            self.layout == other.layout
            and self.parameters.tobytes() == other.parameters.tobytes()
            and self.statistics.tobytes() == other.statistics.tobytes()
        )


class Mean:
    """Weighted mean of vectors that are added one by one, in constant memory.

    Each term is split exactly into a multiple of 2^-20 and a rest (Rump, Ogita and Oishi 2008,
    doi:10.1137/050645671). Multiples add up exactly, up to 2^33; the rounding error of the rests, all below 2^-20, is
    too small for float32. So the mean is rounded once, and results are bit-identical for any order of the vectors.

    >>> mean = Mean(2)
    >>> mean.add(np.float32([0, 4]), by=3)
    >>> mean.add(np.float32([4, 8]), by=1)
    >>> mean.value().tolist()
    [1.0, 5.0]
    """

    def __init__(self, size: int) -> None:
        self._multiples, self._rests = np.zeros(size), np.zeros(size)
        self._by = Fraction(0)

    def add(self, vector: Vector, by: float) -> None:
        self._by += Fraction(by)
        terms, multiples = np.empty((2, BLOCK))
        for part in blocks(len(vector)):
            block = slice(0, len(vector[part]))
            term, multiple = terms[block], multiples[block]
            np.multiply(vector[part], by, out=term, dtype=np.float64)
            np.add(term, ROUNDS_TO_MULTIPLES, out=multiple)
            multiple -= ROUNDS_TO_MULTIPLES
            term -= multiple
            self._multiples[part] += multiple
            self._rests[part] += term

    @property
    def by(self) -> float:
        """The sum of the weights."""
        return float(self._by)

    def value(self) -> Vector:
        values, by = np.empty(len(self._multiples), np.float32), self.by
        for part in blocks(len(values)):
            values[part] = (self._multiples[part] + self._rests[part]) / by
        return values


def mean(vectors: Sequence[Vector], by: Sequence[float]) -> Vector:
    """Return the mean of vectors weighted `by`, as `Mean` computes it."""
    total = Mean(len(vectors[0]))
    for vector, weight in zip(vectors, by, strict=True):
        total.add(vector, weight)
    return total.value()


def distance(first: Vector, second: Vector) -> float:
    """Return the Euclidean distance; blocks are summed in float64. NaN or infinite where an entry is."""
    total = 0.0
    with np.errstate(all="ignore"):
        for part in blocks(len(first)):
            difference = first[part] - second[part]
            total += float(difference @ difference)
    return math.sqrt(total)


def norm(vector: Vector) -> float:
    """Return the Euclidean norm, as `distance` computes it."""
    return distance(vector, np.zeros_like(vector))


def blocks(size: int) -> Iterator[slice]:
    """Yield the slices of a vector of this size, `BLOCK` elements each."""
    return (slice(start, start + BLOCK) for start in range(0, size, BLOCK))
