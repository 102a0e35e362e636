"""Send the coordinator's commands to its SuperLink over the loopback listener: admit, expel, start, stop, list."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx

from teledx_fed.core.errors import ConfigurationError, RefusedError, TeledxError, UnavailableError
from teledx_fed.deployment.common.keys import public_key_bytes
from teledx_fed.deployment.common.settings import LOOPBACK, RELEASE, checked_name
from teledx_fed.deployment.server.overview import AT_WORK, FlowerRun, Node
from teledx_fed.deployment.server.settings import ServerDirectory
from teledx_fed.federation.flower import (
    ControlHttpClient,
    Fab,
    FlowerError,
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    RuntimeVersionHttpInterceptor,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
    build_fab_from_files,
    fab_to_proto,
    user_config_to_proto,
)

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
class RunRequest:
    """A request to start a run. `plan` is the digest of the plan; sites use it to find the plan that they approved.

    `settings` are JSON that only the server reads. `release` is the version of the coordinator's library. `kind` is
    `TRAINING` or `READINESS`. A run of kind `READINESS` asks each site one question about its data.
    """

    run: str
    plan: str
    settings: str
    kind: str = TRAINING
    release: str = RELEASE


@contextmanager
def control(directory: ServerDirectory) -> Iterator[ControlHttpClient]:
    """Connect to the server. Raise `UnavailableError` if it does not answer, `RefusedError` if it refuses a request."""
    try:
        client = ControlHttpClient.from_server_address(
            f"{LOOPBACK}:{directory.settings.control_port}",
            insecure=False,
            root_certificates=(directory.loopback / "ca.crt").read_bytes(),
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
        )
        with client:
            yield client
    except httpx.TransportError as error:
        raise UnavailableError(
            f"no server answers on {LOOPBACK}:{directory.settings.control_port} ({error}). "
            "Start it with python -m server start."
        ) from error
    except httpx.HTTPStatusError as error:
        flower_error = FlowerError.from_json(error.response.text)
        raise RefusedError(f"the server refused: {flower_error.message if flower_error else error}") from error


def is_up(directory: ServerDirectory) -> bool:
    try:
        nodes(directory)
    except TeledxError:
        return False
    return True


def nodes(directory: ServerDirectory) -> list[Node]:
    """Return the admitted sites, sorted by name."""
    with control(directory) as client:
        infos = client.ListNodes(ListNodesRequest()).nodes_info
    admitted = sorted((info for info in infos if info.status != "unregistered"), key=lambda info: info.name)
    return [Node(info.name, info.status == "online", info.last_activated_at or None) for info in admitted]


def admit(directory: ServerDirectory, name: str, public_key: Path) -> None:
    """Admit a site.

    Raise a `ConfigurationError` if the name or the key is invalid, the name is in use, or the key was admitted before.
    """
    checked_name("name", name)
    key = public_key_bytes(public_key)
    with control(directory) as client:
        infos = client.ListNodes(ListNodesRequest()).nodes_info
        admitted = {info.name: info for info in infos if info.status != "unregistered"}
        if name in admitted:
            raise ConfigurationError(
                f"name must be new, got {name!r}, which is already admitted. Choose another, or expel that site."
            )
        if owner := next((info.name for info in infos if info.public_key == key), None):
            raise ConfigurationError(
                f"{public_key} must hold a new key, got the key of {owner!r}. Each site must have its own key."
            )
        client.RegisterNode(RegisterNodeRequest(public_key=key, name=name))


def expel(directory: ServerDirectory, name: str) -> None:
    with control(directory) as client:
        infos = client.ListNodes(ListNodesRequest()).nodes_info
        matches = [info for info in infos if info.name == name and info.status != "unregistered"]
        if not matches:
            raise ConfigurationError(
                f"name must be that of an admitted site, got {name!r}. List them with python -m server status."
            )
        client.UnregisterNode(UnregisterNodeRequest(node_id=matches[0].node_id))


def start(directory: ServerDirectory, request: RunRequest) -> int:
    """Start a run and return the number that Flower gave it."""
    content = bundle()
    with control(directory) as client:
        message = StartRunRequest(
            fab=fab_to_proto(Fab(hashlib.sha256(content).hexdigest(), content, {})),
            override_config=user_config_to_proto(asdict(request)),
        )
        return int(client.StartRun(message).run_id)


def runs(directory: ServerDirectory) -> list[FlowerRun]:
    """Return the server's runs, the newest first."""
    with control(directory) as client:
        flower_runs = client.ListRuns(ListRunsRequest()).run_dict.values()
    return [
        FlowerRun(run.run_id, run.override_config["run"].string, status.sub_status or status.status, status.details)
        for run in sorted(flower_runs, key=lambda run: run.pending_at, reverse=True)
        for status in [run.status]
    ]


def stop(directory: ServerDirectory, run: str) -> None:
    """Stop the Flower runs of `run` that have not ended: Flower has one for the start and one for each resume."""
    for id in _active_numbers(directory, run):
        try:
            with control(directory) as client:
                client.StopRun(StopRunRequest(run_id=id))
        except RefusedError:
            if id in _active_numbers(directory, run):  # else it ended in the meantime
                raise


def _active_numbers(directory: ServerDirectory, run: str) -> list[int]:
    """Return the numbers of the Flower runs of `run` that have not ended."""
    return [flower_run.id for flower_run in runs(directory) if flower_run.run == run and flower_run.status in AT_WORK]


def bundle() -> bytes:
    """Build the app bundle that Flower sends to every site: two apps without the library. Sites never run this code."""
    files: dict[str, bytes | Path] = {"pyproject.toml": APP.encode()}
    for module in ("server.app", "sites.app"):
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        files[module.replace(".", "/") + ".py"] = Path(spec.origin)
    content, _ = build_fab_from_files(files)
    return content
