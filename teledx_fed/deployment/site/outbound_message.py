"""The contents of a reply as plain values, and the outbound rules that apply to it."""

from dataclasses import replace
from functools import partial

from flwr.app import Message, MessageType

from teledx_fed.core.updates import LocalTraining
from teledx_fed.data.summary import SHAPES as COUNTS
from teledx_fed.data.summary import inconsistency, rounded_up
from teledx_fed.evaluation.tables import EFFECTS
from teledx_fed.federation import messages as wire
from teledx_fed.federation.compression import form
from teledx_fed.federation.site import STATISTICS, Hospital
from teledx_fed.federation.strategies.registry import needs_loss
from teledx_fed.privacy.outbound import Allowed, Form, Group, Outgoing, counts, scores, weights


def outbound_content(reply: Message) -> Outgoing:
    """Return a reply's contents; `others` names arrays that hold more than values, such as text in the header."""
    content = reply.content
    records = content.array_records
    hiding = [
        f"{name}.{key}" for name, record in records.items() for key in record if not wire.well_formed(record[key])
    ]
    return Outgoing(
        arrays={
            name: {key: wire.values(array) for key, array in record.items() if wire.well_formed(array)}
            for name, record in records.items()
        },
        numbers={name: dict(record) for name, record in content.metric_records.items()},
        others=[*content.config_records, *hiding],
    )


def outbound_rules(asked: Message, hospital: Hospital, training: LocalTraining | None) -> Allowed:
    """Return the rules for the reply to a message; no count may exceed the hospital's number of photographs."""
    fewest, head, site = hospital.settings.outbound.min_patients, hospital.settings.model.head, hospital.site
    held = len(site.shard) + len(site.set_aside)
    if training is not None:
        return _update(asked, hospital, training, scores(head, fewest, held))
    if asked.metadata.message_type == STATISTICS:
        most = rounded_up(held, fewest)
        counted = replace(counts(COUNTS, fewest, most), disagreement=partial(inconsistency, most_photographs=most))
        return Allowed({wire.TABLES: counted})
    testing = asked.metadata.message_type == MessageType.EVALUATE and asked.content[wire.CONFIG]["split"] == "test"
    effects = {wire.DESIGN_EFFECTS: len(EFFECTS)} if testing else None
    return Allowed({wire.TABLES: scores(head, fewest, held, effects)})


def _update(asked: Message, hospital: Hospital, training: LocalTraining, tables: Group) -> Allowed:
    layout, examples = hospital.worker.network.layout, len(hospital.site.shard.train)
    parameters = form(layout, training.compression)
    statistics = {wire.STATISTICS: ("float32", layout.sizes[1:])}
    numbers = {
        "round": _exactly(int(str(asked.content[wire.CONFIG]["round"]))),
        "examples": _exactly(examples),
        "oedema-examples": Form("int64", (), 0, examples),
    }
    if needs_loss(hospital.settings.strategy.name):
        numbers["train_loss"] = Form("float64", (), 0, wire.LARGEST_LOSS, decimals=wire.LOSS_DECIMALS)
    return Allowed(
        {wire.PARAMETERS: weights(parameters), wire.STATISTICS: weights(statistics), wire.TABLES: tables},
        {wire.METRICS: numbers},
    )


def _exactly(value: int) -> Form:
    return Form("int64", (), value, value)
