"""Encrypted backups: only the holder of a key can read them; the `age` program can read them too."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from sites.diagnosis import app as commands
from teledx_fed.diagnosis.directory import DiagnosisDirectory
from teledx_fed.store.encryption import encrypting, new_key, opened, recipients_of
from teledx_fed.store.store import Store, open_store, restore
from teledx_fed.store.values import Role


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store("", tmp_path / "original")
    store.access.add_user("Anna Planted", Role.READER, None)
    return store


def test_an_encrypted_backup_is_restored_only_with_its_key(store: Store, tmp_path: Path) -> None:
    recipient, other = new_key(tmp_path / "key"), new_key(tmp_path / "other")
    for number, recipients in enumerate([(recipient,), (other, recipient)]):
        file = tmp_path / f"{number}.zip.age"
        store.backup(file, recipients)
        assert file.read_bytes().startswith(b"age-encryption.org/v1\n")
        assert b"Planted" not in file.read_bytes()
        assert b"backup.json" not in file.read_bytes()
        restored = restore(file, "", tmp_path / f"into {number}", key=tmp_path / "key")
        assert [user.name for user in restored.access.users()] == ["Anna Planted"]
        restored.close()


def refuses(file: Path, folder: Path, key: Path | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        restore(file, "", folder, key=key)
    assert not any(path.is_file() for path in folder.rglob("*")), "nothing is restored in part"


def test_a_wrong_key_and_a_changed_or_cut_file_restore_nothing(store: Store, tmp_path: Path) -> None:
    recipient, into, key = new_key(tmp_path / "key"), tmp_path / "into", tmp_path / "key"
    new_key(tmp_path / "other")
    file, plain = tmp_path / "backup.age", tmp_path / "plain.zip"
    store.backup(file, (recipient,))
    store.backup(plain)
    refuses(file, into, tmp_path / "other", "whole and encrypted for the key")
    refuses(file, into, None, "must be plain, got an encrypted one. Name its key")
    refuses(plain, into, key, "must be encrypted, got a plain one")
    content = file.read_bytes()
    for cut in (len(content) - 1, len(content) // 2, 100):
        (tmp_path / "cut.age").write_bytes(content[:cut])
        refuses(tmp_path / "cut.age", into, key, "must be whole and encrypted")
    for place in (60, len(content) // 2, len(content) - 5):
        (tmp_path / "changed.age").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        refuses(tmp_path / "changed.age", into, key, "must be whole and encrypted")
    (tmp_path / "no key").write_text("# nothing\n")
    refuses(file, into, tmp_path / "no key", "without a key")
    refuses(file, into, file, "--key must be a file that backup-key wrote")
    refuses(file, into, tmp_path / "absent", "--key must be a file that backup-key wrote")


@settings(max_examples=20, deadline=None)
@given(content=st.binary(max_size=300_000))
def test_any_content_is_decrypted_unchanged(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("encrypted")
    recipients = recipients_of([new_key(folder / "key")])
    with (folder / "file").open("wb") as file, encrypting(file, recipients) as pipe:
        pipe.write(content)
    with opened(folder / "file", folder / "key", folder / "scratch") as plain:
        assert plain.read() == content
    assert [*(folder / "scratch").iterdir()] == []


def test_a_disk_that_is_full_ends_it(store: Store, tmp_path: Path) -> None:
    recipients = recipients_of([new_key(tmp_path / "key")])

    def fill() -> None:
        with Path("/dev/full").open("wb", buffering=0) as full, encrypting(full, recipients) as pipe:
            for _ in range(64):
                pipe.write(bytes(1 << 20))

    with pytest.raises(OSError, match="No space left"):
        fill()


def test_a_failed_backup_leaves_no_file(store: Store, tmp_path: Path, monkeypatch) -> None:
    recipient = new_key(tmp_path / "key")
    store.close()
    monkeypatch.setattr("teledx_fed.store.backup._tables", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.backup(tmp_path / "backup.age", (recipient,))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "original"]


def test_an_invalid_recipient_is_named_and_a_key_is_never_overwritten(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--recipient must be one that backup-key printed"):
        store.backup(tmp_path / "backup.age", ("age1nonsense",))
    new_key(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(ValueError, match="must be new"):
        new_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_the_commands_back_up_and_restore_both_stores(tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        done = CliRunner().invoke(commands, [str(argument) for argument in arguments])
        assert done.exit_code == 0, done.exception
        return done.output.strip()

    home, other = tmp_path / "one", tmp_path / "other"
    home.mkdir()
    run("user", "add", "anna", "--oidc", "--dir", home)
    recipient = run("backup-key", tmp_path / "key")
    files = (tmp_path / "b.age", "--identified", tmp_path / "p.age")
    run("backup", *files, "--dir", home, "--recipient", recipient)
    run("restore", *files, "--dir", other, "--key", tmp_path / "key")
    assert [user.name for user in DiagnosisDirectory(other).store().access.users()] == ["anna"]
    for file in (tmp_path / "b.age", tmp_path / "p.age"):
        assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(shutil.which("age") is None, reason="age is not installed")
def test_the_age_program_decrypts_backups_and_makes_keys(store: Store, tmp_path: Path) -> None:
    made = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "theirs").write_text(made)
    theirs, ours = made.split("public key: ")[1].split("\n")[0], new_key(tmp_path / "ours")
    store.backup(tmp_path / "plain.zip")
    store.backup(tmp_path / "backup.age", (theirs, ours))
    for key in ("theirs", "ours"):
        command = ["age", "--decrypt", "--identity", str(tmp_path / key), str(tmp_path / "backup.age")]
        assert subprocess.run(command, capture_output=True, check=True).stdout.startswith(b"PK")
    restore(tmp_path / "backup.age", "", tmp_path / "into", key=tmp_path / "theirs").close()
