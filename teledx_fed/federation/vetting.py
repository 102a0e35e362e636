"""The fault in an update, or None: the one door between what a site sends and the model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict

from teledx_fed.evaluation.tables import inconsistency
from teledx_fed.federation.messages import DESIGN_EFFECTS, METRICS, PARAMETERS, STATISTICS, TABLES
from teledx_fed.weights import Weights, norm

NUMPY = "numpy.ndarray"
LARGEST = 2**63
LARGEST_LOSS = 1e6
LARGEST_EFFECT = 100

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
    """Only the very bytes that such an array has: nothing that a site sent is parsed."""
    if array.dtype != dtype or tuple(array.shape) != shape or array.stype != NUMPY:
        return f"{name} must be {dtype} {shape}, got {array.dtype[:20]} {tuple(array.shape)[:5]}"
    header = _header(dtype, shape)
    size = len(header) + math.prod(shape) * np.dtype(dtype).itemsize
    if len(array.data) != size or not array.data.startswith(header):
        return f"{name} must be an array of {size} bytes in the form that it declares, got {len(array.data)} bytes"
    return None


@cache
def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    written = BytesIO()
    form = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(written, form)
    return written.getvalue()


def _metrics(content: RecordDict, expected: Expected) -> str | None:
    metrics: Mapping[str, Any] = content.metric_records[METRICS]
    wanted = {"round": int, "examples": int, "oedema-examples": int, "train_loss": float}
    if set(metrics) != set(wanted) or any(type(metrics[name]) is not kind for name, kind in wanted.items()):
        return f"metrics must be {sorted(wanted)}, got {sorted(metrics)[:10]}"
    if any(isinstance(value, int) and abs(value) >= LARGEST for value in metrics.values()):
        return "metrics must fit 64 bits"
    if metrics["round"] != expected.round:
        return f"round must be {expected.round}, got {metrics['round']}"
    if not 1 <= metrics["examples"] <= expected.max_examples:
        return f"examples must lie in 1…{expected.max_examples}, got {metrics['examples']}"
    if not 0 <= metrics["oedema-examples"] <= metrics["examples"]:
        return f"oedema-examples must lie in 0…{metrics['examples']}, got {metrics['oedema-examples']}"
    if not abs(metrics["train_loss"]) <= LARGEST_LOSS:
        return f"train_loss must be finite and at most {LARGEST_LOSS:g}"
    return None


def _values(content: RecordDict, expected: Expected) -> str | None:
    for name in (PARAMETERS, STATISTICS):
        if not np.isfinite(content.array_records[name][name].numpy()).all():
            return f"{name} must be finite, got NaN or infinity"
    statistics = content.array_records[STATISTICS][STATISTICS].numpy()
    if (statistics[expected.start.layout.variances] <= 0).any():
        return "statistics must hold positive variances, got one that is 0 or less"
    return None


def _norm(content: RecordDict, expected: Expected) -> str | None:
    starts = (expected.start.parameters, expected.start.statistics)
    for name, start, limit in zip((PARAMETERS, STATISTICS), starts, expected.norm_limits, strict=True):
        moved = norm(content.array_records[name][name].numpy().astype(np.float64) - start)
        if moved > limit:
            return f"{name} must move by at most {limit:.4g}, moved by {moved:.4g}"
    return None


def _scores(content: RecordDict, expected: Expected) -> str | None:
    return _tables(content.array_records[TABLES], expected.tables, expected.max_examples)


def _tables(tables: ArrayRecord, shapes: Shapes, max_examples: int) -> str | None:
    """None at all, from a site with few patients, or all of them; and the counts must agree with each other."""
    if not tables:
        return None
    if set(tables) != set(shapes):
        return f"tables must be none or all that this head gives, wrong are {sorted(set(tables) ^ set(shapes))[:5]}"
    shaped = ((name, array, "float64", shapes[name]) for name, array in tables.items())
    found = next((found for args in shaped if (found := _array(*args)) is not None), None)
    if found is not None:
        return found
    values = {name: array.numpy() for name, array in tables.items()}
    effects = values.get(DESIGN_EFFECTS, np.ones(1))
    if not ((effects >= 1) & (effects <= LARGEST_EFFECT)).all():
        return f"design effects must lie in 1…{LARGEST_EFFECT}"
    return inconsistency(values, max_examples)
