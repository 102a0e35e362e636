"""Read certificates: their holder, issuer, hosts, expiry and fingerprint."""

import hashlib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization as form
from cryptography.x509.oid import NameOID

from teledx_fed.core.errors import ConfigurationError
from teledx_fed.deployment.common.keys import public_key
from teledx_fed.deployment.common.private_files import read


def fingerprint(source: Path | bytes) -> str:
    """Return the fingerprint of a public key or of a certificate's key, to compare by telephone.

    It is the first half of the SHA-256 of the SubjectPublicKeyInfo in DER. A `ConfigurationError` if there is no key.
    """
    content, name = (source, "key") if isinstance(source, bytes) else (read(source), source)
    certified = b"-----BEGIN CERTIFICATE-----" in content
    key = certificates_in(content, name)[0].public_key() if certified else public_key(content, name)
    der = key.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()[:16].hex(" ", 2)


@dataclass(frozen=True)
class Claims:
    """The contents of a certificate, verified or not: subject, issuer, hosts, and the end of its validity in UTC."""

    subject: str
    issuer: str
    hosts: tuple[str, ...]
    ends: datetime


def claims(source: Path | bytes) -> Claims:
    """Read the first certificate in a file, or one in DER. A `ConfigurationError` if there is none."""
    pem = ssl.DER_cert_to_PEM_cert(source).encode() if isinstance(source, bytes) else read(source)
    certificate = certificates_in(pem, "certificate" if isinstance(source, bytes) else source)[0]
    hosts: tuple[str, ...] = ()
    with suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = map(str, names.get_values_for_type(x509.IPAddress))
        hosts = (*names.get_values_for_type(x509.DNSName), *addresses)
    subject, issuer = map(_common_name, (certificate.subject, certificate.issuer))
    return Claims(subject, issuer, hosts, certificate.not_valid_after_utc)


def _common_name(name: x509.Name) -> str:
    """Return the common name, or the organisation."""
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        if attributes := name.get_attributes_for_oid(kind):
            return str(attributes[0].value)
    return name.rfc4514_string()


def expires(certificate: Path) -> datetime:
    """Return the earliest expiry of the file's certificates, in UTC. A `ConfigurationError` if it holds none."""
    return min(one.not_valid_after_utc for one in certificates_of(certificate))


def days_left(certificate: Path, moment: datetime | None = None) -> int:
    """Return the whole days until expiry, negative afterwards. A `ConfigurationError` if there is no certificate."""
    return (expires(certificate) - (moment or now())).days


def certificates_of(path: Path) -> list[x509.Certificate]:
    return certificates_in(read(path), path)


def certificates_in(content: bytes, name: Path | str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise ConfigurationError(
            f"{name} must hold certificates in PEM, got none. Convert DER with `openssl x509 -inform der`, "
            "PFX with `openssl pkcs12`."
        ) from error


def now() -> datetime:
    return datetime.now(UTC)
