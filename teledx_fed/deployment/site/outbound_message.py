"""Check of a reply before it leaves the hospital, with the hospital's own counts."""

from flwr.app import Message, MessageType

from teledx_fed.core.updates import LocalTraining
from teledx_fed.data.summary import rounded_up
from teledx_fed.federation import messages as wire
from teledx_fed.federation.replies import UpdateSpec, scores_spec, summary_spec
from teledx_fed.federation.site import SUMMARY, Hospital
from teledx_fed.federation.strategies.registry import needs_loss
from teledx_fed.privacy.message_spec import MessageSpec, fault


def outbound_fault(reply: Message, request: Message, hospital: Hospital, training: LocalTraining | None) -> str | None:
    """Return why the reply to `request` must not leave, or None. Only the hospital may read the reason."""
    spec = reply_spec(request, hospital, training)
    if spec is None:
        return f"no reply is specified to a message of type {request.metadata.message_type}"
    return fault(wire.contents(reply.content, spec), spec)


def reply_spec(request: Message, hospital: Hospital, training: LocalTraining | None) -> MessageSpec | None:
    """Return the specification of the reply to a message; None for a type of message that has none."""
    site, settings = hospital.site, hospital.settings
    photographs, min_patients = len(site.shard) + len(site.set_aside), settings.outbound.min_patients
    kind = request.metadata.message_type
    if kind == MessageType.TRAIN and training is not None:
        round, layout = int(str(request.content[wire.CONFIG]["round"])), hospital.worker.network.layout
        loss = needs_loss(settings.strategy.name)
        spec = UpdateSpec(round, layout, settings.model.head, training.compression, loss)
        return spec.of_site(photographs, len(site.shard.train), min_patients)
    if kind == MessageType.EVALUATE:
        test = wire.split_of(request.content) == "test"
        return scores_spec(settings.model.head, photographs, min_patients, test=test)
    if kind == SUMMARY:
        return summary_spec(rounded_up(photographs, min_patients), min_patients)
    return None
