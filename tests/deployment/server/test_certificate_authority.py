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


def found(folder: Path, hosts: Sequence[str] = HOSTS) -> None:
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
def test_a_site_shakes_hands_by_each_name(folder: Path, host: str) -> None:
    found(folder)
    handshake(folder, folder / "ca.crt", host)


def test_a_wrong_name_is_refused(folder: Path) -> None:
    found(folder)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(folder, folder / "ca.crt", "example.org")


def test_another_authority_is_refused(folder: Path, tmp_path: Path) -> None:
    found(folder)
    certificate_authority.create_authority(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        handshake(folder, tmp_path / "other" / "ca.crt", "fl.example.org")


def test_an_expired_certificate_is_refused_and_a_renewed_one_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        at(earlier, datetime.now(UTC) - 400 * DAY)
        found(folder)
    key = (folder / "server.key").read_bytes()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(folder, folder / "ca.crt", "fl.example.org")
    certificate_authority.issue_server_certificate(folder, HOSTS)
    handshake(folder, folder / "ca.crt", "fl.example.org")
    assert (folder / "server.key").read_bytes() == key


def test_days_are_counted_whole(folder: Path) -> None:
    found(folder)
    ends = pki.expires(folder / "server.crt")
    assert ends.utcoffset() == timedelta(0)
    assert pki.days_left(folder / "server.crt") == 364
    assert pki.days_left(folder / "server.crt", ends - 30 * DAY) == 30
    assert pki.days_left(folder / "server.crt", ends + timedelta(seconds=1)) == -1


def test_what_the_certificates_say(folder: Path) -> None:
    found(folder, ("fl.example.org", "127.0.0.1", "[2001:db8::1]", "bücher.example"))
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
def test_what_is_no_name_is_refused(folder: Path, host: str) -> None:
    certificate_authority.create_authority(folder)
    with pytest.raises(ValueError, match=r"hosts must be names or addresses, got '.*'\. Leave out protocol"):
        certificate_authority.issue_server_certificate(folder, [host])
    assert not (folder / "server.key").exists()


def test_a_certificate_does_not_outlive_its_authority(folder: Path) -> None:
    certificate_authority.create_authority(folder, days=20)
    certificate_authority.issue_server_certificate(folder, HOSTS)
    assert pki.expires(folder / "server.crt") == pki.expires(folder / "ca.crt")


def test_an_authority_that_has_expired_signs_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate_authority.create_authority(folder, days=20)
    at(monkeypatch, datetime.now(UTC) + 21 * DAY)
    with pytest.raises(ValueError, match=r"ca\.crt must not have expired, got one that did on 20.*every hospital"):
        certificate_authority.issue_server_certificate(folder, HOSTS)


def test_nothing_is_signed_with_the_key_of_another(folder: Path, tmp_path: Path) -> None:
    certificate_authority.create_authority(folder)
    certificate_authority.create_authority(tmp_path / "other")
    (tmp_path / "other" / "ca.key").replace(folder / "ca.key")
    with pytest.raises(ValueError, match=r"ca\.key must belong to .*ca\.crt, got another's key"):
        certificate_authority.issue_server_certificate(folder, HOSTS)


def test_who_may_read(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    found(folder)
    keys.create_site_keys(site / "keys" / "site.key", site / "keys" / "site.pub", "north")
    keys.create_secret(site / "secrets" / "split.key")
    assert {mode(private) for private in (folder, site / "keys", site / "secrets")} == {0o700}
    assert {path.name: mode(path) for root in (folder, site) for path in root.rglob("*.*")} == {
        **dict.fromkeys(("ca.crt", "server.crt", "site.pub"), 0o644),
        **dict.fromkeys(("ca.key", "server.key", "site.key", "split.key"), 0o600),
    }


def test_a_key_is_private_from_its_first_byte_and_whole_or_absent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def power_fails(file: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(file).st_mode))
        raise OSError("no space left")

    folder.mkdir(parents=True)
    monkeypatch.setattr(private_files.os, "fsync", power_fails)
    with pytest.raises(OSError, match="no space left"):
        keys.create_secret(folder / "executor.key")
    assert seen == [0o600]
    assert list(folder.iterdir()) == []


def test_a_failed_renewal_leaves_the_certificate_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found(folder)
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


@pytest.mark.parametrize(("make", "there"), [(make, there) for make, names in MAKERS for there in names])
def test_nothing_is_overwritten(tmp_path: Path, make: Callable[[Path], None], there: str) -> None:
    (tmp_path / there).write_text("precious")
    with pytest.raises(ValueError, match=f"{there} must be new, got a file that is there. Nothing is overwritten"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"


def test_a_link_to_nowhere_is_not_followed(tmp_path: Path) -> None:
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
def test_what_is_no_hospitals_public_key_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "site.pub"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        keys.public_key_bytes(path)
    assert str(caught.value).startswith(str(path))


def test_the_private_key_instead_of_the_public_is_refused_loudly(tmp_path: Path) -> None:
    keys.create_site_keys(tmp_path / "site.key", tmp_path / "site.pub", "north")
    for ask in (keys.public_key_bytes, pki.fingerprint):
        with pytest.raises(
            ValueError, match=r"site\.key must be a public key, got a PRIVATE key\. .*send it to nobody"
        ):
            ask(tmp_path / "site.key")


def test_neither_an_authority_nor_an_absent_file_is_admitted(folder: Path) -> None:
    certificate_authority.create_authority(folder)
    with pytest.raises(ValueError, match="must be a public key, got a file that is none"):
        keys.public_key_bytes(folder / "ca.crt")
    with pytest.raises(ValueError, match=r"site\.pub must be readable, got: No such file or directory"):
        keys.public_key_bytes(folder / "site.pub")


def test_a_fingerprint_is_the_same_however_the_key_is_written(tmp_path: Path) -> None:
    found(tmp_path)
    keys.create_site_keys(tmp_path / "site.key", tmp_path / "site.pub", "north")
    told = pki.fingerprint(tmp_path / "site.pub")
    assert re.fullmatch(r"([0-9a-f]{4} ){7}[0-9a-f]{4}", told)
    assert pki.fingerprint(keys.public_key_bytes(tmp_path / "site.pub")) == told
    assert len({told, pki.fingerprint(tmp_path / "ca.crt"), pki.fingerprint(tmp_path / "server.crt")}) == 3


@pytest.mark.skipif(which("openssl") is None, reason="openssl is not on this machine")
def test_a_hospital_without_this_library_finds_the_same_fingerprint(folder: Path) -> None:
    certificate_authority.create_authority(folder)
    key = subprocess.run(["openssl", "x509", "-in", folder / "ca.crt", "-noout", "-pubkey"], capture_output=True)
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key.stdout, capture_output=True)
    digest = subprocess.run(["openssl", "sha256", "-r"], input=der.stdout, capture_output=True)
    assert digest.stdout.decode().startswith(pki.fingerprint(folder / "ca.crt").replace(" ", ""))


@pytest.mark.parametrize("ask", [pki.expires, pki.days_left, pki.fingerprint])
def test_what_is_no_certificate_is_refused(tmp_path: Path, ask: Callable[[Path], object]) -> None:
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


class TheirPki:
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


def test_a_pki_of_ones_own_is_adopted(folder: Path, tmp_path: Path) -> None:
    theirs = TheirPki(tmp_path / "theirs")
    theirs.adopt(folder)
    for host in HOSTS:
        handshake(folder, folder / "ca.crt", host)
    assert {path.name: mode(path) for path in folder.iterdir()} == {
        "ca.crt": 0o644,
        "server.crt": 0o644,
        "server.key": 0o600,
    }
    assert (folder / "ca.crt").read_bytes().isascii()  # Flower decodes it as ASCII
    with pytest.raises(ValueError, match=r"ca\.key must be there to sign with.*PKI of your own"):
        certificate_authority.issue_server_certificate(folder, HOSTS)
    with pytest.raises(ValueError, match=r"ca\.crt must be new"):
        certificate_authority.create_authority(folder)


def test_a_private_key_beside_the_certificate_is_not_copied_with_it(folder: Path, tmp_path: Path) -> None:
    theirs = TheirPki(tmp_path / "theirs")
    theirs.certificate.write_bytes(theirs.key.read_bytes() + theirs.certificate.read_bytes())
    theirs.adopt(folder)
    assert b"PRIVATE" not in (folder / "server.crt").read_bytes()


def test_an_adopted_certificate_is_renewed_by_adopting_the_next(folder: Path, tmp_path: Path) -> None:
    theirs = TheirPki(tmp_path / "theirs", datetime.now(UTC) + 20 * DAY)
    theirs.adopt(folder)
    theirs.renew(datetime.now(UTC) + 80 * DAY)
    theirs.adopt(folder)
    handshake(folder, folder / "ca.crt", "fl.example.org")
    before = (folder / "server.crt").read_bytes()
    assert pki.days_left(folder / "server.crt") == 79
    with pytest.raises(ValueError, match=r"ca\.crt must be the authority that hospitals hold already, got another"):
        TheirPki(tmp_path / "others").adopt(folder)
    assert (folder / "server.crt").read_bytes() == before


def test_an_own_authority_is_not_replaced_by_adoption(folder: Path, tmp_path: Path) -> None:
    found(folder)
    with pytest.raises(ValueError, match="must be the authority that hospitals hold already"):
        TheirPki(tmp_path / "theirs").adopt(folder)
    handshake(folder, folder / "ca.crt", "fl.example.org")


def without_the_one_between(theirs: TheirPki) -> None:
    theirs.certificate.write_bytes(theirs.leaf)


def in_the_wrong_order(theirs: TheirPki) -> None:
    theirs.certificate.write_bytes(theirs.between + theirs.leaf)


def with_another_key(theirs: TheirPki) -> None:
    theirs.key.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))


def with_a_passphrase(theirs: TheirPki) -> None:
    theirs.key.write_bytes(pem(theirs.secret, b"hush"))


def with_another_authority(theirs: TheirPki) -> None:
    theirs.authority.write_bytes(TheirPki(theirs.authority.parent / "others").authority.read_bytes())


def without_a_key(theirs: TheirPki) -> None:
    theirs.key.unlink()


def with_a_certificate_for_a_key(theirs: TheirPki) -> None:
    theirs.key.write_bytes(theirs.leaf)


def in_der(theirs: TheirPki) -> None:
    theirs.certificate.write_bytes(
        x509.load_pem_x509_certificate(theirs.certificate.read_bytes()).public_bytes(form.Encoding.DER)
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_the_one_between, r"fl\.pem must be good for a site, got the objection: unable to get .*Append those"),
        (with_another_authority, r"fl\.pem must be good for a site, got the objection: .* Append those"),
        (in_the_wrong_order, r"fl\.key must belong to the first certificate in .*fl\.pem, got another's key"),
        (with_another_key, r"fl\.key must belong to the first certificate in .*fl\.pem, got another's key"),
        (with_a_passphrase, r"fl\.key must open without a passphrase, got one that asks for it"),
        (without_a_key, r"fl\.key must be readable, got: No such file"),
        (with_a_certificate_for_a_key, r"fl\.key must be a private key in PEM, got none"),
        (in_der, r"fl\.pem must hold certificates in PEM, got none\. Convert DER"),
    ],
)
def test_what_sites_would_refuse_is_not_adopted(
    folder: Path, tmp_path: Path, spoil: Callable[[TheirPki], None], message: str
) -> None:
    theirs = TheirPki(tmp_path / "theirs")
    spoil(theirs)
    with pytest.raises(ValueError, match=message):
        theirs.adopt(folder)
    assert not folder.exists()


def test_a_certificate_for_another_name_is_not_adopted(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be good for fl2\.example\.org, got the objection: Hostname mismatch"):
        TheirPki(tmp_path / "theirs").adopt(folder, (*HOSTS, "fl2.example.org"))
    with pytest.raises(ValueError, match=r"must be good for 192\.0\.2\.8, got the objection: IP address mismatch"):
        TheirPki(tmp_path / "others").adopt(folder, ("192.0.2.8",))


def test_an_expired_certificate_is_not_adopted(folder: Path, tmp_path: Path) -> None:
    ends = datetime.now(UTC) - DAY
    with pytest.raises(ValueError, match=rf"fl\.pem must not have expired, got one that did on {ends:%Y-%m-%d}"):
        TheirPki(tmp_path / "theirs", ends).adopt(folder)


def test_the_first_of_a_chain_to_expire_counts(tmp_path: Path) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + 200 * DAY
    theirs = TheirPki(tmp_path / "theirs", ends)
    assert pki.days_left(theirs.certificate) == 89
    (tmp_path / "leaf.pem").write_bytes(theirs.leaf)
    assert pki.expires(tmp_path / "leaf.pem") == ends
