import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from teledx_fed.config.data import PartitionSettings
from teledx_fed.core.examples import Collection, Example, Identification, SetAside, SetAsideReason, Shard
from teledx_fed.data.partition import PARTITIONS, assign
from teledx_fed.data.split import cross_fit, folds, split

KEY = bytes(range(32))
SHARES = PartitionSettings()


@dataclass(frozen=True)
class Named:
    name: str

    def digest(self) -> str:
        return self.name

    def read(self) -> NDArray[np.uint8]:
        raise AssertionError("a partition looks at no photograph")


def patients(grades: Sequence[int], prefix: str = "p", camera: str = "one") -> tuple[Example, ...]:
    """Return two photographs of each patient: the left eye with the grade, the right eye without disease."""
    return tuple(
        Example(Named(f"{prefix}{i}-{eye}"), grade if eye == "left" else 0, f"{prefix}{i}", camera=camera)
        for i, grade in enumerate(grades)
        for eye in ("left", "right")
    )


def collections(**examples: tuple[Example, ...]) -> dict[str, Collection]:
    return {
        name: Collection(held, Identification.GIVEN, (SetAside(f"{name}-bad", SetAsideReason.BAD),))
        for name, held in examples.items()
    }


def sides(shard: Shard) -> dict[str, str]:
    """Return the side of each patient, and check that it is only one."""
    held = {side: {example.patient for example in getattr(shard, side)} for side in ("train", "validation", "test")}
    assert sum(map(len, held.values())) == len(set().union(*held.values()))
    return {patient: side for side, names in held.items() for patient in names}


GRADES = [0] * 40 + [1] * 8 + [2] * 16 + [3] * 4 + [4] * 3
THREE = collections(
    north=patients(GRADES, camera="canon"), south=patients(GRADES[::2], camera="nidek"), east=patients([0, 2, 4] * 9)
)


def held(dealt: Mapping[str, Collection]) -> dict[str, set[str]]:
    return {site: {example.patient for example in collection.examples} for site, collection in dealt.items()}


@pytest.mark.parametrize("by", PARTITIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_photograph_is_at_one_site_and_so_is_every_patient(by: str, seed: int) -> None:
    dealt = assign(THREE, PartitionSettings(by=by, sites=3, alpha=1.0), seed)
    names = Counter((e.source, e.image.name, e.patient) for c in dealt.values() for e in c.examples)
    assert set(names.values()) == {1}
    assert names.total() == sum(len(collection.examples) for collection in THREE.values())
    everyone = [patient for patients in held(dealt).values() for patient in patients]
    assert len(everyone) == len(set(everyone)) == len(GRADES) + len(GRADES[::2]) + 27
    assert sorted(aside.name for c in dealt.values() for aside in c.set_aside) == ["east-bad", "north-bad", "south-bad"]


@pytest.mark.parametrize("by", PARTITIONS)
def test_neither_the_order_of_files_nor_of_sources_matters(by: str) -> None:
    turned = {name: Collection(c.examples[::-1], c.patients, c.set_aside) for name, c in reversed(THREE.items())}
    skewed = PartitionSettings(by=by, sites=3, alpha=1.0)
    assert assign(turned, skewed, 5) == assign(THREE, skewed, 5)


@pytest.mark.parametrize("by", ["iid", "label_skew", "quantity_skew"])
def test_another_seed_gives_another_partition(by: str) -> None:
    skewed = PartitionSettings(by=by, sites=3, alpha=1.0)
    assert held(assign(THREE, skewed, 0)) != held(assign(THREE, skewed, 1))


def test_by_source_leaves_every_hospital_its_own() -> None:
    dealt = assign(THREE, PartitionSettings(by="by_source"), 0)
    assert {site: len(collection.examples) for site, collection in dealt.items()} == {
        "north": 142, "south": 72, "east": 54,
    }  # fmt: skip
    assert dealt["south"].set_aside == THREE["south"].set_aside
    assert "south/p0" in held(dealt)["south"]


def test_iid_sites_are_equal() -> None:
    sizes = [len(names) for names in held(assign(THREE, PartitionSettings(by="iid", sites=4), 0)).values()]
    assert max(sizes) - min(sizes) <= 1


def _spread(by: str, alpha: float) -> tuple[float, float]:
    """Return the spread of the sites' sizes, relative to their mean, and of their shares of grade 0."""
    many = collections(only=patients(GRADES * 8))
    dealt = assign(many, PartitionSettings(by=by, sites=4, alpha=alpha), 3)
    sizes = [len(collection.examples) for collection in dealt.values()]
    healthy = [np.mean([e.grade == 0 for e in c.examples if e.image.name.endswith("left")]) for c in dealt.values()]
    return float(np.std(sizes) / np.mean(sizes)), float(np.std(healthy))


def test_alpha_sets_the_skew() -> None:
    assert _spread("label_skew", 0.5)[1] > 4 * _spread("label_skew", 1000)[1]
    assert _spread("quantity_skew", 0.5)[0] > 4 * _spread("quantity_skew", 1000)[0]
    assert _spread("quantity_skew", 5)[1] < 0.1, "sizes are skewed, grades are not"


def test_a_site_of_a_camera_shift_shares_its_cameras_with_no_other() -> None:
    dealt = assign(THREE, PartitionSettings(by="camera_shift", sites=2), 0)
    cameras = {site: {example.camera for example in collection.examples} for site, collection in dealt.items()}
    assert cameras == {"site_1": {"canon"}, "site_2": {"nidek", "one"}}


def test_a_site_without_patients_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"partition\.sites must be at most the number of cameras \(canon, nidek, one"):
        assign(THREE, PartitionSettings(by="camera_shift", sites=4), 0)
    with pytest.raises(ValueError, match=r"partition\.by=label_skew must give each of 8 sites a patient.*raise"):
        assign(collections(few=patients([0, 1, 2])), PartitionSettings(by="label_skew", sites=8, alpha=0.01), 0)
    with pytest.raises(ValueError, match=r"data\.sources\.none must hold a graded photograph"):
        assign({**THREE, **collections(none=())}, SHARES, 0)


def test_a_site_identifies_patients_as_its_weakest_source_does() -> None:
    mixed = {**THREE, "west": Collection(patients([0] * 90), Identification.UNKNOWN)}
    assert assign(mixed, PartitionSettings(by="iid", sites=1), 0)["site_1"].patients == Identification.UNKNOWN


cohorts = st.lists(st.integers(0, 4), min_size=12, max_size=60)
keys = st.binary(min_size=8, max_size=8)


@settings(deadline=None)
@given(cohorts, keys, st.randoms(use_true_random=False))
def test_a_split_is_complete_disjoint_and_in_any_order_the_same(grades: list[int], key: bytes, random: object) -> None:
    examples = patients(grades)
    shard, kept = split(examples, SHARES, key)
    assert len(sides(shard)) == len(grades)
    assert Counter(shard.train + shard.validation + shard.test) == Counter(examples)
    shuffled = list(examples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert split(shuffled, SHARES, key) == (shard, kept)


@settings(deadline=None)
@given(cohorts, keys)
def test_shares_come_out_right_on_small_sites(grades: list[int], key: bytes) -> None:
    counts = Counter(sides(split(patients(grades), SHARES, key)[0]).values())
    assert counts["test"] == pytest.approx(0.3 * len(grades), abs=0.5)
    assert counts["validation"] == pytest.approx(0.2 * len(grades), abs=1)


@settings(deadline=None)
@given(cohorts, cohorts, st.sets(st.integers(0, 59), max_size=12), keys)
def test_new_and_removed_patients_do_not_move_others(
    first: list[int], more: list[int], gone: set[int], key: bytes
) -> None:
    before, kept = split(patients(first), SHARES, key)
    stored = json.loads(json.dumps(kept))
    stay = [e for e in patients(first) if int(e.patient[1:]) not in gone]
    assume({sides(before)[e.patient] for e in stay} == {"train", "validation", "test"})
    newcomers = patients(more, prefix="new")
    late, kept_later = split((*newcomers, *patients(first)), SHARES, key, stored)
    now, _ = split((*newcomers, *reversed(stay)), SHARES, key, json.loads(json.dumps(kept_later)))
    assert sides(late).items() >= sides(before).items()
    assert sides(late).items() >= sides(now).items()


def test_a_patient_whose_grade_changes_stays() -> None:
    first = patients(GRADES)
    before, kept = split(first, SHARES, KEY)
    worse = tuple(Example(e.image, 4, e.patient) for e in first)
    assert sides(split(worse, SHARES, KEY, kept)[0]) == sides(before)


def test_every_grade_is_held_out_in_its_share() -> None:
    shard, _ = split(patients(GRADES * 5), SHARES, KEY)
    for grade, count in Counter(GRADES * 5).items():
        tested = sum(e.grade == grade for e in shard.test if e.image.name.endswith("left"))
        assert tested == pytest.approx(0.3 * count, abs=1)


def test_new_patients_are_split_in_about_the_same_shares() -> None:
    """Also patients of a grade that was rare or missing at first."""
    _, kept = split(patients([0] * 10 + [1, 2]), SHARES, KEY)
    many = patients([1, 2, 3, 4] * 250, prefix="new")
    counts = Counter(sides(split(many, SHARES, KEY, kept)[0]).values())
    assert counts["test"] == pytest.approx(300, abs=120)
    assert counts["train"] == pytest.approx(500, abs=120)


def test_another_key_gives_another_split() -> None:
    assert sides(split(patients(GRADES), SHARES, KEY)[0]) != sides(split(patients(GRADES), SHARES, KEY[::-1])[0])


@pytest.mark.parametrize(("terms", "key"), [(PartitionSettings(test=0.2), KEY), (SHARES, KEY[::-1])])
def test_changed_terms_are_refused(terms: PartitionSettings, key: bytes) -> None:
    _, kept = split(patients(GRADES), SHARES, KEY)
    with pytest.raises(ValueError, match="be as at the first use"):
        split(patients(GRADES), terms, key, kept)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_site_too_small_to_split_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"leave at least one patient.*of {count} patients.*add more"):
        split(patients([0] * count), SHARES, KEY)


@settings(deadline=None)
@given(cohorts, st.integers(2, 6), keys)
def test_folds_hold_every_patient_once_and_every_grade_alike(grades: list[int], k: int, key: bytes) -> None:
    examples = patients(grades)
    parts = folds(examples, k, key)
    assert Counter(e for part in parts for e in part) == Counter(examples)
    assert len({(e.patient, i) for i, part in enumerate(parts) for e in part}) == len(grades)
    assert folds(examples[::-1], k, key) == parts
    for grade in set(grades):
        counts = [sum(e.grade == grade and e.image.name.endswith("left") for e in part) for part in parts]
        assert max(counts) - min(counts) <= 1


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluation\.folds must lie in 2…3"):
        folds(patients([0, 1, 2]), 4, KEY)


@given(st.lists(st.integers(0, 4), min_size=12, max_size=60), st.integers(2, 5), st.binary(min_size=8, max_size=8))
def test_a_cross_fit_tests_every_patient_once_and_trains_on_none_that_it_tests(
    grades: list[int], k: int, key: bytes
) -> None:
    examples, settings = patients(grades), PartitionSettings(validation=0.2)
    shards = [cross_fit(examples, settings, k, fold, key) for fold in range(k)]
    tested = Counter(example.patient for shard in shards for example in shard.test)
    assert set(tested) == {example.patient for example in examples}
    for shard in shards:
        held = [{example.patient for example in side} for side in (shard.train, shard.validation, shard.test)]
        assert sum(map(len, held)) == len(set().union(*held))
        assert sorted(shard.everyone, key=repr) == sorted(examples, key=repr)
        assert all(held)
    assert shards == [cross_fit(examples[::-1], settings, k, fold, key) for fold in range(k)]


def test_a_cross_fit_validates_about_its_share() -> None:
    examples = patients([0, 1, 2, 3, 4] * 40)
    for share in (0.1, 0.15, 0.2):
        shard = cross_fit(examples, PartitionSettings(validation=share), 5, 0, KEY)
        assert len(shard.validation) / len(examples) == pytest.approx(share, abs=0.03)
        assert len(shard.test) / len(examples) == pytest.approx(0.2, abs=0.01)
