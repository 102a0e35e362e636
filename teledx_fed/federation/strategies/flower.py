"""Aggregate vectors with Flower's strategies. No other module calls them."""

import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flwr.app import ArrayRecord, Message, MessageType, Metadata, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from teledx_fed.core.weights import Vector
from teledx_fed.federation.messages import PARAMETERS, values, vector

logging.getLogger("flwr").setLevel(logging.WARNING)  # the report of each round holds what Flower would log

NOWHERE = Metadata(
    run_id=0,
    message_id="",
    src_node_id=0,
    dst_node_id=0,
    reply_to_message_id="",
    group_id="",
    created_at=0.0,
    ttl=1.0,
    message_type=MessageType.TRAIN,
)
"""For messages that only Flower's strategies read; they are never sent."""


def aggregate_with(strategy: FedAvg, vectors: Sequence[Vector]) -> Vector:
    """Return the aggregate (n,) of `vectors`, each (n,) and of equal weight, by a new `strategy` of Flower."""
    replies = [_unsent(parameters) for parameters in vectors]
    with objects_frozen():
        arrays, _ = strategy.aggregate_train(1, replies)
    assert isinstance(arrays, ArrayRecord)
    return values(arrays[PARAMETERS])


def _unsent(parameters: Vector) -> Message:
    content = RecordDict({PARAMETERS: vector(parameters, PARAMETERS), "metrics": MetricRecord({"num-examples": 1.0})})
    return Message(metadata=NOWHERE, content=content)  # type: ignore[call-overload]  # Flower's own use


@contextmanager
def objects_frozen() -> Iterator[None]:
    """Hide existing objects from garbage collection, which some of Flower's strategies run for each reply."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
