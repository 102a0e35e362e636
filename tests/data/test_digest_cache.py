"""A cached value equals the value that a new computation gives."""

from pathlib import Path

import pytest

from teledx_fed.core.examples import Example
from teledx_fed.data.digest_cache import cached, with_digests
from teledx_fed.data.photographs import PhotographFile


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return [Example(PhotographFile(path), 0, path.stem) for path in paths]


def digests(examples: list[Example], file: Path) -> list[str]:
    return [example.image.digest() for example in with_digests(examples, file, workers=2)]


def test_only_missing_values_are_computed_and_then_stored(tmp_path: Path) -> None:
    computed: list[list[str]] = []

    def upper(missing: list[str]) -> dict[str, str]:
        computed.append(list(missing))
        return {key: key.upper() for key in missing}

    file = tmp_path / "cache.json"
    assert cached(file, ["a", "b", "a"], upper) == {"a": "A", "b": "B"}
    assert cached(file, ["c", "b"], upper) == {"a": "A", "b": "B", "c": "C"}
    assert cached(file, ["a", "c"], upper) == {"a": "A", "b": "B", "c": "C"}
    assert computed == [["a", "b"], ["c"]]


@pytest.mark.parametrize("damage", ["", "{", "\x00\x00"])
def test_the_values_of_a_damaged_file_are_computed_again(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "cache.json"
    file.write_text(damage)
    assert cached(file, ["a"], lambda missing: {"a": "A"}) == {"a": "A"}
    assert cached(file, ["a"], lambda missing: pytest.fail("the value was stored")) == {"a": "A"}


def test_digests_are_correct_and_each_file_is_read_once(
    examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [example.image.digest() for example in examples]
    assert digests(examples, tmp_path / "cache.json") == expected
    assert with_digests(examples, tmp_path / "cache.json", workers=2) == tuple(examples), "the photographs are the same"
    monkeypatch.setattr(PhotographFile, "_content", lambda self: pytest.fail("it was read again"))
    assert digests(examples, tmp_path / "cache.json") == expected


def test_a_changed_file_is_read_again(examples: list[Example], tmp_path: Path) -> None:
    before = digests(examples, tmp_path / "cache.json")
    Path(examples[2].image.name).write_bytes(b"9.jpg")
    after = digests(examples, tmp_path / "cache.json")
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, True, True]
    assert after[2] == examples[2].image.digest()


def test_an_unreadable_file_has_no_cached_digest(examples: list[Example], tmp_path: Path) -> None:
    Path(examples[1].image.name).unlink()
    cached_examples = with_digests(examples, tmp_path / "cache.json", workers=2)
    with pytest.raises(ValueError, match=r"1\.jpg must be readable"):
        cached_examples[1].image.digest()
    assert cached_examples[0].image.digest() == examples[0].image.digest()
