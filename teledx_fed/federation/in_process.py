"""Flower's Grid with every site in this process; the same server code runs unchanged over a network."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import NoReturn

from flwr.app import Context, Error, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from teledx_fed.core.reports import Reporter
from teledx_fed.federation.flower import NodeInfo, TaskIdentity

SERVER = 1
CRASHED = 1


class AnsweringGrid(Grid):
    """Base of grids for one run, which exchange messages only in `send_and_receive`."""

    def set_run(self, run: object) -> NoReturn:
        raise NotImplementedError("this grid has a run of its own")

    @property
    def run(self) -> NoReturn:
        raise NotImplementedError("this grid has a run of its own")

    def create_message(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError("this grid takes messages made by flwr.app.Message")

    def push_messages(self, messages: Iterable[Message]) -> NoReturn:
        raise NotImplementedError("this grid answers in send_and_receive")

    def pull_messages(self, message_ids: Iterable[str]) -> NoReturn:
        raise NotImplementedError("this grid answers in send_and_receive")


class InProcessGrid(AnsweringGrid):
    """A grid with one node for each site. Each app runs one site at a time; replies have the order of the messages.

    `timeout` applies to each site alone, as if all ran at once: a site that takes longer stays silent.
    """

    def __init__(self, apps: Sequence[ClientApp], sites: Sequence[str], run_config: UserConfig | None = None) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = (
            1,
            SERVER,
            1,
        )  # flwr.app.Message reads these
        self._idle: SimpleQueue[ClientApp] = SimpleQueue()
        for app in apps:
            self._idle.put(app)
        self._at_a_time = len(apps)
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
        for reply, seconds in self._answers(messages):
            if timeout is None or seconds <= timeout:
                yield reply

    def _answers(self, messages: Iterable[Message]) -> Iterator[tuple[Message, float]]:
        """Yield replies and their seconds. At most one reply per app is pending, even if the server is slow."""
        if self._at_a_time == 1:
            yield from map(self._timed, messages)
            return
        with ThreadPoolExecutor(self._at_a_time) as pool:
            under_way: deque[Future[tuple[Message, float]]] = deque()
            for message in messages:
                if len(under_way) == self._at_a_time:
                    yield under_way.popleft().result()
                under_way.append(pool.submit(self._timed, message))
            while under_way:
                yield under_way.popleft().result()

    def _timed(self, message: Message) -> tuple[Message, float]:
        began = time.monotonic()
        return self._answer(message), time.monotonic() - began

    def _answer(self, message: Message) -> Message:
        app = self._idle.get()
        try:
            reply: object = app(message, self._contexts[message.metadata.dst_node_id])
            if not isinstance(reply, Message):
                raise TypeError("a ClientApp must answer with a Message")
            return reply
        except Exception as error:  # noqa: BLE001 - as Flower's runtime: an app that crashes is an error reply
            return Message(Error(CRASHED, type(error).__name__), reply_to=message)
        finally:
            self._idle.put(app)


class WatchedGrid(AnsweringGrid):
    """A grid that reports each message to a site, and each reply."""

    def __init__(self, grid: Grid, reporter: Reporter) -> None:
        self._grid, self._reporter = grid, reporter

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        return self._grid.get_nodes()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        sent, names = list(messages), {node.node_id: node.name for node in self.get_nodes()}
        for message in sent:
            self._reporter.site(names[message.metadata.dst_node_id], "working")
        for reply in self._grid.send_and_receive(sent, timeout=timeout):
            self._reporter.site(names[reply.metadata.src_node_id], "answered")
            yield reply
