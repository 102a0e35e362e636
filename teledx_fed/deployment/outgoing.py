"""A Flower message as plain values: what the log tells of it, and what the rules of leaving are held against."""

from typing import Any

from flwr.app import Message, MessageType, RecordDict

from teledx_fed.data.summary import SHAPES as COUNTS
from teledx_fed.deployment.receipts import Packed, Records, contents, digest
from teledx_fed.federation import messages as wire
from teledx_fed.federation.compression import form
from teledx_fed.federation.site import STATISTICS, Hospital
from teledx_fed.privacy.outbound import Allowed, Form, Group, Outgoing, counts, scores, weights
from teledx_fed.records import LocalTraining

MOST = 2**53
"""The largest count that a float64 tells from its neighbours."""
LARGEST_LOSS = 1e6


def told(message: Message) -> dict[str, Any]:
    """For the log: its type, and what it holds or why it holds nothing."""
    facts: dict[str, Any] = {"kind": message.metadata.message_type, "flower_run": str(message.metadata.run_id)}
    if message.has_error():
        return {**facts, "code": message.error.code, "reason": (message.error.reason or "")[:200]}
    records = _records(message.content)
    return {**facts, "digest": digest(records), "holds": contents(records)}


def _records(content: RecordDict) -> Records:
    arrays = {
        name: {key: Packed(array.dtype, tuple(array.shape), array.data) for key, array in record.items()}
        for name, record in content.array_records.items()
    }
    return {**arrays, **content.metric_records, **content.config_records}


def outgoing(reply: Message) -> Outgoing:
    content = reply.content
    return Outgoing(
        arrays={
            name: {key: wire.values(array) for key, array in record.items()}
            for name, record in content.array_records.items()
        },
        numbers={name: dict(record) for name, record in content.metric_records.items()},
        others=list(content.config_records),
    )


def rules(asked: Message, hospital: Hospital, training: LocalTraining | None) -> Allowed:
    """What may leave in answer to a message."""
    fewest, head = hospital.settings.outbound.min_patients, hospital.settings.model.head
    if training is not None:
        return _update(hospital, training, scores(head, fewest, MOST))
    if asked.metadata.message_type == STATISTICS:
        return Allowed({wire.TABLES: counts(COUNTS, fewest, MOST)})
    testing = asked.metadata.message_type == MessageType.EVALUATE and asked.content[wire.CONFIG]["split"] == "test"
    effects = {wire.DESIGN_EFFECTS: len(wire.EFFECTS)} if testing else None
    return Allowed({wire.TABLES: scores(head, fewest, MOST, effects)})


def _update(hospital: Hospital, training: LocalTraining, tables: Group) -> Allowed:
    layout, count = hospital.worker.network.layout, Form("int64", (), 0, MOST)
    parameters = form(layout, training.compression)
    statistics = {wire.STATISTICS: ("float32", layout.sizes[1:])}
    numbers = {
        "round": count,
        "examples": count,
        "oedema-examples": count,
        "train_loss": Form("float64", (), -LARGEST_LOSS, LARGEST_LOSS),
    }
    return Allowed(
        {wire.PARAMETERS: weights(parameters), wire.STATISTICS: weights(statistics), wire.TABLES: tables},
        {wire.METRICS: numbers},
    )
