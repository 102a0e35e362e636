"""The resident worker: takes each message from its SuperNode, and answers with the hospital's own code.

Flower would start a process for every message and run the server's app in it. This worker replaces that process
(`--isolation process`): network, photographs and features stay in memory, and the server's app never runs.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock, Thread

import httpx
from flwr.app import Context, Message

from teledx_fed.deployment.common.settings import LOOPBACK
from teledx_fed.federation.flower import (
    AcquireTaskRequest,
    HeartbeatSender,
    ProtobufClientInterceptor,
    RuntimeHttpClient,
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SubStatus,
    SuperExecAuthHttpInterceptor,
    TaskType,
    load_superexec_auth_secret,
    make_task_heartbeat_fn_http,
    pull_task_input,
    push_message,
    push_task_output,
)

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
WANTED = AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP])
ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})


Handler = Callable[[Message, Context], Message]


def serve(port: Callable[[], int], executor_key: Path, answer: Handler, running: Callable[[], bool]) -> None:
    """Answer messages one by one while `running` returns True. Wait for a SuperNode that restarts, on any port.

    A thread fetches each message: if the server dies during a transfer, only that message waits.
    """
    secret = load_superexec_auth_secret(secret_file=str(executor_key))
    assert secret is not None
    signed = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=ACQUIRE)
    one_at_a_time = Lock()
    while running():
        current_port = port()
        with _client(current_port, signed) as client:
            while running() and port() == current_port:
                if token := _acquired(client):
                    Thread(target=_answer_one, args=(current_port, token, answer, one_at_a_time), daemon=True).start()
                else:
                    time.sleep(POLL_SECONDS)


def _acquired(client: RuntimeHttpClient) -> str:
    """Return the token of the next message; empty if there is none."""
    try:
        return str(client.AcquireTask(WANTED).token)
    except (httpx.HTTPError, ValueError):  # ValueError: another program uses the port now
        return ""


def _answer_one(port: int, token: str, answer: Handler, one_at_a_time: Lock) -> None:
    """Answer one message, with heartbeats to the SuperNode. A failure is logged and does not stop the worker."""
    with _client(port, RuntimeTokenHttpInterceptor(token)) as client:
        heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
        heartbeat.start()
        try:
            message, context, _, _ = pull_task_input(client)
            with one_at_a_time:
                reply = answer(message, context)
            push_message(client, reply, context)
            push_task_output(client, context, SubStatus.COMPLETED, "")
        except Exception:
            log.exception("a message could not be answered")
        finally:
            heartbeat.stop()


@contextmanager
def _client(port: int, interceptor: ProtobufClientInterceptor) -> Iterator[RuntimeHttpClient]:
    client = RuntimeHttpClient.from_server_address(
        server_address=f"{LOOPBACK}:{port}",
        insecure=True,
        root_certificates=None,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"), interceptor],
    )
    with closing(client):
        yield client
