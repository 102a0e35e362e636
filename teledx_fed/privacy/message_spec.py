"""Specification of a message: exactly the agreed names, types, shapes and values.

A site checks each reply before it is sent, and the server checks it on arrival, by the same specification. A message
holds no text, and no array of a shape that was not agreed, such as an image. The values of weights are only checked to
be finite. Limiting what the weights of a trained model reveal about patients needs differential privacy.
"""

import builtins
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHOWN = 40
"""The largest number of characters of a name that a reason shows."""

PLAIN = {"int64": int, "float64": float}
ERRORS = frozenset(
    kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)
)

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Unreadable:
    """An array in a message whose bytes are not those of the agreed dtype and shape. They were not parsed."""

    description: str


@dataclass(frozen=True)
class MessageContent:
    """Arrays and numbers of a message, by record and name; `others` names the records that hold neither."""

    arrays: Mapping[str, Mapping[str, Any]]
    numbers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    others: Sequence[str] = ()


@dataclass(frozen=True)
class ValueSpec:
    """Dtype, shape, range and rounding of an array, or of a number. Values must be finite."""

    dtype: str
    shape: tuple[int, ...] = ()
    low: float = -inf
    high: float = inf
    multiple_of: int | None = None
    decimals: int | None = None


def consistent(values: object) -> str | None:
    """Accept any values: the default of a specification without a check across arrays."""
    return None


@dataclass(frozen=True)
class RecordSpec:
    """Arrays of one record: all of them, or none if `optional`. `inconsistency` checks them together."""

    arrays: Mapping[str, ValueSpec]
    optional: bool = False
    inconsistency: Callable[[Arrays], str | None] = consistent


@dataclass(frozen=True)
class MessageSpec:
    """Records of arrays and of numbers. `inconsistency` checks the records together."""

    arrays: Mapping[str, RecordSpec]
    numbers: Mapping[str, Mapping[str, ValueSpec]] = field(default_factory=dict)
    inconsistency: Callable[[MessageContent], str | None] = consistent


def weights(forms: Mapping[str, tuple[str, tuple[int, ...]]]) -> RecordSpec:
    """Return the specification of weights, whole or compressed, from the dtype and shape of each array."""
    return RecordSpec({name: ValueSpec(dtype, shape) for name, (dtype, shape) in forms.items()})


def counts(shapes: Mapping[str, tuple[int, ...]], cell: int, most: int) -> dict[str, ValueSpec]:
    """Return the specifications of tables whose counts are multiples of `cell`, 0 included, and at most `most`."""
    return {name: ValueSpec("float64", shape, 0, most, multiple_of=cell) for name, shape in shapes.items()}


def fault(content: MessageContent, spec: MessageSpec) -> str | None:
    """Return why the message must be refused, or None. The reason may repeat names and numbers of the message."""
    return next(_faults(content, spec), None)


def kind_of(error: BaseException) -> str:
    """Return the name of the nearest built-in class of an error. It may leave, because it is from a fixed list."""
    builtin = (kind for kind in type(error).__mro__ if type(kind) is type and kind in ERRORS)  # a metaclass can lie
    return next(builtin).__name__


def _faults(content: MessageContent, spec: MessageSpec) -> Iterator[str]:
    """Yield the reasons to refuse. Use only the first: later checks assume that earlier ones passed."""
    if content.others:
        yield f"records must hold arrays or numbers, got others: {_shown(content.others)}"
    yield from _misnamed("records of arrays", content.arrays, spec.arrays)
    yield from _misnamed("records of numbers", content.numbers, spec.numbers)
    for record, of_arrays in spec.arrays.items():
        yield from _record(record, content.arrays[record], of_arrays)
    for record, of_numbers in spec.numbers.items():
        numbers = content.numbers[record]
        yield from _misnamed(record, numbers, of_numbers)
        for name, of_number in of_numbers.items():
            yield from _number(f"{record}.{name}", numbers[name], of_number)
    if (reason := spec.inconsistency(content)) is not None:
        yield reason


def _misnamed(place: str, names: Collection[object], agreed: Collection[str]) -> Iterator[str]:
    """Yield a reason if the names are not those agreed. A name must be a plain str: a subclass can override `==`."""
    more = [name for name in names if type(name) is not str or name not in agreed]
    missing = [name for name in agreed if name not in names]
    if more or missing:
        yield f"{place} must be those agreed, not agreed: {_shown(more)}, missing: {_shown(missing)}"


def _shown(names: Collection[object]) -> str:
    listed = sorted(repr(name)[:SHOWN] for name in names)
    return (", ".join(listed[:5]) or "none") + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _record(record: str, arrays: Arrays, spec: RecordSpec) -> Iterator[str]:
    if spec.optional and not arrays:
        return
    yield from _misnamed(record, arrays, spec.arrays)
    for name, of_array in spec.arrays.items():
        yield from _array(f"{record}.{name}" if name != record else name, arrays[name], of_array)
    if (reason := spec.inconsistency(arrays)) is not None:
        yield reason


def _number(name: str, value: object, spec: ValueSpec) -> Iterator[str]:
    """Yield the faults of a number. Its type must be int or float itself: a subclass could carry other data."""
    kind = PLAIN[spec.dtype]
    if type(value) is kind:
        yield from _array(name, np.asarray(value), spec)
    else:
        yield f"{name} must be {kind.__name__}, got {type(value).__name__}"


def _array(name: str, array: object, spec: ValueSpec) -> Iterator[str]:
    if isinstance(array, Unreadable):
        yield f"{name} must be {spec.dtype} {spec.shape}, got {array.description}"
        return
    if type(array) is not np.ndarray:
        yield f"{name} must be an array, got {type(array).__name__}"
        return
    dtype = np.dtype(spec.dtype)
    if array.dtype != dtype or array.dtype.metadata or array.shape != spec.shape:
        yield f"{name} must be {dtype} {spec.shape}, got {str(array.dtype)[:SHOWN]} {array.shape}"
    elif not np.isfinite(array).all():
        yield f"{name} must be finite, got NaN or infinity"
    else:
        yield from _values(name, array, spec)


def _values(name: str, array: NDArray[Any], spec: ValueSpec) -> Iterator[str]:
    if (spec.low > -inf and (array < spec.low).any()) or (spec.high < inf and (array > spec.high).any()):
        limits = f"be {spec.low:g}" if spec.low == spec.high else f"lie in {spec.low:g}…{spec.high:g}"
        yield f"{name} must {limits}" + ("" if array.shape else f", got {array}")
    if spec.low >= 0 and np.signbit(array).any():
        yield f"{name} must not hold a zero that is negative"
    if spec.multiple_of is not None and (array % spec.multiple_of).any():
        yield f"{name} must hold multiples of {spec.multiple_of}"
    if spec.decimals is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = np.round(array, spec.decimals)
        if (rounded != array).any():
            yield f"{name} must be rounded to {spec.decimals} decimals"
