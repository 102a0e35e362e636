"""Issue the server's certificates with the coordinator's own authority, or install those of another PKI.

`certificates` is a folder of ca.crt, ca.key, server.crt and server.key. With a certificate of another PKI there is no
ca.key.
"""

import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from teledx_fed.core.checks import must, within
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.deployment.common.certificates import certificates_of, expires, now
from teledx_fed.deployment.common.keys import CURVE, ecdsa_key, lasting_key, pem_of_key, private_key
from teledx_fed.deployment.common.private_files import PUBLIC, all_new, read, write

LOOPBACK_NAMES = ("localhost", "127.0.0.1")
"""The names by which the coordinator's own commands reach its server."""
SLOW_CLOCK = timedelta(minutes=5)
LABEL = re.compile(r"\w([\w-]{0,61}\w)?", re.ASCII)
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def create_authority(certificates: Path, days: int = 3650) -> None:
    """Create ca.crt, which hospitals get, and ca.key. A `ConfigurationError` if one of them exists."""
    within("days", days, 1, 36500)
    all_new(certificates / "ca.crt", certificates / "ca.key")
    key = ec.generate_private_key(CURVE)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _name(f"teledx_fed authority {identifier.digest.hex()[:8]}")
    certificate = (
        _draft(name, name, key, now() + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(key, hashes.SHA384())
    )
    write(certificates / "ca.crt", _pem(certificate), PUBLIC)
    write(certificates / "ca.key", pem_of_key(key))


def issue_server_certificate(certificates: Path, hosts: Sequence[str], days: int = 365) -> None:
    """Issue or replace server.crt for `hosts` and the loopback. A `ConfigurationError` if there is no authority.

    server.key is made once and stays, so that key and certificate match even after a power failure.
    """
    within("days", days, 1, 36500)
    names = [_general_name(host) for host in dict.fromkeys((*hosts, *LOOPBACK_NAMES))]
    authority, signer = _authority(certificates)
    key = lasting_key(certificates / "server.key")
    ends = min(now() + timedelta(days=days), authority.not_valid_after_utc)
    above = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _draft(_name("teledx_fed server"), authority.subject, key, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above), critical=False)
        .sign(signer, hashes.SHA384())
    )
    write(certificates / "server.crt", _pem(certificate), PUBLIC, replace=True)


def adopt(certificates: Path, certificate: Path, key: Path, authority: Path, hosts: Sequence[str]) -> None:
    """Install a certificate of the coordinator's own PKI, or its renewal. A `ConfigurationError` names any fault.

    The file `certificate` holds the server's certificate first, then the intermediate ones up to `authority`.
    """
    chain, roots, secret = certificates_of(certificate), certificates_of(authority), private_key(key)
    if chain[0].public_key() != secret.public_key():
        raise ConfigurationError(
            f"{key} must belong to the first certificate in {certificate}, got another's key. "
            "Give the two that were made together."
        )
    _in_time(certificate)
    _in_time(authority)
    _check_handshake(certificate, key, roots, None, f"Append those between it and the one in {authority}.")
    for host in hosts:
        _check_handshake(certificate, key, roots, host, "Ask the PKI for one with this among its alternative names.")
    _write_authority(certificates / "ca.crt", _pem(*roots))
    write(certificates / "server.key", pem_of_key(secret), replace=True)
    write(certificates / "server.crt", _pem(*chain), PUBLIC, replace=True)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in USAGES})


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - SLOW_CLOCK)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _general_name(host: str) -> x509.IPAddress | x509.DNSName:
    with suppress(ValueError):
        return x509.IPAddress(ip_address(host.strip("[]")))
    name = ""
    with suppress(UnicodeError):
        name = host.encode("idna").decode()
    labels = name.split(".")
    valid = len(name) < 254 and all(map(LABEL.fullmatch, labels)) and not labels[-1].isdecimal()
    must(valid, "hosts", "be names or addresses", host, "Leave out protocol, port and path.")
    return x509.DNSName(name)


def _authority(certificates: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Read the authority and its key. A `ConfigurationError` if the key is missing or another's, or ca.crt expired."""
    certificate, key = certificates / "ca.crt", certificates / "ca.key"
    if not key.exists():
        raise ConfigurationError(
            f"{key} must exist, to sign certificates, got no file. Put it back. If your own PKI issued the "
            "certificate, ask the PKI for a new one and install it with renew --cert and --key."
        )
    _in_time(certificate)
    authority, signer = certificates_of(certificate)[0], ecdsa_key(key)
    if authority.public_key() != signer.public_key():
        raise ConfigurationError(
            f"{key} must belong to {certificate}, got another's key. Put back the two made together."
        )
    return authority, signer


def _in_time(certificate: Path) -> None:
    ends = expires(certificate)
    if ends <= now():
        raise ConfigurationError(
            f"{certificate} must not have expired, got one that expired on {ends:%Y-%m-%d}. "
            "Get a new one. A new authority must first go to every hospital."
        )


def _check_handshake(
    certificate: Path, key: Path, roots: Sequence[x509.Certificate], host: str | None, remedy: str
) -> None:
    """Do a TLS handshake in memory with a client that trusts `roots`. A `ConfigurationError` says why it fails."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = host is not None
    client.load_verify_locations(cadata=_pem(*roots).decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        server.load_cert_chain(certificate, key)
        client_end = client.wrap_bio(
            to_client, to_server, server_hostname=host if host is None else str(_general_name(host).value)
        )
        server_end = server.wrap_bio(to_server, to_client, server_side=True)
        for end in (client_end, server_end, client_end):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLError as error:
        objection = getattr(error, "verify_message", error.reason)
        raise ConfigurationError(
            f"{certificate} must be valid for {host or 'a site'}, got: {objection}. {remedy}"
        ) from error


def _write_authority(path: Path, roots: bytes) -> None:
    if not path.exists():
        write(path, roots, PUBLIC)
    elif read(path) != roots:
        raise ConfigurationError(
            f"{path} must be the authority that hospitals have, got another. "
            "Send them the new one, move this one away, and adopt again."
        )


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(form.Encoding.PEM) for one in certificates)
