"""Key files: permissions, formats, fingerprints."""

import os
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from flwr.cli.supernode.register import try_load_public_key
from flwr.supercore.auth.superexec_secret import load_superexec_auth_secret
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, sign_message, verify_signature
from tls import Key, issue, mode, pem

from teledx_fed.deployment.common import certificates as pki
from teledx_fed.deployment.common import keys, private_files
from teledx_fed.deployment.server import certificate_authority

pytestmark = pytest.mark.usefixtures("permissive")


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (openssh(ed25519.Ed25519PrivateKey.generate()), "must be an ECDSA key on secp384r1, got 'Ed25519PublicKey'"),
        (openssh(rsa.generate_private_key(65537, 2048)), "must be an ECDSA key on secp384r1, got 'RSAPublicKey'"),
        (openssh(ec.generate_private_key(ec.SECP256R1())), "must be an ECDSA key on secp384r1, got 'secp256r1'"),
        (b"Dear colleague, please find the key attached.", "must be a public key, got another file"),
        (b"", "must be a public key, got another file"),
        (b"\x00\xff" * 100, "must be a public key, got another file"),
        (pem(ec.generate_private_key(keys.CURVE)), "got a PRIVATE key. It must not leave the hospital: do not send it"),
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
        with pytest.raises(ValueError, match=r"site\.key must be a public key, got a PRIVATE key\. .*do not send it"):
            ask(tmp_path / "site.key")


def test_a_certificate_or_a_missing_file_is_not_admitted(folder: Path) -> None:
    certificate_authority.create_authority(folder)
    with pytest.raises(ValueError, match="must be a public key, got another file"):
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
