"""Key pairs and secrets of hospitals and of the server."""

import secrets
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

from teledx_fed.core.checks import must
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.deployment.common.private_files import PUBLIC, all_new, read, write
from teledx_fed.federation.flower import sign_message, verify_signature

CURVE = ec.SECP384R1()
NEW_PAIR = "Ask the hospital for the site.pub that `python -m sites init` made."
EXPOSED = (
    "It must not leave the hospital: do not send it, delete the copies, and make another pair with "
    "`python -m sites init` if it was sent. The public key is the file that ends in .pub."
)


def create_site_keys(private: Path, public: Path, comment: str) -> None:
    """Write a key pair for signatures in Flower's format. A `ConfigurationError` if one of the files exists."""
    must(comment.isascii() and comment.isprintable(), "comment", "be one line of ASCII", comment, "Write it as that.")
    all_new(private, public)
    key = ec.generate_private_key(CURVE)
    line = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    write(public, line + f" {comment}\n".encode(), PUBLIC)
    write(private, pem_of_key(key, form.PrivateFormat.OpenSSH))


def site_key(private: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key that `create_site_keys` wrote. A `ConfigurationError` for any other file."""
    try:
        key = form.load_ssh_private_key(read(private), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{private} must be the key that init made, got another file. Put it back.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{private} must be the key that init made, got {type(key).__name__}. Put it back.")
    return key


def public_key_bytes(path: Path) -> bytes:
    """Return a hospital's public key in PEM, for Flower. A `ConfigurationError` for any other file or a private key."""
    key = public_key(read(path), path)
    got = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
    must(got == CURVE.name, str(path), f"be an ECDSA key on {CURVE.name}", got, NEW_PAIR)
    return key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)


def sign(private: Path, content: bytes) -> bytes:
    """Sign with ECDSA and SHA-256, with a key that `create_site_keys` wrote."""
    return sign_message(site_key(private), content)


def is_signed_by(key: bytes, content: bytes, signature: bytes) -> bool:
    """Return whether the private half of `key` (public, PEM) signed `content`, as Flower's SuperNodes sign."""
    try:
        public = public_key(key, "key")
    except ConfigurationError:
        return False
    return isinstance(public, ec.EllipticCurvePublicKey) and bool(verify_signature(public, content, signature))


def create_secret(path: Path) -> None:
    """Write 256 random bits in hexadecimal, without a line end. A `ConfigurationError` if the file exists."""
    write(path, secrets.token_hex(32).encode())


def lasting_key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        write(path, pem_of_key(ec.generate_private_key(CURVE)))
    return ecdsa_key(path)


def ecdsa_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = private_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{path} must be an ECDSA key, got {type(key).__name__}. Put back the one made here.")
    return key


def public_key(content: bytes, name: Path | str) -> PublicKeyTypes:
    if b"PRIVATE KEY-----" in content or content.startswith(b"PuTTY-User-Key-File"):
        raise ConfigurationError(f"{name} must be a public key, got a PRIVATE key. {EXPOSED}")
    pem = content.lstrip().startswith(b"-----BEGIN")
    try:
        return form.load_pem_public_key(content) if pem else form.load_ssh_public_key(content.strip())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{name} must be a public key, got another file. {NEW_PAIR}") from error


def private_key(path: Path) -> PrivateKeyTypes:
    content = read(path)
    try:
        return form.load_pem_private_key(content, password=None)
    except TypeError as error:
        raise ConfigurationError(
            f"{path} must have no passphrase, got a key with one. Nobody can type it when a server restarts: "
            "decrypt it with `openssl pkey`."
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{path} must be a private key in PEM, got none. Convert it with `openssl pkey`."
        ) from error


def pem_of_key(key: PrivateKeyTypes, written: form.PrivateFormat = form.PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(form.Encoding.PEM, written, form.NoEncryption())
