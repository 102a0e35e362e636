"""The checks of the connection to the server, of the server's identity, and of the clock."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socketserver import BaseRequestHandler

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from loopback import HOST, KNOWN, UNKNOWN, Coordinator, coordinator, listening, named, proxy, states

from teledx_fed.deployment.common import certificates as pki
from teledx_fed.deployment.server import certificate_authority
from teledx_fed.deployment.site.checks import connection, run_all, server, trust
from teledx_fed.deployment.site.checks.check import Check, State
from teledx_fed.deployment.site.settings import SiteDirectory

DAY = timedelta(days=1)

Write = Callable[..., SiteDirectory]


def test_all_is_well(write: Write, certificates: Path) -> None:
    with coordinator(certificates) as port:
        found = named(server.checks(write(port)))
    assert states(found) == dict.fromkeys(("name", "connection", "certificate", "clock", "admission"), "ok")
    assert found["name"].found == f"{HOST}: {HOST}"
    assert "'teledx_fed authority " in found["certificate"].found
    assert "364 days left" in found["certificate"].found


def test_a_name_that_nobody_knows(write: Write) -> None:
    found = named(server.checks(write(host=f"{'x' * 64}.example.org")))
    assert states(found) == {"name": "fail", "network": "warn"}
    assert "does not resolve" in found["name"].found


def test_a_port_where_nothing_listens(write: Write) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        found = named(server.checks(write(unused.getsockname()[1])))
    assert states(found) == {"name": "ok", "connection": "fail", "network": "warn"}
    assert "whether the server is up" in found["connection"].remedy


def test_a_firewall_that_drops_packets(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", drop)
    found = named(server.checks(write()))["connection"]
    assert found.state is State.FAIL
    assert f"allow outgoing TCP to {HOST}:9092, or name the proxy" in found.remedy


def refused(home: SiteDirectory) -> Check:
    """Return the failed check of the certificate, after which no other check runs."""
    found = named(server.checks(home))
    assert states(found) == {"name": "ok", "connection": "ok", "certificate": "fail", "network": "warn"}
    return found["certificate"]


def test_a_network_that_inspects_tls(
    write: Write, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acme(common: str) -> x509.Name:
        name = "Acme Proxy\nCA" if "authority" in common else common
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    monkeypatch.setattr(certificate_authority, "_name", acme)
    certificate_authority.create_authority(tmp_path / "acme")
    certificate_authority.issue_server_certificate(tmp_path / "acme", [HOST])
    ours = pki.claims(certificates / "ca.crt").subject
    with coordinator(tmp_path / "acme") as port:
        found = refused(write(port))
    assert found.found == (
        f"the certificate presented was issued by 'Acme Proxy\\nCA', not by the coordinator's authority {ours!r}: "
        "your network inspects TLS"
    )
    assert found.remedy.startswith(f"Ask IT to exempt {HOST}:{port}.")


def test_the_wrong_ca_crt(write: Write, tmp_path: Path) -> None:
    certificate_authority.create_authority(tmp_path / "other")
    certificate_authority.issue_server_certificate(tmp_path / "other", [HOST])
    with coordinator(tmp_path / "other") as port:
        found = refused(write(port))
    assert "another authority than that of ca.crt" in found.found
    assert "compare its fingerprint by telephone" in found.remedy


def test_an_expired_certificate(write: Write, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(certificate_authority, "now", lambda: datetime.now(UTC) - 400 * DAY)
        certificate_authority.issue_server_certificate(certificates, [HOST])
    with coordinator(certificates) as port:
        found = refused(write(port))
    assert found.found == f"the server's certificate expired on {datetime.now(UTC) - 35 * DAY:%Y-%m-%d}"
    assert "renew" in found.remedy


def test_a_certificate_that_is_not_valid_yet(write: Write, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(certificate_authority, "now", lambda: datetime.now(UTC) + 2 * DAY)
        certificate_authority.issue_server_certificate(certificates, [HOST])
    with coordinator(certificates) as port:
        found = refused(write(port))
    assert "not yet valid" in found.found
    assert found.remedy.startswith("Set this machine's clock")


def test_a_certificate_for_another_name(write: Write, certificates: Path) -> None:
    certificate_authority.issue_server_certificate(certificates, ["fl.example.org"])
    with coordinator(certificates) as port:
        found = refused(write(port))
    assert found.found == f"the server's certificate is for fl.example.org, localhost, 127.0.0.1, not for {HOST}"


def test_a_certificate_that_expires_soon(write: Write, certificates: Path) -> None:
    certificate_authority.issue_server_certificate(certificates, [HOST], days=20)
    with coordinator(certificates) as port:
        found = named(server.checks(write(port)))["certificate"]
    assert found.state is State.WARN
    assert "19 days left" in found.found


def test_a_server_without_tls(write: Write) -> None:
    with listening(Coordinator) as port:
        assert "does not speak TLS as it should" in refused(write(port)).found


def test_a_connection_that_is_cut(write: Write) -> None:
    class Cut(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(10)

    with listening(Cut) as port:
        found = refused(write(port))
    assert f"exempt {HOST}:{port} from TLS inspection" in found.remedy


def test_a_server_that_is_silent(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SECONDS", 0.2)
    monkeypatch.setattr(trust, "SECONDS", 0.2)

    class Silent(BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(1000):
                pass

    with listening(Silent) as port:
        assert refused(write(port)).found == f"{HOST}:{port} is silent for 0.2 s"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "state"), [(-4, "fail"), (4, "ok"), (90, "warn"), (400, "fail"), (0, "ok")], ids=lambda value: str(value)
)
def test_clocks(write: Write, certificates: Path, shift: float, state: str) -> None:
    with coordinator(certificates, shift=shift) as port:
        found = named(server.checks(write(port)))["clock"]
    assert found.state == state
    assert ("NTP" in found.remedy) == (state != "ok")


def test_the_clock_is_known_between_two_bounds() -> None:
    def read(asked: float, told: float) -> server.Answer:
        return server.Answer(400, None, told, asked, asked + 0.1)

    once = server.clock([read(1000.9, 1000)])
    assert once.found == "−1.1 to 1.0 s ahead of the server's"
    often = server.clock([read(1000.4, 1000), read(1000.9, 1000), read(1001.15, 1001)])
    assert often.found == "−1.1 to 0.2 s ahead of the server's"
    assert server.clock([read(1003.0, 1000)]).state is State.FAIL
    assert server.clock([server.Answer(400, None, None, 0, 0)]).state is State.WARN


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "told"),
    [(400, KNOWN, "knows"), (412, UNKNOWN, "does not know"), (401, 0, "signature"), (502, 0, "answers 502")],
)
def test_admission(write: Write, certificates: Path, status: int, code: int, told: str) -> None:
    with coordinator(certificates, status=status, code=code) as port:
        home = write(port)
        found = named(server.checks(home))["admission"]
    assert told in found.found
    assert (found.state is State.OK) == (code == KNOWN)
    assert (pki.fingerprint(home.public_key) in found.remedy) == (code == UNKNOWN)


@pytest.mark.slow
def test_a_proxy_with_credentials(write: Write, certificates: Path) -> None:
    with coordinator(certificates) as port, proxy("it:p@ss") as (proxy_port, asked):
        found = named(server.checks(write(port, proxy=f"http://it:p%40ss@{HOST}:{proxy_port}")))
    assert states(found) == dict.fromkeys(("name", "connection", "proxy", "certificate", "clock", "admission"), "ok")
    assert set(asked) == {f"{HOST}:{port}"}
    assert "p@ss" not in str(found)
    assert "p%40ss" not in str(found)


@pytest.mark.parametrize(("given", "remedy"), [("", "USER:PASSWORD"), ("it:wrong@", "correct them")])
def test_a_proxy_that_wants_other_credentials(write: Write, given: str, remedy: str) -> None:
    with proxy("it:secret") as (proxy_port, _):
        found = named(server.checks(write(proxy=f"http://{given}{HOST}:{proxy_port}")))
    assert states(found) == {"name": "ok", "connection": "ok", "proxy": "fail", "network": "warn"}
    assert "407" in found["proxy"].found
    assert remedy in found["proxy"].remedy


def test_a_proxy_that_forbids_the_server(write: Write) -> None:
    with proxy(refuses=True) as (proxy_port, _):
        found = named(server.checks(write(proxy=f"http://{HOST}:{proxy_port}")))["proxy"]
    assert found.remedy == f"Ask IT to allow CONNECT to {HOST}:9092."


@pytest.mark.slow
def test_a_proxy_of_the_environment(write: Write, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with coordinator(certificates) as port, proxy() as (proxy_port, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{HOST}:{proxy_port}")
        found = named(server.checks(write(port)))
    assert found["proxy"].state is State.OK
    assert asked


def test_a_proxy_that_is_none(write: Write) -> None:
    home = write(proxy="proxy.example.org")
    found = named(run_all.guarded("network", server.checks(home), home))
    assert found["network"].found.startswith("proxy must be http://")
