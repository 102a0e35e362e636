"""Validation of every reply of a site on the server, before it can change the model."""

from dataclasses import dataclass

from flwr.app import RecordDict

from teledx_fed.core.updates import LocalUpdate, Tables
from teledx_fed.core.weights import Weights, distance
from teledx_fed.federation import messages as wire
from teledx_fed.privacy.message_spec import MessageSpec, fault


@dataclass(frozen=True)
class ValidUpdate:
    """A valid update. `distances`: Euclidean, of its parameters and statistics, from the start of the round."""

    update: LocalUpdate
    distances: tuple[float, float]


def validate_update(
    content: RecordDict, spec: MessageSpec, start: Weights, norm_limits: tuple[float, float]
) -> ValidUpdate | str:
    """Return the update in a reply, or the reason to refuse it.

    `norm_limits` are the largest distances of parameters and statistics from `start`, which sites do not know.
    """
    values = wire.contents(content, spec)
    if (reason := fault(values, spec)) is not None:
        return reason
    update = wire.update_of(values, start)
    distances = (
        distance(update.weights.parameters, start.parameters),
        distance(update.weights.statistics, start.statistics),
    )
    return too_far(distances, norm_limits) or ValidUpdate(update, distances)


def validate_tables(content: RecordDict, spec: MessageSpec) -> Tables | str:
    """Return the tables in a reply that holds nothing else, or the reason to refuse it."""
    values = wire.contents(content, spec)
    return fault(values, spec) or values.arrays[wire.TABLES]


def too_far(distances: tuple[float, float], limits: tuple[float, float]) -> str | None:
    """Return the reason to refuse an update at `distances` (parameters, statistics) from the start, or None."""
    for name, moved, limit in zip((wire.PARAMETERS, wire.STATISTICS), distances, limits, strict=True):
        if not moved <= limit:
            return f"{name} must move by at most {limit:.4g}, moved by {moved:.4g}"
    return None
