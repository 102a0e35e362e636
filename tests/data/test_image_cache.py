import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reporters import RecordingReporter

from teledx_fed.config.data import DataSettings
from teledx_fed.core.examples import Example
from teledx_fed.data.image_cache import ImageCache
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.problems import Problem

SETTINGS = DataSettings(image_size=64)


def photographs(folder: Path, count: int, side: int = 80) -> list[Example]:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(60, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    return [Example(PhotographFile(path), 0, path.stem) for path in sorted(folder.iterdir())]


def files(cache: ImageCache) -> list[Path]:
    return sorted(path for path in cache.folder.rglob("*") if path.is_file())


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    return photographs(tmp_path / "photographs", 6)


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(tmp_path / "cache", SETTINGS)


def test_a_batch_has_the_order_of_the_request(cache: ImageCache, examples: list[Example]) -> None:
    assert cache.prepare(examples) == ()
    batch = cache.batch(examples)
    assert (batch.shape, batch.dtype) == ((6, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(cache.batch(examples[::-1]), batch[::-1])
    assert len(np.unique(batch, axis=0)) == 6


def test_each_photograph_is_decoded_once(
    cache: ImageCache, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = PhotographFile.read
    monkeypatch.setattr(PhotographFile, "read", lambda self: read.append(self.name) or original(self))
    cache.prepare([*examples, *examples])
    cache.batch(examples)
    ImageCache(cache.folder.parent, SETTINGS).batch(examples)
    assert sorted(read) == [example.image.name for example in examples]


def test_stored_files_are_plain_arrays(cache: ImageCache, examples: list[Example]) -> None:
    cache.prepare(examples[:1])
    (path,) = files(cache)
    assert path.stem == examples[0].image.digest()
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), cache.batch(examples[:1])[0])


def test_each_preparation_has_separate_files(cache: ImageCache, examples: list[Example], tmp_path: Path) -> None:
    others = [
        ImageCache(tmp_path / "cache", DataSettings(image_size=64, ben_graham=True)),
        ImageCache(tmp_path / "cache", DataSettings(image_size=64, clahe=True)),
        ImageCache(tmp_path / "cache", DataSettings(image_size=64, ben_graham=True, clahe=True)),
    ]
    batches = [each.batch(examples[:1]) for each in (cache, *others)]
    assert len(np.unique(np.concatenate(batches), axis=0)) == 4
    assert ImageCache(tmp_path / "cache", DataSettings(image_size=32)).batch(examples).shape == (6, 32, 32, 3)


def test_bad_photographs_are_reported_and_the_others_are_prepared(cache: ImageCache, examples: list[Example]) -> None:
    cut, black = (Path(examples[i].image.name) for i in (1, 4))
    cut.write_bytes(cut.read_bytes()[:500])
    Image.new("RGB", (80, 80)).save(black)
    reporter = RecordingReporter()
    problems = cache.prepare(examples, reporter)
    assert [problem.file for problem in problems] == [str(cut), str(black)]
    assert problems[0] == Problem(
        str(cut), "must be whole, got image file is truncated. Copy it again from its source, or leave it out."
    )
    assert "must show a fundus" in str(problems[1])
    assert reporter.counts == [(done, 6) for done in range(1, 7)]
    assert len(files(cache)) == 4


@pytest.mark.parametrize("damage", ["empty", "short", "header", "pixel"])
def test_a_damaged_file_is_written_again(cache: ImageCache, examples: list[Example], damage: str) -> None:
    expected = cache.batch(examples[:1])
    (path,) = files(cache)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[5000] ^= 1
    path.write_bytes({"empty": b"", "short": whole[:-50], "header": bytes(64) + whole[64:], "pixel": flipped}[damage])
    again = ImageCache(cache.folder.parent, SETTINGS)
    assert again.prepare(examples[:1]) == ()
    np.testing.assert_array_equal(again.batch(examples[:1]), expected)
    assert path.read_bytes() == whole


PREPARE = """
import sys
from pathlib import Path
from teledx_fed.data.image_cache import ImageCache
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.core.examples import Example
from teledx_fed.config.data import DataSettings

examples = [Example(PhotographFile(path), 0, "") for path in sorted(Path(sys.argv[1]).iterdir())]
assert ImageCache(Path(sys.argv[2]), DataSettings(image_size=64)).prepare(examples) == ()
"""


def started(photographs: Path, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PREPARE, str(photographs), str(folder)])


@pytest.mark.slow
def test_processes_share_a_folder_and_may_be_killed(cache: ImageCache, tmp_path: Path) -> None:
    examples = photographs(tmp_path / "many", 300, side=200)
    killed, other = (started(tmp_path / "many", tmp_path / "cache") for _ in range(2))
    while not cache.folder.exists() or len(list(cache.folder.rglob("*.npy"))) < 10:
        assert killed.poll() is None
        time.sleep(0.002)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert other.wait() == 0
    assert cache.prepare(examples) == ()
    undisturbed = ImageCache(tmp_path / "undisturbed", SETTINGS)
    np.testing.assert_array_equal(cache.batch(examples), undisturbed.batch(examples))
    assert len(list(cache.folder.rglob("*/[!.]*.npy"))) == 300
