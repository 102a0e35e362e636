"""Validation of every reply of a site, before it can change the model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict

from teledx_fed.core.updates import LocalUpdate, Tables
from teledx_fed.core.weights import Weights, distance
from teledx_fed.data import summary
from teledx_fed.evaluation.intervals import LARGEST_EFFECT
from teledx_fed.evaluation.tables import inconsistency
from teledx_fed.federation.compression import Forms, form
from teledx_fed.federation.messages import (
    DESIGN_EFFECTS,
    LARGEST_LOSS,
    METRICS,
    NUMPY,
    PARAMETERS,
    STATISTICS,
    TABLES,
    tables_of,
    update_of,
    values,
    well_formed,
)

LARGEST = 2**63

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class UpdateSpec:
    """The specification of the update that one site may send in this round.

    `norm_limits` are the largest Euclidean distances of parameters and statistics from `start`. `max_examples` is the
    number of photographs that the site declared. `tables` are the shapes of its score tables. `loss` is whether the
    strategy needs its training loss.
    """

    round: int
    start: Weights
    norm_limits: tuple[float, float]
    max_examples: int
    tables: Shapes = field(default_factory=dict)
    compression: str = "none"
    loss: bool = False


@dataclass(frozen=True)
class ValidUpdate:
    """A valid update. `moved`: the Euclidean distances of its parameters and statistics from the start of the round."""

    update: LocalUpdate
    moved: tuple[float, float]


def validate_update(content: RecordDict, expected: UpdateSpec) -> ValidUpdate | str:
    """Return the update in a reply, or the reason to refuse it. The form of an array is checked before decoding."""
    for check in (_names, _arrays, _scores, _metrics):
        if (found := check(content, expected)) is not None:
            return found
    update, start = update_of(content, expected.start), expected.start
    moved = (
        distance(update.weights.parameters, start.parameters),
        distance(update.weights.statistics, start.statistics),
    )
    return _values(update.weights, moved, expected) or ValidUpdate(update, moved)


def validate_tables(content: RecordDict, shapes: Shapes, max_examples: int) -> Tables | str:
    """Return the score tables in a reply that holds nothing else, or the reason to refuse it."""
    return _tables_alone(content) or _tables(content, shapes, max_examples) or tables_of(content)


def validate_summary(content: RecordDict, max_examples: int) -> Tables | str:
    """Return the counts of a site's data in a reply that holds nothing else, or the reason to refuse it."""
    if (found := _tables_alone(content) or _shaped(content, summary.SHAPES)) is not None:
        return found
    tables = tables_of(content)
    return summary.inconsistency(tables, max_examples) or tables


def _names(content: RecordDict, expected: UpdateSpec) -> str | None:
    wanted = {PARAMETERS, STATISTICS, TABLES, METRICS}
    if set(content) != wanted:
        return f"records must be {sorted(wanted)}, got {sorted(content)[:10]}"
    if set(content.array_records) != wanted - {METRICS} or set(content.metric_records) != {METRICS}:
        return "records must be arrays, and metrics a MetricRecord"
    for name, arrays in _forms(expected).items():
        if set(content.array_records[name]) != set(arrays):
            return f"{name} must hold the arrays {sorted(arrays)}, got {sorted(content.array_records[name])[:5]}"
    return None


def _arrays(content: RecordDict, expected: UpdateSpec) -> str | None:
    shaped = (
        (name, content.array_records[record][name], dtype, shape)
        for record, arrays in _forms(expected).items()
        for name, (dtype, shape) in arrays.items()
    )
    return next((found for args in shaped if (found := _array(*args)) is not None), None)


def _forms(expected: UpdateSpec) -> dict[str, Forms]:
    layout = expected.start.layout
    statistics: Forms = {STATISTICS: ("float32", layout.sizes[1:])}
    return {PARAMETERS: form(layout, expected.compression), STATISTICS: statistics}


def _array(name: str, array: Array, dtype: str, shape: tuple[int, ...]) -> str | None:
    """Return the reason to refuse an array, or None. Its bytes are compared with the expected header, never parsed."""
    if array.dtype != dtype or tuple(array.shape) != shape or array.stype != NUMPY:
        return f"{name} must be {dtype} {shape}, got {array.dtype[:20]} {tuple(array.shape)[:5]}"
    if not well_formed(array):
        return f"{name} must be an array in the form that it declares, got {len(array.data)} bytes in another"
    return None


def _metrics(content: RecordDict, expected: UpdateSpec) -> str | None:
    metrics: Mapping[str, Any] = content.metric_records[METRICS]
    loss = {"train_loss": float} if expected.loss else {}
    wanted = {"round": int, "examples": int, "oedema-examples": int, **loss}
    if set(metrics) != set(wanted) or any(type(metrics[name]) is not kind for name, kind in wanted.items()):
        return f"metrics must be {sorted(wanted)}, got {sorted(metrics)[:10]}"
    if any(isinstance(value, int) and abs(value) >= LARGEST for value in metrics.values()):
        return "metrics must fit 64 bits"
    if metrics["round"] != expected.round:
        return f"round must be {expected.round}, got {metrics['round']}"
    if not 1 <= metrics["examples"] <= expected.max_examples:
        return f"examples must lie in 1…{expected.max_examples}, got {metrics['examples']}"
    evaluated = _evaluated(content)
    if metrics["examples"] + evaluated > expected.max_examples:
        return (
            f"examples and evaluated eyes must be at most the {expected.max_examples} photographs that the site "
            f"declared, got {metrics['examples']} and {evaluated:g}"
        )
    if not 0 <= metrics["oedema-examples"] <= metrics["examples"]:
        return f"oedema-examples must lie in 0…{metrics['examples']}, got {metrics['oedema-examples']}"
    if expected.loss and not 0 <= metrics["train_loss"] <= LARGEST_LOSS:
        return f"train_loss must lie in 0…{LARGEST_LOSS:g}"
    return None


def _values(weights: Weights, moved: tuple[float, float], expected: UpdateSpec) -> str | None:
    for name, norm in zip((PARAMETERS, STATISTICS), moved, strict=True):
        if not math.isfinite(norm):
            return f"{name} must be finite, got NaN or infinity"
    if (found := too_far(moved, expected.norm_limits)) is not None:
        return found
    if (weights.statistics[weights.layout.variances] <= 0).any():
        return "statistics must hold positive variances, got one that is 0 or less"
    return None


def too_far(moved: tuple[float, float], limits: tuple[float, float]) -> str | None:
    """Return the reason to refuse an update that moved by `moved` (parameters, statistics), or None."""
    for name, norm, limit in zip((PARAMETERS, STATISTICS), moved, limits, strict=True):
        if norm > limit:
            return f"{name} must move by at most {limit:.4g}, moved by {norm:.4g}"
    return None


def _evaluated(content: RecordDict) -> float:
    """Return the number of eyes in the score tables; 0 without tables. `_scores` has checked their form."""
    tables: ArrayRecord = content.array_records[TABLES]
    return float(values(tables["eyes"])[0]) if "eyes" in tables else 0.0


def _tables_alone(content: RecordDict) -> str | None:
    if {TABLES} != set(content) or {TABLES} != set(content.array_records):
        return f"records must be [{TABLES}], got {sorted(content)[:10]}"
    return None


def _shaped(content: RecordDict, shapes: Shapes) -> str | None:
    """Return the reason to refuse the names, dtypes or shapes of the tables, or None."""
    tables: ArrayRecord = content.array_records[TABLES]
    if set(tables) != set(shapes):
        return f"tables must be all that were asked for, wrong are {sorted(set(tables) ^ set(shapes))[:5]}"
    shaped = ((name, array, "float64", shapes[name]) for name, array in tables.items())
    return next((found for args in shaped if (found := _array(*args)) is not None), None)


def _scores(content: RecordDict, expected: UpdateSpec) -> str | None:
    return _tables(content, expected.tables, expected.max_examples)


def _tables(content: RecordDict, shapes: Shapes, max_examples: int) -> str | None:
    """Return the reason to refuse score tables, or None. A site sends all of them, or none if it has few patients."""
    if not content.array_records[TABLES]:
        return None
    if (found := _shaped(content, shapes)) is not None:
        return found
    tables = tables_of(content)
    effects = tables.get(DESIGN_EFFECTS, np.ones(1))
    if not ((effects >= 1) & (effects <= LARGEST_EFFECT)).all():
        return f"design effects must lie in 1…{LARGEST_EFFECT}"
    return inconsistency(tables, max_examples)
