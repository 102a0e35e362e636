"""A message of the coordinator as typed values."""

from dataclasses import dataclass

from flwr.app import Context, Message, MessageType

from teledx_fed.core.errors import DataError
from teledx_fed.core.updates import LocalTraining
from teledx_fed.deployment.common.settings import checked_name
from teledx_fed.deployment.site.questions import Question, QuestionKind
from teledx_fed.federation.messages import CONFIG, training_of
from teledx_fed.federation.site import SUMMARY


@dataclass(frozen=True)
class Request:
    """A request of a run; `plan` is a digest, `question` is None if it asks only for counts of the data."""

    run: str
    plan: str
    release: str
    question: Question | None
    training: LocalTraining | None


def request_of(message: Message, context: Context, digest: str) -> Request:
    """Parse a message; `digest` is of all of it. A `ValueError`, `KeyError` or `TypeError` if it is invalid."""
    kind, config = message.metadata.message_type, context.run_config
    if kind not in (MessageType.TRAIN, MessageType.EVALUATE, SUMMARY):
        raise DataError(f"a message of type {kind}")
    return Request(
        run=checked_name("run", str(config["run"])),
        plan=str(config["plan"]),
        release=str(config["release"]),
        question=None if kind == SUMMARY else _question(message, kind, digest),
        training=training_of(message.content) if kind == MessageType.TRAIN else None,
    )


def _question(message: Message, kind: str, digest: str) -> Question:
    config = message.content.config_records[CONFIG]
    question = QuestionKind.ROUND if kind == MessageType.TRAIN else QuestionKind(str(config["split"]))
    return Question(question, int(str(config["round"])), int(str(config["trained-in"])), digest)
