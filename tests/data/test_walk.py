"""Every file below a folder is a photograph, is counted as not taken, or is reported as a problem."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from teledx_fed.data.problems import BadData
from teledx_fed.data.walk import IMAGE_SUFFIXES, Files, NotTakenReason, walk

NOBODY = 65534
JPEG = b"\xff\xd8\xff\xe0"
DICOM = bytes(128) + b"DICM"


def put(path: Path, content: bytes = JPEG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(files: Files) -> list[str]:
    return [str(path.relative_to(files.folder)) for path in files.photographs]


def not_taken(files: Files) -> dict[tuple[str, str], int]:
    return {(left.suffix, left.why): left.count for left in files.not_taken}


@contextmanager
def another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Change to `folder`, which others may enter, as a user who owns nothing there."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder.chmod(0o755)
    monkeypatch.chdir(folder)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "deep" / "a.png")
    put(tmp_path / "one.jpg")
    root = tmp_path / "data"
    root.mkdir()
    (root / "4").symlink_to("../elsewhere")
    (root / "3").symlink_to(tmp_path / "elsewhere" / "deep")
    (root / "linked.jpg").symlink_to("../one.jpg")
    assert names(walk(root).readable()) == ["3/a.png", "4/deep/a.png", "linked.jpg"]


def test_a_folder_that_is_a_link_is_walked(tmp_path: Path) -> None:
    put(tmp_path / "real" / "a.png")
    (tmp_path / "data").symlink_to("real")
    assert names(walk(tmp_path / "data")) == ["a.png"]


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_circular_link_is_followed_once_and_counted(tmp_path: Path, target: str) -> None:
    put(tmp_path / "data" / "2" / "a.png")
    (tmp_path / "data" / "2" / "again").symlink_to(target)
    files = walk(tmp_path / "data")
    assert [Path(name).name for name in names(files)].count("a.png") in (1, 2)
    assert {why for _, why in not_taken(files)} == {NotTakenReason.LOOP}
    assert files.problems == ()


@pytest.mark.parametrize("name", ["4", "p.jpg"])
def test_a_broken_link_is_a_problem(tmp_path: Path, name: str) -> None:
    put(tmp_path / "data" / "0" / "a.png")
    (tmp_path / "data" / name).symlink_to("../gone")
    (tmp_path / "data" / "self").symlink_to("self")
    with pytest.raises(BadData, match=r"must lead to a file or folder, got a link to \.\./gone") as error:
        walk(tmp_path / "data").readable()
    assert {Path(problem.file).name for problem in error.value.problems} == {name, "self"}


def test_a_folder_that_cannot_be_read_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for grade in range(5):
        put(tmp_path / "data" / str(grade) / "a.png")
    (tmp_path / "data" / "4").chmod(0o700)
    (tmp_path / "data" / "3").chmod(0o704)  # its names can be listed, but its files cannot be reached
    put(tmp_path / "data" / "2" / "b").chmod(0o600)
    with another_user(tmp_path, monkeypatch):
        files = walk(Path("data"))
    assert names(files) == ["0/a.png", "1/a.png", "2/a.png"]
    assert sorted((problem.file, problem.skippable) for problem in files.problems) == [
        *[("data/2/b", True), ("data/3", False), ("data/4", False)]
    ]
    for problem in files.problems:
        assert f"got Permission denied. Let the user with the id {NOBODY} read {problem.file}" in str(problem)


def test_unreadable_leftovers_of_a_system_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "data" / "0" / "a.png")
    for name in ("lost+found", ".Trash-0"):
        put(tmp_path / "data" / name / "b.png")
        (tmp_path / "data" / name).chmod(0o700)
    with another_user(tmp_path, monkeypatch):
        files = walk(Path("data")).readable()
    assert names(files) == ["0/a.png"]
    assert sum(not_taken(files).values()) == 2


@pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".JPG", ".JFIF", ".Dcm", ".dicom"])
def test_photographs_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    put(tmp_path / f"a{suffix}", b"perhaps torn: decoding will say so")
    assert names(walk(tmp_path)) == [f"a{suffix}"]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("name", ["IM000012", "7.1", "eye.img"])
def test_photographs_by_their_content(tmp_path: Path, form: str, name: str) -> None:
    Image.new("RGB", (8, 8), "brown").save(tmp_path / name, form)
    put(tmp_path / "dicom", DICOM)
    files = walk(tmp_path)
    assert (files.images, files.dicom, files.not_taken) == ({tmp_path / name}, {tmp_path / "dicom"}, ())


def test_a_photograph_named_dcm_is_not_a_dicom_file(tmp_path: Path) -> None:
    assert walk(put(tmp_path / "a.dcm").parent).images == {tmp_path / "a.dcm"}


def test_a_folder_named_like_a_photograph_is_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "4" / "scan.jpg" / "a.png")
    (tmp_path / "4" / "empty.png").mkdir()
    assert names(walk(tmp_path)) == ["4/scan.jpg/a.png"]


def test_files_not_taken_are_counted_by_folder_suffix_and_reason(tmp_path: Path) -> None:
    for name in ("0/a.txt", "0/b.TXT", "0/BMI table", "0/c.heic", "0/Dr. Müller", "1/d.txt", "1/empty"):
        put(tmp_path / name, b"" if name == "1/empty" else b"BMI of every patient, and more")
    os.mkfifo(tmp_path / "0" / "pipe.jpg")
    left = {(Path(left.folder).name, left.suffix): (left.count, left.why) for left in walk(tmp_path).not_taken}
    assert left == {
        ("0", ".heic"): (1, NotTakenReason.OTHER),
        ("0", ".jpg"): (1, NotTakenReason.OTHER),
        ("0", ".txt"): (2, NotTakenReason.OTHER),
        ("0", "no suffix"): (2, NotTakenReason.OTHER),
        ("1", ".txt"): (1, NotTakenReason.OTHER),
        ("1", "no suffix"): (1, NotTakenReason.OTHER),
    }


@pytest.mark.parametrize(
    "name",
    [
        *("._a.jpg", ".hidden.png", "Thumbs.db", "Desktop.ini", ".DS_Store", "__MACOSX/0/a.png", ".thumbnails/a.png"),
        *("@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "$RECYCLE.BIN/a.jpg", "lost+found/a.jpg"),
    ],
)
def test_hidden_files_and_leftovers_are_counted(tmp_path: Path, name: str) -> None:
    put(tmp_path / "0" / name)
    files = walk(tmp_path)
    assert files.photographs == ()
    assert [(left.count, left.why) for left in files.not_taken] == [(1, NotTakenReason.HIDDEN)]


def test_a_file_name_that_is_not_utf_8_is_a_problem(tmp_path: Path) -> None:
    put(tmp_path / os.fsdecode(b"M\xfcller.jpg"))
    files = walk(tmp_path)
    assert files.photographs == ()
    assert "must have a name in UTF-8, got b'M\\xfcller.jpg'" in str(files.problems[0])


def test_a_missing_folder_has_no_files(tmp_path: Path) -> None:
    assert names(walk(tmp_path / "absent")) == names(walk(put(tmp_path / "a.png"))) == []


NAMES = st.sampled_from(["a.jpg", "b.png", "c.txt", "d", ".e.jpg", "Thumbs.db", "f.dcm", "g.tar.gz"])
PLACES = st.lists(st.tuples(st.sampled_from(["", "0", "4", "4/left.jpg", ".x", "@eaDir/4"]), NAMES), unique=True)


@settings(max_examples=25)
@given(PLACES)
def test_every_file_is_accounted_for(tmp_path_factory: pytest.TempPathFactory, places: list[tuple[str, str]]) -> None:
    root = tmp_path_factory.mktemp("data")
    for folder, name in places:
        put(root / folder / name)
    files = walk(root)
    assert len(files.photographs) + sum(left.count for left in files.not_taken) == len(places)
    assert Counter(names(files)) == Counter(
        str(Path(folder, name))
        for folder, name in places
        if not any(part.startswith((".", "@")) for part in Path(folder, name).parts) and name != "Thumbs.db"
    )
