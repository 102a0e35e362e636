"""Certificates of a coordinator, and a TLS handshake with them."""

import socket
import ssl
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from teledx_fed.deployment.server import certificate_authority

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


HOSTS = ("fl.example.org", "192.0.2.7")


DAY = timedelta(days=1)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def issue(folder: Path, hosts: Sequence[str] = HOSTS) -> None:
    certificate_authority.create_authority(folder)
    certificate_authority.issue_server_certificate(folder, hosts)


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


def pem(key: Key, passphrase: bytes = b"") -> bytes:
    lock = form.BestAvailableEncryption(passphrase) if passphrase else form.NoEncryption()
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock)
