"""Outbound rules: a site's check that a message holds exactly the agreed names, types, shapes and values.

A message holds no text, and no array of a shape that was not agreed, such as an image. The values of weights are only
checked to be finite. Limiting what the weights of a trained model reveal about patients needs differential privacy.
"""

import builtins
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.updates import Tables
from teledx_fed.evaluation.intervals import LARGEST_EFFECT
from teledx_fed.evaluation.tables import SUM_DECIMALS, inconsistency
from teledx_fed.model.heads import head_of

EFFECT_DECIMALS = 2
SHOWN = 40
"""The largest number of characters of a name that a reason shows."""

PLAIN = {"int64": int, "float64": float}
ERRORS = frozenset(
    kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)
)

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Outgoing:
    """Arrays and numbers of a message, by record and name; `others` names the records that hold neither."""

    arrays: Mapping[str, Arrays]
    numbers: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    others: Sequence[str] = ()


@dataclass(frozen=True)
class Form:
    """Allowed dtype, shape, range and rounding of an array, or of a number. Values must be finite."""

    dtype: str
    shape: tuple[int, ...] = ()
    low: float = -inf
    high: float = inf
    multiple_of: int | None = None
    decimals: int | None = None


def nothing_more(arrays: Arrays) -> str | None:
    return None


@dataclass(frozen=True)
class Group:
    """Agreed arrays of one record: all of them, or none if `optional`. `disagreement` checks them together."""

    forms: Mapping[str, Form]
    optional: bool = False
    disagreement: Callable[[Arrays], str | None] = nothing_more


@dataclass(frozen=True)
class Allowed:
    arrays: Mapping[str, Group]
    numbers: Mapping[str, Mapping[str, Form]] = field(default_factory=dict)


def weights(forms: Mapping[str, tuple[str, tuple[int, ...]]]) -> Group:
    """Return the group of weights, whole or compressed, from the dtype and shape of each array."""
    return Group({name: Form(dtype, shape) for name, (dtype, shape) in forms.items()})


def counts(shapes: Mapping[str, tuple[int, ...]], cell: int, most: int) -> Group:
    """Return the group of tables whose counts are multiples of `cell`, 0 included, and at most `most`."""
    return Group({name: Form("float64", shape, 0, most, multiple_of=cell) for name, shape in shapes.items()})


def scores(head: str, min_patients: int, most_eyes: int, effects: Mapping[str, int] | None = None) -> Group:
    """Return the group of score tables, which may be absent. `effects`: the length of each array of design effects."""
    forms = {name: Form("float64", shape, 0, most_eyes, multiple_of=1) for name, shape in head_of(head).tables.items()}
    forms["referable_sums"] = Form("float64", forms["referable_sums"].shape, 0, most_eyes + 1, decimals=SUM_DECIMALS)
    for name, number in (effects or {}).items():
        forms[name] = Form("float64", (number,), 1, LARGEST_EFFECT, decimals=EFFECT_DECIMALS)
    counted = head_of(head).tables.keys() - {"referable_sums"}

    def disagreement(tables: Tables) -> str | None:
        if tables["patients"][0] < min_patients:
            return f"tables must count at least {min_patients} patients, got {tables['patients'][0]:g}"
        eyes = tables["eyes"][0]
        every_grade = tables["grade_scores"].sum(axis=(1, 2)) if "grade_scores" in tables else eyes
        if any((tables[name] > eyes).any() for name in counted) or (every_grade != eyes).any():
            return "tables must count every eye once"
        return inconsistency(tables, most_eyes)

    return Group(forms, optional=True, disagreement=disagreement)


def refusal(outgoing: Outgoing, allowed: Allowed) -> str | None:
    """Return why the message must not leave, or None. The reason repeats names, so only the site may read it."""
    return next(_faults(outgoing, allowed), None)


def kind_of(error: BaseException) -> str:
    """Return the name of the nearest built-in class of an error. It may leave, because it is from a fixed list."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind in ERRORS)


def _faults(outgoing: Outgoing, allowed: Allowed) -> Iterator[str]:
    """Yield the reasons to refuse. Use only the first: later checks assume that earlier ones passed."""
    if outgoing.others:
        yield f"records must hold arrays or numbers, got others: {_shown(outgoing.others)}"
    yield from _misnamed("records of arrays", outgoing.arrays, allowed.arrays)
    yield from _misnamed("records of numbers", outgoing.numbers, allowed.numbers)
    for record, group in allowed.arrays.items():
        yield from _group(record, outgoing.arrays[record], group)
    for record, forms in allowed.numbers.items():
        numbers = outgoing.numbers[record]
        yield from _misnamed(record, numbers, forms)
        for name, form in forms.items():
            yield from _number(f"{record}.{name}", numbers[name], form)


def _misnamed(what: str, found: Collection[object], wanted: Collection[str]) -> Iterator[str]:
    """Yield a reason if the names are not those agreed. A name must be a plain str: a subclass can override `==`."""
    more = [name for name in found if type(name) is not str or name not in wanted]
    missing = [name for name in wanted if name not in found]
    if more or missing:
        yield f"{what} must be those agreed, not agreed: {_shown(more)}, missing: {_shown(missing)}"


def _shown(names: Collection[object]) -> str:
    listed = sorted(repr(name)[:SHOWN] for name in names)
    return (", ".join(listed[:5]) or "none") + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _group(record: str, arrays: Arrays, group: Group) -> Iterator[str]:
    if group.optional and not arrays:
        return
    yield from _misnamed(record, arrays, group.forms)
    for name, form in group.forms.items():
        yield from _array(f"{record}.{name}", arrays[name], form)
    if (found := group.disagreement(arrays)) is not None:
        yield found


def _number(name: str, value: object, form: Form) -> Iterator[str]:
    """Yield the faults of a number. Its type must be int or float itself: a subclass could carry other data."""
    kind = PLAIN[form.dtype]
    if type(value) is kind:
        yield from _array(name, np.asarray(value), form)
    else:
        yield f"{name} must be {kind.__name__}, got {type(value).__name__}"


def _array(name: str, array: object, form: Form) -> Iterator[str]:
    if type(array) is not np.ndarray:
        yield f"{name} must be an array, got {type(array).__name__}"
        return
    dtype = np.dtype(form.dtype)
    if array.dtype != dtype or array.dtype.metadata or array.shape != form.shape:
        yield f"{name} must be {dtype} {form.shape}, got {str(array.dtype)[:SHOWN]} {array.shape}"
    elif not np.isfinite(array).all():
        yield f"{name} must be finite, got NaN or infinity"
    else:
        yield from _values(name, array, form)


def _values(name: str, array: NDArray[Any], form: Form) -> Iterator[str]:
    if ((array < form.low) | (array > form.high)).any():
        yield f"{name} must lie in {form.low:g}…{form.high:g}"
    if form.low >= 0 and np.signbit(array).any():
        yield f"{name} must not hold a zero that is negative"
    if form.multiple_of is not None and (array % form.multiple_of).any():
        yield f"{name} must hold multiples of {form.multiple_of}"
    if form.decimals is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = np.round(array, form.decimals)
        if (rounded != array).any():
            yield f"{name} must be rounded to {form.decimals} decimals"
