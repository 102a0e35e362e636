import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from teledx_fed.config.data import DataSettings
from teledx_fed.core.examples import Collection, Example, Identification, SetAside, SetAsideReason
from teledx_fed.data.duplicates import deduplicate, label_noise, near_duplicates, perceptual_hash
from teledx_fed.data.image_cache import ImageCache
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.preprocessing import prepare


@dataclass(frozen=True)
class Scene:
    """Blurred noise: equal numbers give equal pixels, and `grain` makes them nearly equal."""

    name: str
    number: int
    grain: int = 0

    def digest(self) -> str:
        return hashlib.sha256(self.read().tobytes()).hexdigest()

    def read(self) -> NDArray[np.uint8]:
        noise = np.random.default_rng(self.number).normal(0, 1, (64, 64, 3))
        image = 128 + 400 * cv2.GaussianBlur(noise, (0, 0), 2)
        grain = np.random.default_rng(self.grain).normal(0, 3, image.shape) if self.grain else 0
        return np.clip(image + grain, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Scenes:
    folder: Path

    def batch(self, examples: Sequence[Example]) -> NDArray[np.uint8]:
        return np.stack([example.image.read() for example in examples])


@pytest.fixture
def scenes(tmp_path: Path) -> Scenes:
    return Scenes(tmp_path)


def collection(*examples: Example) -> Collection:
    return Collection(examples, Identification.GIVEN, (SetAside("earlier", SetAsideReason.UNGRADED),))


def names(collection: Collection) -> list[tuple[str, str]]:
    return [(example.image.name, example.patient) for example in collection.examples]


def test_the_first_of_exact_duplicates_by_name_is_kept(scenes: Scenes) -> None:
    source = collection(Example(Scene("b", 1), 2, "p"), Example(Scene("c", 2), 0, "q"), Example(Scene("a", 1), 2, "p"))
    distinct = deduplicate(source, scenes)
    assert names(distinct) == [("a", "p"), ("c", "q")]
    assert distinct.set_aside == (*source.set_aside, SetAside("b", SetAsideReason.DUPLICATE, "equals a"))
    assert label_noise(distinct.set_aside) == {"duplicate_groups": 1, "conflicting_groups": 0}


def test_the_order_of_files_does_not_matter(scenes: Scenes) -> None:
    examples = [Example(Scene(name, number), 1, name) for name, number in zip("edcba", (1, 2, 1, 3, 2), strict=True)]
    assert deduplicate(collection(*examples), scenes) == deduplicate(collection(*examples[::-1]), scenes)


def test_duplicates_with_conflicting_grades_are_all_set_aside(scenes: Scenes) -> None:
    distinct = deduplicate(
        collection(
            Example(Scene("a", 1), 2, "p"), Example(Scene("b", 1), 3, "q"), Example(Scene("c", 1), 2, "r"),
            Example(Scene("d", 2), 0, "s"), Example(Scene("e", 2), 0, "t"),
        ),
        scenes,
    )  # fmt: skip
    assert names(distinct) == [("d", "s")]
    assert [aside.reason for aside in distinct.set_aside[1:]] == [SetAsideReason.CONFLICTING_GRADES] * 3 + [
        SetAsideReason.DUPLICATE
    ]
    assert distinct.set_aside[1].detail == "a 2, b 3, c 2"
    assert label_noise(distinct.set_aside) == {"duplicate_groups": 2, "conflicting_groups": 1}


def test_near_duplicates_are_kept_and_their_patients_merged(scenes: Scenes) -> None:
    distinct = deduplicate(
        collection(
            Example(Scene("a", 1), 2, "p3"), Example(Scene("b", 1, grain=1), 3, "p2"),
            Example(Scene("c", 2), 0, "p2"), Example(Scene("d", 2, grain=2), 0, "p1"),
            Example(Scene("e", 3), 0, "p0"),
        ),
        scenes,
    )  # fmt: skip
    assert names(distinct) == [("a", "p1"), ("b", "p1"), ("c", "p1"), ("d", "p1"), ("e", "p0")]


@pytest.mark.parametrize("grade", [0, 4])
def test_patients_who_share_an_exact_duplicate_are_one(grade: int, scenes: Scenes) -> None:
    """Also where no copy is kept, since their grades conflict: the patients' other photographs show the same eyes."""
    distinct = deduplicate(
        collection(
            Example(Scene("a", 1), 0, "p"), Example(Scene("b", 1), grade, "q"),
            Example(Scene("c", 2), 0, "p"), Example(Scene("d", 3), 0, "q"),
        ),
        scenes,
    )  # fmt: skip
    assert {patient for _, patient in names(distinct)} == {"p"}


def test_a_collection_without_duplicates_is_unchanged(scenes: Scenes) -> None:
    source = collection(*(Example(Scene(f"{number}", number), 0, f"p{number}") for number in range(8)))
    assert deduplicate(source, scenes) == source
    assert deduplicate(collection(), scenes) == collection()


def test_a_second_search_reads_no_photograph(scenes: Scenes, monkeypatch: pytest.MonkeyPatch) -> None:
    source = collection(*(Example(Scene(f"{number}", number // 2, number % 2), 0, f"p{number}") for number in range(8)))
    first = deduplicate(source, scenes)
    monkeypatch.setattr(Scenes, "batch", lambda self, examples: pytest.fail("a photograph was read again"))
    assert deduplicate(source, scenes) == first
    assert len({patient for _, patient in names(first)}) == 4


def test_pairs_are_found_across_blocks() -> None:
    hashes = np.random.default_rng(0).random((1300, 575)) < 0.5
    hashes[1200] = hashes[7]
    hashes[600] = hashes[7]
    hashes[600, :50] ^= True
    assert sorted(near_duplicates(hashes)) == [(7, 600), (7, 1200), (600, 1200)]


def test_re_encoded_real_photographs_are_found_and_different_ones_are_not(real_data: Path) -> None:
    paths = sorted((real_data / "messidor2_a" / "IMAGES").iterdir())[:30]
    images = [PhotographFile(path).read() for path in paths]
    encoded = [cv2.imencode(".jpg", cv2.resize(image, None, fx=0.7, fy=0.7), [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
               for image in images]  # fmt: skip
    copies = [cv2.imdecode(content, cv2.IMREAD_COLOR) for content in encoded]
    brighter = [cv2.convertScaleAbs(copy, alpha=1.1, beta=4) for copy in copies]
    hashes = perceptual_hash(np.stack([prepare(image, 224) for image in images + brighter]))
    assert sorted(near_duplicates(hashes)) == [(i, i + 30) for i in range(30)]


@pytest.mark.slow
def test_aptos_has_the_published_duplicates(real_data: Path, tmp_path: Path) -> None:
    with (real_data / "aptos2019" / "train.csv").open() as file:
        examples = tuple(
            Example(
                PhotographFile(real_data / "aptos2019" / "train_images" / f"{row['id_code']}.jpg"),
                int(row["diagnosis"]),
                row["id_code"],
            )
            for row in csv.DictReader(file)
        )
    images = ImageCache(tmp_path, DataSettings(image_size=96))
    assert images.prepare(examples) == ()
    distinct = deduplicate(Collection(examples, Identification.UNKNOWN), images)
    assert label_noise(distinct.set_aside) == {"duplicate_groups": 123, "conflicting_groups": 30}
    assert len(distinct.examples) == 3504
    assert len({example.patient for example in distinct.examples}) == 3493, "no big clusters"
