"""Certificates of our own authority: what they are valid for, and when nothing is signed."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from tls import DAY, HOSTS, handshake, issue

from teledx_fed.deployment.common import certificates as pki
from teledx_fed.deployment.common import private_files
from teledx_fed.deployment.server import certificate_authority

pytestmark = pytest.mark.usefixtures("permissive")


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    for module in (pki, certificate_authority):
        monkeypatch.setattr(module, "now", lambda: moment)


@pytest.mark.parametrize("host", ["fl.example.org", "192.0.2.7", "localhost", "127.0.0.1"])
def test_the_certificate_is_valid_for_each_host(folder: Path, host: str) -> None:
    issue(folder)
    handshake(folder, folder / "ca.crt", host)


def test_a_wrong_name_is_refused(folder: Path) -> None:
    issue(folder)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(folder, folder / "ca.crt", "example.org")


def test_another_authority_is_refused(folder: Path, tmp_path: Path) -> None:
    issue(folder)
    certificate_authority.create_authority(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        handshake(folder, tmp_path / "other" / "ca.crt", "fl.example.org")


def test_an_expired_certificate_is_refused_and_a_renewed_one_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        at(earlier, datetime.now(UTC) - 400 * DAY)
        issue(folder)
    key = (folder / "server.key").read_bytes()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(folder, folder / "ca.crt", "fl.example.org")
    certificate_authority.issue_server_certificate(folder, HOSTS)
    handshake(folder, folder / "ca.crt", "fl.example.org")
    assert (folder / "server.key").read_bytes() == key


def test_days_are_counted_whole(folder: Path) -> None:
    issue(folder)
    ends = pki.expires(folder / "server.crt")
    assert ends.utcoffset() == timedelta(0)
    assert pki.days_left(folder / "server.crt") == 364
    assert pki.days_left(folder / "server.crt", ends - 30 * DAY) == 30
    assert pki.days_left(folder / "server.crt", ends + timedelta(seconds=1)) == -1


def test_contents_of_the_certificates(folder: Path) -> None:
    issue(folder, ("fl.example.org", "127.0.0.1", "[2001:db8::1]", "bücher.example"))
    certificate = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fl.example.org", "xn--bcher-kva.example", "localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("2001:db8::1")]
    assert certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value == x509.ExtendedKeyUsage(
        [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    )
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    age = datetime.now(UTC) - certificate.not_valid_before_utc
    assert timedelta(minutes=5) <= age < timedelta(minutes=6)
    assert certificate.serial_number != authority.serial_number
    certificate.verify_directly_issued_by(authority)


@pytest.mark.parametrize("host", ["https://fl.example.org", "fl.example.org:9092", "10.1.2", "", "a..b", "*.b", "-a.b"])
def test_an_invalid_host_is_refused(folder: Path, host: str) -> None:
    certificate_authority.create_authority(folder)
    with pytest.raises(ValueError, match=r"hosts must be names or addresses, got '.*'\. Leave out protocol"):
        certificate_authority.issue_server_certificate(folder, [host])
    assert not (folder / "server.key").exists()


def test_a_certificate_does_not_outlive_its_authority(folder: Path) -> None:
    certificate_authority.create_authority(folder, days=20)
    certificate_authority.issue_server_certificate(folder, HOSTS)
    assert pki.expires(folder / "server.crt") == pki.expires(folder / "ca.crt")


def test_an_expired_authority_signs_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate_authority.create_authority(folder, days=20)
    at(monkeypatch, datetime.now(UTC) + 21 * DAY)
    with pytest.raises(ValueError, match=r"ca\.crt must not have expired, got one that expired on 20.*every hospital"):
        certificate_authority.issue_server_certificate(folder, HOSTS)


def test_the_key_of_another_authority_signs_nothing(folder: Path, tmp_path: Path) -> None:
    certificate_authority.create_authority(folder)
    certificate_authority.create_authority(tmp_path / "other")
    (tmp_path / "other" / "ca.key").replace(folder / "ca.key")
    with pytest.raises(ValueError, match=r"ca\.key must belong to .*ca\.crt, got another's key"):
        certificate_authority.issue_server_certificate(folder, HOSTS)


def test_a_failed_renewal_does_not_change_the_certificate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issue(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def power_fails(file: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(private_files.os, "fsync", power_fails)
    with pytest.raises(OSError, match="no space left"):
        certificate_authority.issue_server_certificate(folder, HOSTS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("ask", [pki.expires, pki.days_left, pki.fingerprint])
def test_an_invalid_certificate_is_refused(tmp_path: Path, ask: Callable[[Path], object]) -> None:
    path = tmp_path / "server.crt"
    path.write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    with pytest.raises(ValueError, match=r"server\.crt must hold certificates in PEM, got none\. Convert DER"):
        ask(path)
