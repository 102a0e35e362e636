"""The fault in an update, or None: the one door between what a site sends and the model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from numpy.typing import NDArray

from teledx_fed.federation.messages import METRICS, PARAMETERS, STATISTICS, TABLES
from teledx_fed.records import GRADES
from teledx_fed.weights import Layout, Weights, norm

HEADER = 1024

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Expected:
    """What a reply of this round looks like.

    `norm_limits` bound how far parameters and statistics may move; `tables` are the shapes that a score table may have.
    """

    round: int
    start: Weights
    norm_limits: tuple[float, float]
    max_examples: int
    tables: Shapes = field(default_factory=dict)


def fault(content: RecordDict, expected: Expected) -> str | None:
    """Why an update must not reach the model; every check is made on what was sent, before anything is summed."""
    checks = (_names, _arrays, _metrics, _values, _norm, _scores)
    return next((found for check in checks if (found := check(content, expected)) is not None), None)


def scoring_fault(content: RecordDict, tables: Shapes, max_examples: int) -> str | None:
    """The fault in a reply that holds scores alone."""
    if {TABLES} != set(content) or {TABLES} != set(content.array_records):
        return f"records must be [{TABLES}], got {sorted(content)[:10]}"
    return _tables(content.array_records[TABLES], tables, max_examples)


def _names(content: RecordDict, expected: Expected) -> str | None:
    wanted = {PARAMETERS, STATISTICS, TABLES, METRICS}
    if set(content) != wanted:
        return f"records must be {sorted(wanted)}, got {sorted(content)[:10]}"
    if set(content.array_records) != wanted - {METRICS} or set(content.metric_records) != {METRICS}:
        return "records must be arrays, and metrics a MetricRecord"
    for name in (PARAMETERS, STATISTICS):
        if list(content.array_records[name]) != [name]:
            return f"{name} must hold one array of that name, got {list(content.array_records[name])[:5]}"
    return None


def _arrays(content: RecordDict, expected: Expected) -> str | None:
    sizes = zip((PARAMETERS, STATISTICS), expected.start.layout.sizes, strict=True)
    shapes = ((name, content.array_records[name][name], "float32", (size,)) for name, size in sizes)
    return next((found for args in shapes if (found := _array(*args)) is not None), None)


def _array(name: str, array: Array, dtype: str, shape: tuple[int, ...]) -> str | None:
    """Declared form and length first: a payload is decoded only when it can be what it says."""
    if array.dtype != dtype or tuple(array.shape) != shape:
        return f"{name} must be {dtype} {shape}, got {array.dtype[:20]} {tuple(array.shape)[:5]}"
    if len(array.data) > math.prod(shape) * np.dtype(dtype).itemsize + HEADER:
        return f"{name} must take about {math.prod(shape) * np.dtype(dtype).itemsize} bytes, got {len(array.data)}"
    try:
        decoded = array.numpy()
    except (ValueError, TypeError, EOFError, OSError, SyntaxError) as error:
        return f"{name} must be a readable array, got {type(error).__name__}"
    if decoded.dtype != np.dtype(dtype) or decoded.shape != shape:
        return f"{name} must be {dtype} {shape}, got {decoded.dtype} {decoded.shape[:5]}"
    return None


def _metrics(content: RecordDict, expected: Expected) -> str | None:
    metrics: Mapping[str, Any] = content.metric_records[METRICS]
    wanted = {"round": int, "examples": int, "oedema-examples": int, "train_loss": float}
    if set(metrics) != set(wanted) or any(type(metrics[name]) is not kind for name, kind in wanted.items()):
        return f"metrics must be {sorted(wanted)}, got {sorted(metrics)[:10]}"
    if metrics["round"] != expected.round:
        return f"round must be {expected.round}, got {metrics['round']}"
    if not 1 <= metrics["examples"] <= expected.max_examples:
        return f"examples must lie in 1…{expected.max_examples}, got {metrics['examples']}"
    if not 0 <= metrics["oedema-examples"] <= metrics["examples"]:
        return f"oedema-examples must lie in 0…{metrics['examples']}, got {metrics['oedema-examples']}"
    if not math.isfinite(metrics["train_loss"]):
        return "train_loss must be finite"
    return None


def _values(content: RecordDict, expected: Expected) -> str | None:
    for name in (PARAMETERS, STATISTICS):
        if not np.isfinite(content.array_records[name][name].numpy()).all():
            return f"{name} must be finite, got NaN or infinity"
    statistics = content.array_records[STATISTICS][STATISTICS].numpy()
    if (statistics[variances(expected.start.layout)] <= 0).any():
        return "statistics must hold positive variances, got one that is 0 or less"
    return None


def _norm(content: RecordDict, expected: Expected) -> str | None:
    starts = (expected.start.parameters, expected.start.statistics)
    for name, start, limit in zip((PARAMETERS, STATISTICS), starts, expected.norm_limits, strict=True):
        moved = norm(content.array_records[name][name].numpy() - start)
        if moved > limit:
            return f"{name} must move by at most {limit:.4g}, moved by {moved:.4g}"
    return None


def _scores(content: RecordDict, expected: Expected) -> str | None:
    return _tables(content.array_records[TABLES], expected.tables, expected.max_examples)


def _tables(tables: ArrayRecord, shapes: Shapes, max_examples: int) -> str | None:
    """None at all, from a site with few patients, or all of one head's."""
    if not set(tables) <= set(shapes):
        return f"tables must be among {sorted(shapes)}, got {sorted(set(tables) - set(shapes))[:5]}"
    shaped = ((name, array, "float64", shapes[name]) for name, array in tables.items())
    found = next((found for args in shaped if (found := _array(*args)) is not None), None)
    if found is not None:
        return found
    values: list[NDArray[np.float64]] = [array.numpy().ravel() for array in tables.values()]
    if any(not np.isfinite(value).all() or (value < 0).any() for value in values):
        return "tables must hold counts and sums that are finite and not negative"
    if any(value.sum() > GRADES * max_examples for value in values):
        return f"tables must count at most {max_examples} eyes"
    return None


def variances(layout: Layout) -> NDArray[np.bool_]:
    """Which entries of `statistics` are variances."""
    flags = (np.full(math.prod(shape), name.endswith("running_var")) for name, shape in layout.statistics)
    return np.fromiter(chain.from_iterable(flags), dtype=bool, count=layout.sizes[1])
