"""What is recalled must be what would be found anew."""

from pathlib import Path

import pytest

from teledx_fed.core.examples import Example
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.recollection import recall, with_digests


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return [Example(PhotographFile(path), 0, path.stem) for path in paths]


def digests(examples: list[Example], file: Path) -> list[str]:
    return [example.image.digest() for example in with_digests(examples, file, workers=2)]


def test_only_what_is_not_known_is_found_and_then_it_is_kept(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def upper(missing: list[str]) -> dict[str, str]:
        asked.append(list(missing))
        return {key: key.upper() for key in missing}

    file = tmp_path / "kept.json"
    assert recall(file, ["a", "b", "a"], upper) == {"a": "A", "b": "B"}
    assert recall(file, ["c", "b"], upper) == {"a": "A", "b": "B", "c": "C"}
    assert recall(file, ["a", "c"], upper) == {"a": "A", "b": "B", "c": "C"}
    assert asked == [["a", "b"], ["c"]]


@pytest.mark.parametrize("damage", ["", "{", "\x00\x00"])
def test_a_damaged_file_is_found_anew(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "kept.json"
    file.write_text(damage)
    assert recall(file, ["a"], lambda missing: {"a": "A"}) == {"a": "A"}
    assert recall(file, ["a"], lambda missing: pytest.fail("it was kept")) == {"a": "A"}


def test_digests_are_those_of_the_files_and_not_read_twice(
    examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [example.image.digest() for example in examples]
    assert digests(examples, tmp_path / "kept.json") == expected
    assert with_digests(examples, tmp_path / "kept.json", workers=2) == tuple(examples), "the photographs are the same"
    monkeypatch.setattr(PhotographFile, "_content", lambda self: pytest.fail("it was read again"))
    assert digests(examples, tmp_path / "kept.json") == expected


def test_a_file_that_was_written_to_is_read_again(examples: list[Example], tmp_path: Path) -> None:
    before = digests(examples, tmp_path / "kept.json")
    Path(examples[2].image.name).write_bytes(b"9.jpg")
    after = digests(examples, tmp_path / "kept.json")
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, True, True]
    assert after[2] == examples[2].image.digest()


def test_a_file_that_cannot_be_read_is_left_for_preparation_to_name(examples: list[Example], tmp_path: Path) -> None:
    Path(examples[1].image.name).unlink()
    found = with_digests(examples, tmp_path / "kept.json", workers=2)
    with pytest.raises(ValueError, match=r"1\.jpg must be readable"):
        found[1].image.digest()
    assert found[0].image.digest() == examples[0].image.digest()
