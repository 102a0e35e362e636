import json
from collections import Counter

import pytest
from cohorts import GRADES, KEY, SHARES, patients
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from teledx_fed.config.data import PartitionSettings
from teledx_fed.core.examples import Example, Shard
from teledx_fed.data.split import cross_fit, folds, split


def sides(shard: Shard) -> dict[str, str]:
    """Return the side of each patient, and check that it is only one."""
    patients_of = {
        side: {example.patient for example in getattr(shard, side)} for side in ("train", "validation", "test")
    }
    assert sum(map(len, patients_of.values())) == len(set().union(*patients_of.values()))
    return {patient: side for side, names in patients_of.items() for patient in names}


cohorts = st.lists(st.integers(0, 4), min_size=12, max_size=60)
keys = st.binary(min_size=8, max_size=8)


@settings(deadline=None)
@given(cohorts, keys, st.randoms(use_true_random=False))
def test_a_split_is_complete_disjoint_and_in_any_order_the_same(grades: list[int], key: bytes, random: object) -> None:
    examples = patients(grades)
    shard, state = split(examples, SHARES, key)
    assert len(sides(shard)) == len(grades)
    assert Counter(shard.train + shard.validation + shard.test) == Counter(examples)
    shuffled = list(examples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert split(shuffled, SHARES, key) == (shard, state)


@settings(deadline=None)
@given(cohorts, keys)
def test_shares_are_right_at_small_sites(grades: list[int], key: bytes) -> None:
    counts = Counter(sides(split(patients(grades), SHARES, key)[0]).values())
    assert counts["test"] == pytest.approx(0.3 * len(grades), abs=0.5)
    assert counts["validation"] == pytest.approx(0.2 * len(grades), abs=1)


@settings(deadline=None)
@given(cohorts, cohorts, st.sets(st.integers(0, 59), max_size=12), keys)
def test_new_and_removed_patients_do_not_move_others(
    first: list[int], more: list[int], gone: set[int], key: bytes
) -> None:
    before, state = split(patients(first), SHARES, key)
    stored = json.loads(json.dumps(state))
    stay = [e for e in patients(first) if int(e.patient[1:]) not in gone]
    assume({sides(before)[e.patient] for e in stay} == {"train", "validation", "test"})
    newcomers = patients(more, prefix="new")
    late, later_state = split((*newcomers, *patients(first)), SHARES, key, stored)
    after, _ = split((*newcomers, *reversed(stay)), SHARES, key, json.loads(json.dumps(later_state)))
    assert sides(late).items() >= sides(before).items()
    assert sides(late).items() >= sides(after).items()


def test_a_patient_whose_grade_changes_stays() -> None:
    first = patients(GRADES)
    before, state = split(first, SHARES, KEY)
    worse = tuple(Example(e.image, 4, e.patient) for e in first)
    assert sides(split(worse, SHARES, KEY, state)[0]) == sides(before)


def test_the_test_set_has_its_share_of_each_grade() -> None:
    shard, _ = split(patients(GRADES * 5), SHARES, KEY)
    for grade, count in Counter(GRADES * 5).items():
        tested = sum(e.grade == grade for e in shard.test if e.image.name.endswith("left"))
        assert tested == pytest.approx(0.3 * count, abs=1)


def test_new_patients_are_split_in_about_the_same_shares() -> None:
    """Also patients of a grade that was rare or missing at first."""
    _, state = split(patients([0] * 10 + [1, 2]), SHARES, KEY)
    many = patients([1, 2, 3, 4] * 250, prefix="new")
    counts = Counter(sides(split(many, SHARES, KEY, state)[0]).values())
    assert counts["test"] == pytest.approx(300, abs=120)
    assert counts["train"] == pytest.approx(500, abs=120)


def test_another_key_gives_another_split() -> None:
    assert sides(split(patients(GRADES), SHARES, KEY)[0]) != sides(split(patients(GRADES), SHARES, KEY[::-1])[0])


@pytest.mark.parametrize(("terms", "key"), [(PartitionSettings(test=0.2), KEY), (SHARES, KEY[::-1])])
def test_changed_terms_are_refused(terms: PartitionSettings, key: bytes) -> None:
    _, state = split(patients(GRADES), SHARES, KEY)
    with pytest.raises(ValueError, match="be as at the first use"):
        split(patients(GRADES), terms, key, state)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_site_too_small_to_split_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"leave at least one patient.*of {count} patients.*add more"):
        split(patients([0] * count), SHARES, KEY)


@settings(deadline=None)
@given(cohorts, st.integers(2, 6), keys)
def test_each_patient_is_in_one_fold_and_folds_have_equal_shares_of_each_grade(
    grades: list[int], k: int, key: bytes
) -> None:
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
def test_a_cross_fit_tests_each_patient_once_and_never_trains_on_a_test_patient(
    grades: list[int], k: int, key: bytes
) -> None:
    examples, settings = patients(grades), PartitionSettings(validation=0.2)
    shards = [cross_fit(examples, settings, k, fold, key) for fold in range(k)]
    tested = Counter(example.patient for shard in shards for example in shard.test)
    assert set(tested) == {example.patient for example in examples}
    for shard in shards:
        patient_sets = [{example.patient for example in side} for side in (shard.train, shard.validation, shard.test)]
        assert sum(map(len, patient_sets)) == len(set().union(*patient_sets))
        assert sorted(shard.examples, key=repr) == sorted(examples, key=repr)
        assert all(patient_sets)
    assert shards == [cross_fit(examples[::-1], settings, k, fold, key) for fold in range(k)]


def test_a_cross_fit_validates_about_its_share() -> None:
    examples = patients([0, 1, 2, 3, 4] * 40)
    for share in (0.1, 0.15, 0.2):
        shard = cross_fit(examples, PartitionSettings(validation=share), 5, 0, KEY)
        assert len(shard.validation) / len(examples) == pytest.approx(share, abs=0.03)
        assert len(shard.test) / len(examples) == pytest.approx(0.2, abs=0.01)
