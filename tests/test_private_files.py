"""Files that may contain a patient's name are private to their owner, whatever the umask."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from teledx_fed.core.files import exclusive, make_folder, replacing, write_bytes, write_text
from teledx_fed.diagnosis.directory import DiagnosisDirectory


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): f"{path.stat().st_mode & 0o777:o}" for path in folder.rglob("*")}


def test_every_folder_and_file_that_is_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a/b/set_aside.csv", "x")
    with replacing(tmp_path / "a/tested.safetensors") as file:
        assert Path(file.name).parent == tmp_path / "a", "safetensors writes by name"
        file.write(b"x")
    with exclusive(tmp_path / "c/d/lock"):
        pass
    make_folder(tmp_path / "e/f")
    modes_of = modes(tmp_path)
    folders = {"a", "a/b", "c", "c/d", "e", "e/f"}
    assert {name: modes_of[name] for name in folders} == dict.fromkeys(folders, "700")
    assert (modes_of["a/b/set_aside.csv"], modes_of["a/tested.safetensors"]) == ("600", "600")


def test_an_existing_folder_keeps_its_mode_and_a_public_file_becomes_private(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    (tmp_path / "shared/old").write_text("x")
    write_bytes(tmp_path / "shared/old", b"y")
    assert modes(tmp_path) == {"shared": "755", "shared/old": "600"}


def test_a_hospitals_folder_with_its_key_and_databases_and_backups(tmp_path: Path) -> None:
    home = DiagnosisDirectory(tmp_path / "new/site")
    store, identified = home.store(), home.identified()
    store.backup(tmp_path / "new/backup.zip")
    identified.backup(tmp_path / "new/people.zip")
    home._key()
    assert set(modes(tmp_path).values()) == {"700", "600"}
    store.close()
    identified.close()
