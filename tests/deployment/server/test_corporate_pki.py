"""Install the certificate of another PKI, or refuse it as sites would."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tls import DAY, HOSTS, Key, handshake, issue, mode, pem

from teledx_fed.deployment.common import certificates as pki
from teledx_fed.deployment.server import certificate_authority

pytestmark = pytest.mark.usefixtures("permissive")


def signed(subject: str, key: Key, issuer: str, signer: Key, ends: datetime, hosts: Sequence[str] = ()) -> bytes:
    """Return a certificate of another PKI: for `hosts`, or without hosts for an authority."""
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in (issuer, subject)]
    draft = (
        x509.CertificateBuilder(*names, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - 30 * DAY)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(*[bool(hosts), *[False] * 4, not hosts, *[False] * 3]), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if hosts:
        alternatives = x509.SubjectAlternativeName([certificate_authority._general_name(host) for host in hosts])
        draft = draft.add_extension(alternatives, critical=False)
    return draft.sign(signer, hashes.SHA256()).public_bytes(form.Encoding.PEM)


class CorporatePki:
    """Another PKI's files: a root, an authority below it, and the server's certificate."""

    def __init__(self, folder: Path, ends: datetime | None = None) -> None:
        folder.mkdir()
        self.certificate, self.key, self.authority = (folder / name for name in ("fl.pem", "fl.key", "root.pem"))
        root, self.issuing = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())
        later = datetime.now(UTC) + 90 * DAY
        self.authority.write_bytes("Wurzel, gültig für alle\n".encode() + signed("root", root, "root", root, later))
        self.between = signed("issuing", self.issuing, "root", root, later)
        self.renew(ends or datetime.now(UTC) + 80 * DAY)

    def renew(self, ends: datetime) -> None:
        self.secret = ec.generate_private_key(ec.SECP256R1())
        self.leaf = signed("fl", self.secret, "issuing", self.issuing, ends, HOSTS)
        self.certificate.write_bytes("Zertifikat für FL\n".encode() + self.leaf + self.between)
        self.key.write_bytes(pem(self.secret))

    def adopt(self, folder: Path, hosts: Sequence[str] = HOSTS) -> None:
        certificate_authority.adopt(folder, self.certificate, self.key, self.authority, hosts)


def test_a_certificate_of_another_pki_is_installed(folder: Path, tmp_path: Path) -> None:
    corporate = CorporatePki(tmp_path / "theirs")
    corporate.adopt(folder)
    for host in HOSTS:
        handshake(folder, folder / "ca.crt", host)
    assert {path.name: mode(path) for path in folder.iterdir()} == {
        "ca.crt": 0o644,
        "server.crt": 0o644,
        "server.key": 0o600,
    }
    assert (folder / "ca.crt").read_bytes().isascii()  # Flower decodes it as ASCII
    with pytest.raises(ValueError, match=r"ca\.key must exist, to sign certificates.*your own PKI"):
        certificate_authority.issue_server_certificate(folder, HOSTS)
    with pytest.raises(ValueError, match=r"ca\.crt must be new"):
        certificate_authority.create_authority(folder)


def test_a_private_key_in_the_certificate_s_file_is_not_copied(folder: Path, tmp_path: Path) -> None:
    corporate = CorporatePki(tmp_path / "theirs")
    corporate.certificate.write_bytes(corporate.key.read_bytes() + corporate.certificate.read_bytes())
    corporate.adopt(folder)
    assert b"PRIVATE" not in (folder / "server.crt").read_bytes()


def test_an_installed_certificate_is_renewed_by_installing_the_next(folder: Path, tmp_path: Path) -> None:
    corporate = CorporatePki(tmp_path / "theirs", datetime.now(UTC) + 20 * DAY)
    corporate.adopt(folder)
    corporate.renew(datetime.now(UTC) + 80 * DAY)
    corporate.adopt(folder)
    handshake(folder, folder / "ca.crt", "fl.example.org")
    before = (folder / "server.crt").read_bytes()
    assert pki.days_left(folder / "server.crt") == 79
    with pytest.raises(ValueError, match=r"ca\.crt must be the authority that hospitals have, got another"):
        CorporatePki(tmp_path / "others").adopt(folder)
    assert (folder / "server.crt").read_bytes() == before


def test_our_authority_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    issue(folder)
    with pytest.raises(ValueError, match="must be the authority that hospitals have"):
        CorporatePki(tmp_path / "theirs").adopt(folder)
    handshake(folder, folder / "ca.crt", "fl.example.org")


def without_the_one_between(corporate: CorporatePki) -> None:
    corporate.certificate.write_bytes(corporate.leaf)


def in_the_wrong_order(corporate: CorporatePki) -> None:
    corporate.certificate.write_bytes(corporate.between + corporate.leaf)


def with_another_key(corporate: CorporatePki) -> None:
    corporate.key.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))


def with_a_passphrase(corporate: CorporatePki) -> None:
    corporate.key.write_bytes(pem(corporate.secret, b"hush"))


def with_another_authority(corporate: CorporatePki) -> None:
    corporate.authority.write_bytes(CorporatePki(corporate.authority.parent / "others").authority.read_bytes())


def without_a_key(corporate: CorporatePki) -> None:
    corporate.key.unlink()


def with_a_certificate_for_a_key(corporate: CorporatePki) -> None:
    corporate.key.write_bytes(corporate.leaf)


def in_der(corporate: CorporatePki) -> None:
    corporate.certificate.write_bytes(
        x509.load_pem_x509_certificate(corporate.certificate.read_bytes()).public_bytes(form.Encoding.DER)
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_the_one_between, r"fl\.pem must be valid for a site, got: unable to get .*Append those"),
        (with_another_authority, r"fl\.pem must be valid for a site, got: .* Append those"),
        (in_the_wrong_order, r"fl\.key must belong to the first certificate in .*fl\.pem, got another's key"),
        (with_another_key, r"fl\.key must belong to the first certificate in .*fl\.pem, got another's key"),
        (with_a_passphrase, r"fl\.key must have no passphrase, got a key with one"),
        (without_a_key, r"fl\.key must be readable, got: No such file"),
        (with_a_certificate_for_a_key, r"fl\.key must be a private key in PEM, got none"),
        (in_der, r"fl\.pem must hold certificates in PEM, got none\. Convert DER"),
    ],
)
def test_a_certificate_that_sites_refuse_is_not_installed(
    folder: Path, tmp_path: Path, spoil: Callable[[CorporatePki], None], message: str
) -> None:
    corporate = CorporatePki(tmp_path / "theirs")
    spoil(corporate)
    with pytest.raises(ValueError, match=message):
        corporate.adopt(folder)
    assert not folder.exists()


def test_a_certificate_for_another_name_is_not_installed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be valid for fl2\.example\.org, got: Hostname mismatch"):
        CorporatePki(tmp_path / "theirs").adopt(folder, (*HOSTS, "fl2.example.org"))
    with pytest.raises(ValueError, match=r"must be valid for 192\.0\.2\.8, got: IP address mismatch"):
        CorporatePki(tmp_path / "others").adopt(folder, ("192.0.2.8",))


def test_an_expired_certificate_is_not_installed(folder: Path, tmp_path: Path) -> None:
    ends = datetime.now(UTC) - DAY
    with pytest.raises(ValueError, match=rf"fl\.pem must not have expired, got one that expired on {ends:%Y-%m-%d}"):
        CorporatePki(tmp_path / "theirs", ends).adopt(folder)


def test_a_chain_expires_with_its_first_certificate_to_expire(tmp_path: Path) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + 200 * DAY
    corporate = CorporatePki(tmp_path / "theirs", ends)
    assert pki.days_left(corporate.certificate) == 89
    (tmp_path / "leaf.pem").write_bytes(corporate.leaf)
    assert pki.expires(tmp_path / "leaf.pem") == ends
