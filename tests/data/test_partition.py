from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from cohorts import GRADES, SHARES, patients

from teledx_fed.config.data import PartitionSettings
from teledx_fed.core.examples import Collection, Example, Identification, SetAside, SetAsideReason
from teledx_fed.data.partition import PARTITIONS, assign


def collections(**examples: tuple[Example, ...]) -> dict[str, Collection]:
    return {
        name: Collection(parts, Identification.GIVEN, (SetAside(f"{name}-bad", SetAsideReason.BAD),))
        for name, parts in examples.items()
    }


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


def test_by_source_keeps_the_patients_of_each_hospital() -> None:
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
