"""Flower's SuperLink with two listeners: one for hospitals (fleet calls only), one for this machine (all calls)."""

import os
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import uvicorn
from uvicorn.config import LifespanType

from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.files import make_folder
from teledx_fed.deployment.common.monitoring import repeatedly
from teledx_fed.deployment.common.private_files import read
from teledx_fed.deployment.common.settings import LOOPBACK, LOOPBACK_HOSTS, QUIET_FLOWER
from teledx_fed.deployment.server.control import bundle, is_up
from teledx_fed.deployment.server.journal import Journal
from teledx_fed.deployment.server.request_filter import ASGIApp, LogLimiter, RequestFilter
from teledx_fed.deployment.server.settings import FOLDER_VARIABLE, ServerDirectory
from teledx_fed.federation.flower import (
    ISOLATION_MODE_SUBPROCESS,
    TRANSPORT_TYPE_GRPC_RERE,
    LinkState,
    NoOpControlAuthnPlugin,
    SuperLinkLifespan,
    SuperLinkLifespanConfig,
    create_app,
)

OBJECTIONS = {
    "TLSV1_ALERT_UNKNOWN_CA": "a hospital has the ca.crt of another authority",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "a hospital rejects the server's certificate as expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "a hospital uses a server name that is not in the certificate",
}
"""Why a client rejects the server's certificate, by the TLS alert that it sends (RFC 8446, 6.2)."""
POLL_SECONDS = 0.2


def serve(directory: ServerDirectory, when_up: Callable[[], None], report: Callable[[str], None]) -> NoReturn:
    """Serve until a signal. `when_up` is called once both ports answer, `report` with the reason of each refusal.

    uvicorn raises the signal again when it has stopped: `serve` never returns. A `ConfigurationError` if a port is
    taken or a certificate is missing.
    """
    settings = directory.settings
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # flower-superexec is there
    flower_home = str(directory.flower.absolute())
    os.environ.update(QUIET_FLOWER, NO_PROXY=LOOPBACK_HOSTS, FLWR_HOME=flower_home, PATH=commands)
    os.environ[FOLDER_VARIABLE] = str(directory.folder.absolute())
    make_folder(directory.database.parent)
    flower = create_app(_config(directory), SuperLinkLifespan)
    audit = directory.audit_log

    def report_refusal(reason: str) -> None:
        audit.append("refused", what="request", reason=reason)
        report(f"refused: {reason}")

    def state() -> LinkState:
        link_state: LinkState = flower.state.linkstate_factory.state()
        return link_state

    def is_admitted(key: bytes) -> bool:
        return state().get_node_id_by_public_key(key) is not None

    refuse = LogLimiter(report_refusal)
    largest, a_second = int(settings.largest_request_mib * 2**20), settings.requests_a_second
    app = Journal(flower, audit, state, sha256(bundle()).hexdigest())
    filtered = RequestFilter(app, is_admitted, largest, a_second, refuse)
    public = _server(filtered, directory.certificates, settings.listen, settings.port, lifespan="off", refuse=refuse)
    private = _server(app, directory.loopback, LOOPBACK, settings.control_port, lifespan="on")
    _load(public, directory.certificates)
    _load(private, directory.loopback)
    threading.Thread(target=_run, args=(public, private), name="hospitals", daemon=True).start()
    threading.Thread(target=_wait, args=(directory, public, when_up), name="health", daemon=True).start()
    with repeatedly(partial(_renew, public, directory.certificates)):
        _run(private, public)
    raise ConfigurationError(
        f"port and control_port must be free, got {settings.port} and {settings.control_port}: a listener ended. "
        "See above."
    )


def _load(server: uvicorn.Server, certificates: Path) -> None:
    """Load the certificate before a listener starts. A `ConfigurationError` if it cannot be used."""
    try:
        server.config.load()
    except OSError as error:
        raise ConfigurationError(
            f"{certificates} must hold server.crt and its server.key, got: {error.strerror or error}. Run renew."
        ) from error


def _run(server: uvicorn.Server, other: uvicorn.Server) -> None:
    """Stop the other listener when this one stops, whatever the reason."""
    try:
        with suppress(SystemExit):  # uvicorn raises it if the port is taken
            server.run()
    finally:
        other.should_exit = True


def _wait(directory: ServerDirectory, public: uvicorn.Server, when_up: Callable[[], None]) -> None:
    while not (public.started and is_up(directory)):
        time.sleep(POLL_SECONDS)
    when_up()


def _renew(server: uvicorn.Server, certificates: Path) -> None:
    """Load the certificate from disk again, for new connections; open connections continue."""
    if (context := getattr(server.config, "ssl", None)) is not None:
        context.load_cert_chain(certificates / "server.crt", certificates / "server.key")


def _server(
    app: ASGIApp,
    certificates: Path,
    host: str,
    port: int,
    lifespan: LifespanType,
    refuse: Callable[[str], None] = lambda reason: None,
) -> uvicorn.Server:
    def listening(config: uvicorn.Config, usual: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        context = usual()
        context.sslobject_class = _handshake_reporting(refuse)
        return context

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan=lifespan,
        ssl_certfile=str(certificates / "server.crt"),
        ssl_keyfile=str(certificates / "server.key"),
        ssl_context_factory=listening,
        proxy_headers=False,  # else a site on this machine could claim any address
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)


def _handshake_reporting(refuse: Callable[[str], None]) -> type[ssl.SSLObject]:
    """Report a client that rejects the certificate: it closes the connection before it sends a request."""

    class Handshake(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except ssl.SSLError as error:
                if (objection := OBJECTIONS.get(error.reason or "")) is not None:
                    refuse(objection)
                raise

    return Handshake


def _config(directory: ServerDirectory) -> SuperLinkLifespanConfig:
    """Return the configuration of `flower-superlink` for the loopback, with TLS and site keys required."""
    authority, certificate, key = (directory.loopback / name for name in ("ca.crt", "server.crt", "server.key"))
    return SuperLinkLifespanConfig(
        control_address=f"{LOOPBACK}:{directory.settings.control_port}",
        health_server_address=None,
        host=LOOPBACK,
        port=directory.settings.control_port,
        insecure=False,
        certificates=(read(authority), read(certificate), read(key)),
        superexec_auth_secret=None,
        authn_plugin=NoOpControlAuthnPlugin(),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=str(authority.absolute()),
        ssl_certfile=str(certificate.absolute()),
        ssl_keyfile=str(key.absolute()),
        database=str(directory.database.absolute()),
        isolation=ISOLATION_MODE_SUBPROCESS,
        runtime_dependency_install=False,
    )
