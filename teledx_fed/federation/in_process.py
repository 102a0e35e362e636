"""Every site in this process, behind Flower's own Grid: what runs here runs unchanged over a network."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from flwr.app import Context, Error, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

SERVER = 1
CRASHED = 1


class InProcessGrid(Grid):
    """One node a site, asked one after the other.

    `timeout` holds for each site by itself, as if all had run at once: one that takes longer stays silent.
    """

    def __init__(self, app: ClientApp, sites: Sequence[str], run_config: UserConfig | None = None) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = (
            1,
            SERVER,
            1,
        )  # Message asks for these
        self._app = app
        self._contexts = {
            node: Context(1, node, {"site": name}, RecordDict(), run_config or {})
            for node, name in enumerate(sites, start=SERVER + 1)
        }

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [
            NodeInfo(node_id=node, name=str(context.node_config["site"])) for node, context in self._contexts.items()
        ]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        for message in messages:
            began = time.monotonic()
            reply = self._answer(message)
            if timeout is None or time.monotonic() - began <= timeout:
                yield reply

    def _answer(self, message: Message) -> Message:
        try:
            reply: object = self._app(message, self._contexts[message.metadata.dst_node_id])
            if not isinstance(reply, Message):
                raise TypeError("a ClientApp must answer with a Message")
            return reply
        except Exception as error:  # noqa: BLE001 - as Flower's runtime: an app that crashes is an error reply
            return Message(Error(CRASHED, type(error).__name__), reply_to=message)

    def set_run(self, run: object) -> NoReturn:
        raise NotImplementedError("InProcessGrid is its own run")

    @property
    def run(self) -> NoReturn:
        raise NotImplementedError("InProcessGrid is its own run")

    def create_message(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError("InProcessGrid takes messages made by flwr.app.Message")

    def push_messages(self, messages: Iterable[Message]) -> NoReturn:
        raise NotImplementedError("InProcessGrid answers in send_and_receive")

    def pull_messages(self, message_ids: Iterable[str]) -> NoReturn:
        raise NotImplementedError("InProcessGrid answers in send_and_receive")


class SampledGrid:
    """What a strategy may see of a grid: the nodes that we sampled, and nothing to send with."""

    def __init__(self, nodes: Mapping[int, str]) -> None:
        self._nodes = nodes

    def get_node_ids(self) -> Iterable[int]:
        return list(self._nodes)
