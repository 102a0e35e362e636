"""Send the coordinator's commands to its SuperLink over the loopback listener: admit, expel, start, stop, list."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import httpx

from teledx_fed.core.errors import ConfigurationError, RefusedError, TeledxError, UnavailableError
from teledx_fed.deployment.common.keys import public_key_bytes
from teledx_fed.deployment.common.settings import LOOPBACK, checked_name
from teledx_fed.deployment.server.overview import Node
from teledx_fed.deployment.server.settings import ServerDirectory
from teledx_fed.federation.flower import (
    ControlHttpClient,
    Fab,
    FlowerError,
    ListNodesRequest,
    ListRunsRequest,
    NodeInfo,
    RegisterNodeRequest,
    Run,
    RuntimeVersionHttpInterceptor,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
    build_fab_from_files,
    fab_to_proto,
    user_config_to_proto,
)

RELEASE = version("teledx-fed")
APP = f"""[project]
name = "teledx-fed"
version = "{RELEASE}"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "teledx-fed"
[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "sites.app:app"
[tool.flwr.app.config]
settings = ""
run = ""
plan = ""
kind = ""
release = ""
"""
TRAINING, READINESS = "training", "readiness"


@dataclass(frozen=True)
class Order:
    """A request to start a run; `plan` is the digest by which sites find the plan that they approved.

    `settings` are JSON that only the server reads. `release` is the version of the coordinator's library. `kind` is
    `TRAINING`, or `READINESS`: one question to each site about its data.
    """

    run: str
    plan: str
    settings: str
    kind: str = TRAINING
    release: str = RELEASE


@dataclass(frozen=True)
class FlowerRun:
    """A run in Flower's database; a run that was resumed has several of them."""

    id: int
    run: str
    status: str
    details: str


@contextmanager
def control(home: ServerDirectory) -> Iterator[ControlHttpClient]:
    """Connect to the server. An `UnavailableError` if it does not answer, a `RefusedError` if it refuses a request."""
    try:
        client = ControlHttpClient.from_server_address(
            f"{LOOPBACK}:{home.settings.control_port}",
            insecure=False,
            root_certificates=(home.loopback / "ca.crt").read_bytes(),
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
        )
        with client:
            yield client
    except httpx.TransportError as error:
        raise UnavailableError(
            f"no server answers on {LOOPBACK}:{home.settings.control_port} ({error}). Start it with start."
        ) from error
    except httpx.HTTPStatusError as error:
        told = FlowerError.from_json(error.response.text)
        raise RefusedError(f"the server refused: {told.message if told else error}") from error


def is_up(home: ServerDirectory) -> bool:
    try:
        nodes(home)
    except TeledxError:
        return False
    return True


def nodes(home: ServerDirectory) -> list[Node]:
    """Return the admitted sites, sorted by name."""
    with control(home) as client:
        found = client.ListNodes(ListNodesRequest()).nodes_info
    return [_node(info) for info in sorted(found, key=lambda info: info.name) if info.status != "unregistered"]


def _node(info: NodeInfo) -> Node:
    return Node(name=info.name, online=info.status == "online", online_since=info.last_activated_at or None)


def admit(home: ServerDirectory, name: str, public_key: Path) -> None:
    """Admit a site. A `ConfigurationError` if the name or the key is in use, or the key is invalid."""
    checked_name("name", name)
    key = public_key_bytes(public_key)
    with control(home) as client:
        known = client.ListNodes(ListNodesRequest()).nodes_info
        admitted = {info.name: info for info in known if info.status != "unregistered"}
        if name in admitted:
            raise ConfigurationError(
                f"name must be of one site, got {name!r}, which is admitted. Choose another, or expel it."
            )
        if holder := next((info.name for info in known if info.public_key == key), None):
            raise ConfigurationError(
                f"{public_key} must hold a new key, got that of {holder!r}. Each site has a key of its own."
            )
        client.RegisterNode(RegisterNodeRequest(public_key=key, name=name))


def expel(home: ServerDirectory, name: str) -> None:
    with control(home) as client:
        known = client.ListNodes(ListNodesRequest()).nodes_info
        found = [info for info in known if info.name == name and info.status != "unregistered"]
        if not found:
            raise ConfigurationError(f"name must be of an admitted site, got {name!r}. See status.")
        client.UnregisterNode(UnregisterNodeRequest(node_id=found[0].node_id))


def start(home: ServerDirectory, order: Order) -> int:
    """Start a run and return Flower's number of it."""
    content = bundle()
    with control(home) as client:
        request = StartRunRequest(
            fab=fab_to_proto(Fab(hashlib.sha256(content).hexdigest(), content, {})),
            override_config=user_config_to_proto(asdict(order)),
        )
        return int(client.StartRun(request).run_id)


def runs(home: ServerDirectory) -> list[FlowerRun]:
    """Return the server's runs, the newest first."""
    with control(home) as client:
        found = client.ListRuns(ListRunsRequest()).run_dict.values()
    return [_run(run) for run in sorted(found, key=lambda run: run.pending_at, reverse=True)]


def _run(run: Run) -> FlowerRun:
    name = run.override_config["run"].string
    return FlowerRun(run.run_id, name, run.status.sub_status or run.status.status, run.status.details)


def stop(home: ServerDirectory, run: str) -> None:
    """Stop every Flower run of `run` that has not ended; a run that was resumed has several."""
    for id in _going(home, run):
        try:
            with control(home) as client:
                client.StopRun(StopRunRequest(run_id=id))
        except RefusedError:
            if id in _going(home, run):  # else it ended in the meantime
                raise


def _going(home: ServerDirectory, run: str) -> list[int]:
    """Return Flower's numbers of `run` that have not ended."""
    return [found.id for found in runs(home) if found.run == run and found.status in ("pending", "starting", "running")]


def bundle() -> bytes:
    """Build the app bundle that Flower sends to every site: two apps without the library. A site never runs it."""
    files: dict[str, bytes | Path] = {"pyproject.toml": APP.encode()}
    for module in ("server.app", "sites.app"):
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        files[module.replace(".", "/") + ".py"] = Path(spec.origin)
    content, _ = build_fab_from_files(files)
    return content
