"""The server refuses the updates of hostile hospitals, and the round continues without them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import repeat
from pathlib import Path

import httpx
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from benchmarks.jobs.deployed import Federation, running
from teledx_fed.deployment.common.keys import public_key_bytes, site_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TINY = ("model.name=test_efficientnet", "model.initial=none", "federation.rounds=1", "federation.quorum=1")
ODD = {
    "nan": "parameters must be finite, got NaN or infinity",
    "larger": "parameters must move by at most ",
    "longer": "parameters must be float32 ",
    "far-ahead": "release too far from this site's",
}
"""The reason for which the server refuses each hospital's update, by the hospital's fault."""


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    path = {"PYTHONPATH": f"{Path(__file__).parents[2]}:{Path(__file__).parent}"}
    with running(tmp_path_factory.mktemp("hostile-site"), environment=path) as started:
        started.enrol("good", patients=15)
        started.join("good")
        for name in (*ODD, "one-ahead"):
            started.enrol(name, patients=15)
            started.variables = {**path, "ODD_SITE": name}
            started.join(name, module="odd_site")
        for name in ("good", *ODD, "one-ahead"):
            started.wait_until_online(name)
        started.order("poisoned", *TINY)
        started.wait_until_done("poisoned", seconds=240)
        for name in (*ODD, "one-ahead"):
            assert started.leave(name) == 0
        for name in ("larger", "longer", "far-ahead", "one-ahead"):
            started.command("server", "expel", name, "--dir", started.server)
        started.kill("server")
        started.change("server", requests_a_second=10)  # every machine can send faster than this
        started.serve()
        yield started


def test_a_poisoned_update_is_refused_and_the_round_continues(federation: Federation) -> None:
    refused = federation.rounds("poisoned")[0]["refused"]
    assert {name: reason[: len(ODD[name])] for name, reason in refused.items()} == ODD


def test_releases_one_minor_version_apart_work_together(federation: Federation) -> None:
    assert federation.rounds("poisoned")[0]["accepted"] == ["good", "one-ahead"]


@pytest.fixture(scope="module")
def bad(federation: Federation) -> Iterator[tuple[FleetHttpClient, Node]]:
    """Flower's client with the key of an admitted hospital, for tests that send arbitrary requests."""
    key = site_key(federation.site("nan") / "keys" / "site.key")
    client = FleetHttpClient.from_server_address(
        f"localhost:{federation.port}",
        insecure=False,
        root_certificates=(federation.server / "certificates" / "ca.crt").read_bytes(),
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ],
    )
    with closing(client):
        public = public_key_bytes(federation.site("nan") / "keys" / "site.pub")
        activated = client.ActivateNode(ActivateNodeRequest(public_key=public, heartbeat_interval=60))
        yield client, Node(node_id=activated.node_id)


def test_a_request_that_is_too_large_is_refused(federation: Federation, bad: tuple[FleetHttpClient, Node]) -> None:
    client, node = bad
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        client.PushObject(PushObjectRequest(node=node, object_id="0" * 64, object_content=bytes(80 * 2**20)))
    assert "a request that is too large" in (federation.server / "audit.jsonl").read_text()


def test_a_reply_to_a_run_without_this_site_is_refused(bad: tuple[FleetHttpClient, Node]) -> None:
    client, node = bad
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 4711, node.node_id, 1
    content = RecordDict({"parameters": ArrayRecord({"a": Array("float32", (1,), "numpy.ndarray", b"1234")})})
    content["config"] = ConfigRecord({"round": 1})
    message = message_to_proto(Message(content, dst_node_id=1, message_type="train"))
    with pytest.raises(httpx.HTTPStatusError):
        client.PushMessages(PushMessagesRequest(node=node, messages_list=[message]))


def test_a_flood_is_refused_and_other_sites_are_served(
    federation: Federation, bad: tuple[FleetHttpClient, Node]
) -> None:
    client, node = bad
    with ThreadPoolExecutor(8) as pool, pytest.raises(httpx.HTTPStatusError, match="503"):
        list(pool.map(client.PullMessages, repeat(PullMessagesRequest(node=node), 1000)))
    assert "too many requests from one address" in (federation.server / "audit.jsonl").read_text()
    federation.command("server", "expel", "nan", "--dir", federation.server)
    federation.wait_until_online("good")  # the server refused it too, because it has the flood's address
    federation.order("after-the-flood", *TINY)
    federation.wait_until_done("after-the-flood")
    assert federation.rounds("after-the-flood")[0]["accepted"] == ["good"]
