import os
import re
import socket
import ssl
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from shutil import which

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from flwr.cli.supernode.register import try_load_public_key
from flwr.supercore.auth.superexec_secret import load_superexec_auth_secret
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, sign_message, verify_signature

from teledx_fed.deployment.common import certificates as pki
from teledx_fed.deployment.common import keys, private_files
from teledx_fed.deployment.server import certificate_authority

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

HOSTS = ("fl.example.org", "192.0.2.7")
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def permissive() -> Iterator[None]:
    """Clear the umask: the code itself must set private modes."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "server" / "certificates"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def issue(folder: Path, hosts: Sequence[str] = HOSTS) -> None:
    certificate_authority.create_authority(folder)
    certificate_authority.issue_server_certificate(folder, hosts)


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    for module in (pki, certificate_authority):
        monkeypatch.setattr(module, "now", lambda: moment)


def handshake(folder: Path, authority: Path, host: str) -> None:
    """Connect a client that trusts only `authority`, with strict checks, to a server with the folder's certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.crt", folder / "server.key")
    client = ssl.create_default_context(cafile=str(authority))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        answered = pool.submit(answer, listener, server)
        with socket.create_connection(listener.getsockname()) as connection:
            try:
                with client.wrap_socket(connection, server_hostname=host) as tls:
                    assert tls.recv(5) == b"hello"
            finally:
                connection.close()
                answered.exception()


def answer(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with connection, context.wrap_socket(connection, server_side=True) as tls:
        tls.send(b"hello")


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


def test_permissions_of_the_files(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    issue(folder)
    keys.create_site_keys(site / "keys" / "site.key", site / "keys" / "site.pub", "north")
    keys.create_secret(site / "secrets" / "split.key")
    assert {mode(private) for private in (folder, site / "keys", site / "secrets")} == {0o700}
    assert {path.name: mode(path) for root in (folder, site) for path in root.rglob("*.*")} == {
        **dict.fromkeys(("ca.crt", "server.crt", "site.pub"), 0o644),
        **dict.fromkeys(("ca.key", "server.key", "site.key", "split.key"), 0o600),
    }


def test_a_key_is_private_while_it_is_written_and_never_partial(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []

    def power_fails(file: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(file).st_mode))
        raise OSError("no space left")

    folder.mkdir(parents=True)
    monkeypatch.setattr(private_files.os, "fsync", power_fails)
    with pytest.raises(OSError, match="no space left"):
        keys.create_secret(folder / "executor.key")
    assert modes == [0o600]
    assert list(folder.iterdir()) == []


def test_a_failed_renewal_does_not_change_the_certificate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issue(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def power_fails(file: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(private_files.os, "fsync", power_fails)
    with pytest.raises(OSError, match="no space left"):
        certificate_authority.issue_server_certificate(folder, HOSTS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


MAKERS: list[tuple[Callable[[Path], None], tuple[str, ...]]] = [
    (certificate_authority.create_authority, ("ca.crt", "ca.key")),
    (lambda folder: keys.create_site_keys(folder / "site.key", folder / "site.pub", "north"), ("site.key", "site.pub")),
    (lambda folder: keys.create_secret(folder / "split.key"), ("split.key",)),
]


@pytest.mark.parametrize(("make", "path"), [(make, path) for make, names in MAKERS for path in names])
def test_existing_files_are_not_overwritten(tmp_path: Path, make: Callable[[Path], None], path: str) -> None:
    (tmp_path / path).write_text("precious")
    with pytest.raises(ValueError, match=f"{path} must be new, got an existing file. No file is overwritten"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [path]
    assert (tmp_path / path).read_text() == "precious"


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "split.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="must be new"):
        keys.create_secret(tmp_path / "split.key")
    assert not (tmp_path / "elsewhere").exists()


def test_flower_reads_the_keys(tmp_path: Path) -> None:
    private, public = tmp_path / "site.key", tmp_path / "site.pub"
    keys.create_site_keys(private, public, "north hospital")
    key = form.load_ssh_private_key(private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert private.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    assert re.fullmatch(r"ecdsa-sha2-nistp384 \S+ north hospital\n", public.read_text())
    registered = keys.public_key_bytes(public)
    assert registered == try_load_public_key(public)
    assert verify_signature(bytes_to_public_key(registered), b"now", sign_message(key, b"now"))


def test_a_comment_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="comment must be one line of ASCII"):
        keys.create_site_keys(tmp_path / "site.key", tmp_path / "site.pub", "north\necdsa-sha2-nistp384 AAAA")


def test_flower_reads_the_secret(tmp_path: Path) -> None:
    one, other = tmp_path / "executor.key", tmp_path / "split.key"
    keys.create_secret(one)
    keys.create_secret(other)
    assert load_superexec_auth_secret(str(one)) == one.read_bytes()
    assert re.fullmatch(b"[0-9a-f]{64}", one.read_bytes())
    assert one.read_bytes() != other.read_bytes()


def openssh(key: Key | ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)


def pem(key: Key, passphrase: bytes = b"") -> bytes:
    lock = form.BestAvailableEncryption(passphrase) if passphrase else form.NoEncryption()
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (openssh(ed25519.Ed25519PrivateKey.generate()), "must be an ECDSA key on secp384r1, got 'Ed25519PublicKey'"),
        (openssh(rsa.generate_private_key(65537, 2048)), "must be an ECDSA key on secp384r1, got 'RSAPublicKey'"),
        (openssh(ec.generate_private_key(ec.SECP256R1())), "must be an ECDSA key on secp384r1, got 'secp256r1'"),
        (b"Dear colleague, please find the key attached.", "must be a public key, got a file that is none"),
        (b"", "must be a public key, got a file that is none"),
        (b"\x00\xff" * 100, "must be a public key, got a file that is none"),
        (pem(ec.generate_private_key(keys.CURVE)), "got a PRIVATE key. It must not leave the hospital: send it to nob"),
        (b"PuTTY-User-Key-File-3: ecdsa-sha2-nistp384", "got a PRIVATE key. It must not leave the hospital"),
    ],
    ids=["ed25519", "rsa", "another curve", "text", "empty", "bytes", "private", "private for PuTTY"],
)
def test_an_invalid_public_key_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "site.pub"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        keys.public_key_bytes(path)
    assert str(caught.value).startswith(str(path))


def test_a_private_key_in_place_of_the_public_is_refused_with_a_warning(tmp_path: Path) -> None:
    keys.create_site_keys(tmp_path / "site.key", tmp_path / "site.pub", "north")
    for ask in (keys.public_key_bytes, pki.fingerprint):
        with pytest.raises(
            ValueError, match=r"site\.key must be a public key, got a PRIVATE key\. .*send it to nobody"
        ):
            ask(tmp_path / "site.key")


def test_a_certificate_or_a_missing_file_is_not_admitted(folder: Path) -> None:
    certificate_authority.create_authority(folder)
    with pytest.raises(ValueError, match="must be a public key, got a file that is none"):
        keys.public_key_bytes(folder / "ca.crt")
    with pytest.raises(ValueError, match=r"site\.pub must be readable, got: No such file or directory"):
        keys.public_key_bytes(folder / "site.pub")


def test_the_fingerprint_does_not_depend_on_the_key_s_format(tmp_path: Path) -> None:
    issue(tmp_path)
    keys.create_site_keys(tmp_path / "site.key", tmp_path / "site.pub", "north")
    fingerprint = pki.fingerprint(tmp_path / "site.pub")
    assert re.fullmatch(r"([0-9a-f]{4} ){7}[0-9a-f]{4}", fingerprint)
    assert pki.fingerprint(keys.public_key_bytes(tmp_path / "site.pub")) == fingerprint
    assert len({fingerprint, pki.fingerprint(tmp_path / "ca.crt"), pki.fingerprint(tmp_path / "server.crt")}) == 3


@pytest.mark.skipif(which("openssl") is None, reason="openssl is not on this machine")
def test_openssl_computes_the_same_fingerprint(folder: Path) -> None:
    certificate_authority.create_authority(folder)
    key = subprocess.run(["openssl", "x509", "-in", folder / "ca.crt", "-noout", "-pubkey"], capture_output=True)
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key.stdout, capture_output=True)
    digest = subprocess.run(["openssl", "sha256", "-r"], input=der.stdout, capture_output=True)
    assert digest.stdout.decode().startswith(pki.fingerprint(folder / "ca.crt").replace(" ", ""))


@pytest.mark.parametrize("ask", [pki.expires, pki.days_left, pki.fingerprint])
def test_an_invalid_certificate_is_refused(tmp_path: Path, ask: Callable[[Path], object]) -> None:
    path = tmp_path / "server.crt"
    path.write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    with pytest.raises(ValueError, match=r"server\.crt must hold certificates in PEM, got none\. Convert DER"):
        ask(path)


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
