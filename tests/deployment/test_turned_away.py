"""Site and server both report why a site may not take part; the server and other sites continue."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.jobs.deployed import Federation, running
from teledx_fed.deployment.common import certificates
from teledx_fed.deployment.common.audit import entries
from teledx_fed.deployment.server import certificate_authority

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with running(tmp_path_factory.mktemp("turned-away")) as started:
        yield started


def test_a_key_that_is_not_admitted(federation: Federation) -> None:
    federation.enrol("stranger", admit=False)
    federation.join("stranger")
    federation.wait_for_output("stranger", "The server does not admit this site's key")
    key = certificates.fingerprint(federation.site("stranger") / "keys" / "site.pub")
    federation.wait_for_output("server", f"refused: a key that is not admitted: {key}")
    federation.admit("stranger")
    federation.wait_until_online("stranger")


def test_a_certificate_of_another_authority(federation: Federation, tmp_path: Path) -> None:
    federation.enrol("deceived")
    certificate_authority.create_authority(tmp_path)
    (federation.site("deceived") / "ca.crt").write_bytes((tmp_path / "ca.crt").read_bytes())
    federation.join("deceived")
    federation.wait_for_output("deceived", "is not of ca.crt's authority")
    federation.wait_for_output("server", "refused: a hospital has the ca.crt of another authority")


def test_a_wrong_host_name(federation: Federation) -> None:
    federation.enrol("lost")
    federation.change("lost", server=f"127.0.0.2:{federation.port}")
    federation.join("lost")
    federation.wait_for_output("lost", "is for another name")
    federation.wait_for_output("server", "refused: a hospital uses a server name that is not in the certif")


def test_an_expelled_site_cannot_return(federation: Federation) -> None:
    federation.enrol("leaving")
    federation.join("leaving")
    federation.wait_until_online("leaving")
    federation.command("server", "expel", "leaving", "--dir", federation.server)
    federation.wait_for_output("leaving", "The server does not admit this site's key")
    with pytest.raises(RuntimeError, match=r"must be that of an admitted site, got 'leaving'"):
        federation.command("server", "expel", "leaving", "--dir", federation.server)
    key = certificates.fingerprint(federation.site("leaving") / "keys" / "site.pub")
    lines = [entry for entry in entries(federation.server / "audit.jsonl") if entry.get("site") == "leaving"]
    assert [(entry["event"], entry.get("key")) for entry in lines] == [("admitted", key), ("expelled", None)]
    assert federation.command("server", "verify", "--dir", federation.server) == "nothing was changed\n"


def test_a_repeated_key_or_name_or_an_invalid_key_is_refused(federation: Federation) -> None:
    federation.enrol("first")
    key = federation.site("first") / "keys" / "site.pub"
    admit = ("server", "admit", key, "--dir", federation.server)
    with pytest.raises(RuntimeError, match=r"must hold a new key, got the key of 'first'"):
        federation.command(*admit, "--name", "second")
    federation.enrol("third", admit=False)
    with pytest.raises(RuntimeError, match=r"name must be new, got 'first', which is already admitted"):
        federation.command(
            "server",
            "admit",
            federation.site("third") / "keys" / "site.pub",
            "--dir",
            federation.server,
            "--name",
            "first",
        )
    with pytest.raises(RuntimeError, match="must be a public key, got a PRIVATE key"):
        federation.command(
            "server",
            "admit",
            federation.site("third") / "keys" / "site.key",
            "--dir",
            federation.server,
            "--name",
            "third",
        )


def test_a_renewed_certificate_is_used_without_a_restart(federation: Federation) -> None:
    before = federation.shown_certificate()
    federation.command("server", "renew", "--dir", federation.server)
    federation.wait(lambda: federation.shown_certificate() != before, "the new certificate to be shown", 180)
    federation.enrol("after")
    federation.join("after")
    federation.wait_until_online("after")


def test_a_certificate_that_has_expired(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as long_ago:
        long_ago.setattr(certificate_authority, "now", lambda: datetime.now(UTC) - timedelta(days=400))
        certificate_authority.issue_server_certificate(federation.server / "certificates", ["localhost"])
    federation.wait(lambda: not shows_a_valid_one(federation), "the expired certificate to be shown", 180)
    federation.enrol("punctual")
    federation.join("punctual")
    federation.wait_for_output("punctual", "The server's certificate has expired: the coordinator renews it.")
    federation.wait_for_output("server", "refused: a hospital rejects the server's certificate as expired")
    federation.command("server", "renew", "--dir", federation.server)
    federation.wait_until_online("punctual")


def shows_a_valid_one(federation: Federation) -> bool:
    try:
        return federation.shown_certificate() is not None
    except ssl.SSLCertVerificationError:
        return False
