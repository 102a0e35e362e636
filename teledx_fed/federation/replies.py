"""The three replies of a site: their specifications, and their validation on the server.

A site checks a reply against its specification before it sends it, and the server on arrival. Each adds what it alone
knows: the site its exact counts, the server what the site declared, and how far an update may move the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite

from flwr.app import RecordDict

from teledx_fed.core.score_tables import SHAPES
from teledx_fed.core.updates import LocalUpdate, Tables
from teledx_fed.core.weights import Layout, Weights, distance
from teledx_fed.data import summary
from teledx_fed.evaluation.intervals import LARGEST_EFFECT
from teledx_fed.evaluation.tables import EFFECTS, SUM_DECIMALS, inconsistency
from teledx_fed.federation import messages as wire
from teledx_fed.model.heads import head_of
from teledx_fed.privacy.message_spec import (
    Arrays,
    MessageContent,
    MessageSpec,
    RecordSpec,
    ValueSpec,
    counts,
    fault,
    weights,
)
from teledx_fed.privacy.transforms import forms

EFFECT_DECIMALS = 2


@dataclass(frozen=True)
class UpdateSpec:
    """Specification of the updates of a round. `loss`: the strategy needs the training loss of each site."""

    round: int
    layout: Layout
    head: str
    compression: str = "none"
    loss: bool = False

    def of_site(self, photographs: int, examples: int | None = None, min_patients: int = 1) -> MessageSpec:
        """Return the specification for a site with at most `photographs`, and, if known, exactly `examples`."""
        numbers = {
            "round": _exactly(self.round),
            "examples": ValueSpec("int64", (), 1, photographs) if examples is None else _exactly(examples),
            "oedema-examples": ValueSpec("int64", (), 0, photographs),
        }
        if self.loss:
            numbers["train_loss"] = ValueSpec("float64", (), 0, wire.LARGEST_LOSS, decimals=wire.LOSS_DECIMALS)
        statistics = {wire.STATISTICS: ValueSpec("float32", self.layout.sizes[1:])}
        return MessageSpec(
            arrays={
                wire.PARAMETERS: weights(forms(self.layout, self.compression)),
                wire.STATISTICS: RecordSpec(statistics, inconsistency=self._variances),
                wire.TABLES: score_tables(self.head, min_patients, photographs),
            },
            numbers={wire.METRICS: numbers},
            inconsistency=partial(_counts, photographs),
        )

    def _variances(self, arrays: Arrays) -> str | None:
        if (arrays[wire.STATISTICS][self.layout.variances] <= 0).any():
            return "statistics must hold positive variances, got one that is 0 or less"
        return None


def scores_spec(head: str, photographs: int, min_patients: int = 1, *, test: bool = False) -> MessageSpec:
    """Return the specification of score tables alone; those of a test set come with design effects."""
    effects = {wire.DESIGN_EFFECTS: len(EFFECTS)} if test else None
    return MessageSpec({wire.TABLES: score_tables(head, min_patients, photographs, effects)})


def summary_spec(photographs: int, cell: int = 1) -> MessageSpec:
    """Return the specification of the summary of a site's data: multiples of `cell`."""
    check = partial(summary.inconsistency, most_photographs=photographs)
    return MessageSpec({wire.TABLES: RecordSpec(counts(summary.SHAPES, cell, photographs), inconsistency=check)})


def score_tables(head: str, min_patients: int, most_eyes: int, effects: Mapping[str, int] | None = None) -> RecordSpec:
    """Return the specification of score tables, which may be absent. `effects`: length of each array of design effects.

    A site that evaluated fewer than `min_patients` patients must send none.
    """
    specs = counts(head_of(head).tables, 1, most_eyes)
    sums = specs["referable_sums"].shape
    specs["eyes"] = replace(specs["eyes"], low=1)
    specs["referable_sums"] = ValueSpec("float64", sums, 0, most_eyes + 1, decimals=SUM_DECIMALS)
    for name, number in (effects or {}).items():
        specs[name] = ValueSpec("float64", (number,), 1, LARGEST_EFFECT, decimals=EFFECT_DECIMALS)

    def check(tables: Arrays) -> str | None:
        if tables["patients"][0] < min_patients:
            return f"tables must count at least {min_patients} patients, got {tables['patients'][0]:g}"
        return inconsistency({name: table for name, table in tables.items() if name in SHAPES})

    return RecordSpec(specs, optional=True, inconsistency=check)


def _exactly(value: int) -> ValueSpec:
    return ValueSpec("int64", (), value, value)


def _counts(photographs: int, content: MessageContent) -> str | None:
    """Return why the counts of an update contradict each other, or None."""
    metrics, tables = content.numbers[wire.METRICS], content.arrays[wire.TABLES]
    examples, evaluated = metrics["examples"], int(tables["eyes"][0]) if tables else 0
    if examples + evaluated > photographs:
        return (
            f"examples and evaluated eyes must be at most the {photographs} photographs of the site, "
            f"got {examples} and {evaluated}"
        )
    if metrics["oedema-examples"] > examples:
        return f"oedema-examples must lie in 0…{examples}, got {metrics['oedema-examples']}"
    return None


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
        if not (moved <= limit and isfinite(moved)):
            return f"{name} must move by at most {limit:.4g}, moved by {moved:.4g}"
    return None
