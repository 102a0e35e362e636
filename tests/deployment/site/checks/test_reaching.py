"""The checks of the connection to the server, of the server's identity, and of the clock."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socketserver import BaseRequestHandler

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from loopback import ADMITTED, HOST, NOT_ADMITTED, Coordinator, coordinator, listening, named, proxy, states

from teledx_fed.deployment.common import certificates as pki
from teledx_fed.deployment.server import certificate_authority
from teledx_fed.deployment.site.checks import connection, run_all, server, trust
from teledx_fed.deployment.site.checks.check import Check, CheckState
from teledx_fed.deployment.site.settings import SiteDirectory

DAY = timedelta(days=1)

Write = Callable[..., SiteDirectory]


def test_all_checks_pass(write: Write, certificates: Path) -> None:
    with coordinator(certificates) as port:
        checks = named(server.checks(write(port)))
    assert states(checks) == dict.fromkeys(("name", "connection", "certificate", "clock", "admission"), "ok")
    assert checks["name"].found == f"{HOST}: {HOST}"
    assert "'teledx_fed authority " in checks["certificate"].found
    assert "364 days left" in checks["certificate"].found


def test_a_name_that_does_not_resolve(write: Write) -> None:
    checks = named(server.checks(write(host=f"{'x' * 64}.example.org")))
    assert states(checks) == {"name": "fail", "network": "warn"}
    assert "does not resolve" in checks["name"].found


def test_a_port_where_nothing_listens(write: Write) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        check = named(server.checks(write(unused.getsockname()[1])))
    assert states(check) == {"name": "ok", "connection": "fail", "network": "warn"}
    assert "whether the server is up" in check["connection"].remedy


def test_a_firewall_that_drops_packets(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", drop)
    check = named(server.checks(write()))["connection"]
    assert check.state is CheckState.FAIL
    assert f"allow outgoing TCP to {HOST}:9092, or write the proxy" in check.remedy


def failed_certificate_check(directory: SiteDirectory) -> Check:
    """Return the check of the certificate; assert that it failed and that no later check ran."""
    checks = named(server.checks(directory))
    assert states(checks) == {"name": "ok", "connection": "ok", "certificate": "fail", "network": "warn"}
    return checks["certificate"]


def test_a_network_that_inspects_tls(
    write: Write, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acme(common: str) -> x509.Name:
        name = "Acme Proxy\nCA" if "authority" in common else common
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    monkeypatch.setattr(certificate_authority, "_name", acme)
    certificate_authority.create_authority(tmp_path / "acme")
    certificate_authority.issue_server_certificate(tmp_path / "acme", [HOST])
    authority = pki.claims(certificates / "ca.crt").subject
    with coordinator(tmp_path / "acme") as port:
        check = failed_certificate_check(write(port))
    assert check.found == (
        f"the certificate was issued by 'Acme Proxy\\nCA', not by the coordinator's authority {authority!r}: "
        "your network inspects TLS"
    )
    assert check.remedy.startswith(f"Ask IT to exempt {HOST}:{port}.")


def test_the_wrong_ca_crt(write: Write, tmp_path: Path) -> None:
    certificate_authority.create_authority(tmp_path / "other")
    certificate_authority.issue_server_certificate(tmp_path / "other", [HOST])
    with coordinator(tmp_path / "other") as port:
        check = failed_certificate_check(write(port))
    assert "ca.crt is of another authority" in check.found
    assert "compare its fingerprint by telephone" in check.remedy


def test_an_expired_certificate(write: Write, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(certificate_authority, "now", lambda: datetime.now(UTC) - 400 * DAY)
        certificate_authority.issue_server_certificate(certificates, [HOST])
    with coordinator(certificates) as port:
        check = failed_certificate_check(write(port))
    assert check.found == f"the server's certificate expired on {datetime.now(UTC) - 35 * DAY:%Y-%m-%d}"
    assert "renew" in check.remedy


def test_a_certificate_that_is_not_valid_yet(write: Write, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(certificate_authority, "now", lambda: datetime.now(UTC) + 2 * DAY)
        certificate_authority.issue_server_certificate(certificates, [HOST])
    with coordinator(certificates) as port:
        check = failed_certificate_check(write(port))
    assert "not yet valid" in check.found
    assert check.remedy.startswith("Set this machine's clock")


def test_a_certificate_for_another_name(write: Write, certificates: Path) -> None:
    certificate_authority.issue_server_certificate(certificates, ["fl.example.org"])
    with coordinator(certificates) as port:
        check = failed_certificate_check(write(port))
    assert check.found == f"the server's certificate is for fl.example.org, localhost, 127.0.0.1, not for {HOST}"


def test_a_certificate_that_expires_soon(write: Write, certificates: Path) -> None:
    certificate_authority.issue_server_certificate(certificates, [HOST], days=20)
    with coordinator(certificates) as port:
        check = named(server.checks(write(port)))["certificate"]
    assert check.state is CheckState.WARN
    assert "19 days left" in check.found


def test_a_server_without_tls(write: Write) -> None:
    with listening(Coordinator) as port:
        assert "does not speak correct TLS" in failed_certificate_check(write(port)).found


def test_a_connection_that_is_cut(write: Write) -> None:
    class Cut(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(10)

    with listening(Cut) as port:
        check = failed_certificate_check(write(port))
    assert f"exempt {HOST}:{port} from TLS inspection" in check.remedy


def test_a_server_that_does_not_answer(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SECONDS", 0.2)
    monkeypatch.setattr(trust, "SECONDS", 0.2)

    class Silent(BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(1000):
                pass

    with listening(Silent) as port:
        assert failed_certificate_check(write(port)).found == f"{HOST}:{port} does not answer for 0.2 s"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "state"), [(-4, "fail"), (4, "ok"), (90, "warn"), (400, "fail"), (0, "ok")], ids=lambda value: str(value)
)
def test_the_clock_difference_decides_the_state(write: Write, certificates: Path, shift: float, state: str) -> None:
    with coordinator(certificates, shift=shift) as port:
        check = named(server.checks(write(port)))["clock"]
    assert check.state == state
    assert ("NTP" in check.remedy) == (state != "ok")


def test_the_clock_difference_has_two_bounds() -> None:
    def reply(sent: float, server_time: float) -> server.ProbeReply:
        return server.ProbeReply(400, None, server_time, sent, sent + 0.1)

    one_reply = server.clock([reply(1000.9, 1000)])
    assert one_reply.found == "−1.1 to 1.0 s ahead of the server's"
    three_replies = server.clock([reply(1000.4, 1000), reply(1000.9, 1000), reply(1001.15, 1001)])
    assert three_replies.found == "−1.1 to 0.2 s ahead of the server's"
    assert server.clock([reply(1003.0, 1000)]).state is CheckState.FAIL
    assert server.clock([server.ProbeReply(400, None, None, 0, 0)]).state is CheckState.WARN


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "text"),
    [(400, ADMITTED, "admits"), (412, NOT_ADMITTED, "does not admit"), (401, 0, "signature"), (502, 0, "answers 502")],
)
def test_admission(write: Write, certificates: Path, status: int, code: int, text: str) -> None:
    with coordinator(certificates, status=status, code=code) as port:
        directory = write(port)
        check = named(server.checks(directory))["admission"]
    assert text in check.found
    assert (check.state is CheckState.OK) == (code == ADMITTED)
    assert (pki.fingerprint(directory.public_key) in check.remedy) == (code == NOT_ADMITTED)


@pytest.mark.slow
def test_a_proxy_with_credentials(write: Write, certificates: Path) -> None:
    with coordinator(certificates) as port, proxy("it:p@ss") as (proxy_port, destinations):
        checks = named(server.checks(write(port, proxy=f"http://it:p%40ss@{HOST}:{proxy_port}")))
    assert states(checks) == dict.fromkeys(("name", "connection", "proxy", "certificate", "clock", "admission"), "ok")
    assert set(destinations) == {f"{HOST}:{port}"}
    assert "p@ss" not in str(checks)
    assert "p%40ss" not in str(checks)


@pytest.mark.parametrize(("proxy_user", "remedy"), [("", "USER:PASSWORD"), ("it:wrong@", "correct them")])
def test_missing_or_wrong_proxy_credentials(write: Write, proxy_user: str, remedy: str) -> None:
    with proxy("it:secret") as (proxy_port, _):
        checks = named(server.checks(write(proxy=f"http://{proxy_user}{HOST}:{proxy_port}")))
    assert states(checks) == {"name": "ok", "connection": "ok", "proxy": "fail", "network": "warn"}
    assert "407" in checks["proxy"].found
    assert remedy in checks["proxy"].remedy


def test_a_proxy_that_refuses_to_connect_to_the_server(write: Write) -> None:
    with proxy(refuses=True) as (proxy_port, _):
        check = named(server.checks(write(proxy=f"http://{HOST}:{proxy_port}")))["proxy"]
    assert check.remedy == f"Ask IT to allow CONNECT to {HOST}:9092."


@pytest.mark.slow
def test_a_proxy_from_an_environment_variable(
    write: Write, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with coordinator(certificates) as port, proxy() as (proxy_port, destinations):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{HOST}:{proxy_port}")
        checks = named(server.checks(write(port)))
    assert checks["proxy"].state is CheckState.OK
    assert destinations


def test_an_invalid_proxy(write: Write) -> None:
    directory = write(proxy="proxy.example.org")
    checks = named(run_all.guarded("network", server.checks(directory), directory))
    assert checks["network"].found.startswith("proxy must be http://")
