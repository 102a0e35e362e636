import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr

from teledx_fed.diagnosis.faithfulness import deletion, energy_inside, insertion, points_at, rank_correlation

SIDE = 8
INSIDE = np.ones((SIDE, SIDE), bool)
LESION = np.zeros((SIDE, SIDE), bool)
LESION[2:4, 2:4] = True
SHOWN = np.full((SIDE, SIDE, 3), 200, np.uint8)
EMPTIED = np.zeros_like(SHOWN)


def sees_the_lesion(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A model whose score depends only on the lesion."""
    return images[:, LESION].mean(axis=(1, 2)) / 200


def drawn(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((SIDE, SIDE), dtype=np.float32)


def test_a_perfect_map_has_the_best_deletion_and_insertion() -> None:
    heat = LESION.astype(np.float32)
    assert deletion(sees_the_lesion, SHOWN, EMPTIED, heat, INSIDE, steps=16) == pytest.approx(1 / 32)
    assert insertion(sees_the_lesion, SHOWN, EMPTIED, heat, INSIDE, steps=16) == pytest.approx(1 - 1 / 32)


@given(st.integers(0, 100))
def test_no_map_does_better_and_its_opposite_does_worst(seed: int) -> None:
    areas = [
        deletion(sees_the_lesion, SHOWN, EMPTIED, heat, INSIDE)
        for heat in (LESION.astype(np.float32), drawn(seed), -LESION.astype(np.float32))
    ]
    assert areas == sorted(areas)
    assert areas[0] < areas[2]


def test_deleting_and_inserting_begin_and_end_with_the_whole_disc() -> None:
    scored: list[NDArray[np.uint8]] = []

    def score(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        scored.append(images)
        return np.zeros(len(images))

    inside = INSIDE.copy()
    inside[0] = False
    deletion(score, SHOWN, EMPTIED, drawn(0), inside, steps=7)
    (curve,) = scored
    np.testing.assert_array_equal(curve[0], SHOWN)
    np.testing.assert_array_equal(curve[-1][inside], EMPTIED[inside])
    np.testing.assert_array_equal(curve[:, ~inside], np.broadcast_to(SHOWN[~inside], (8, SIDE, 3)))
    assert np.ptp(np.diff((curve[:, inside] == 0).all(axis=2).sum(axis=1))) <= 1, "as many at each step"


def test_pointing_and_energy() -> None:
    heat = np.zeros((SIDE, SIDE), np.float32)
    heat[2, 3], heat[6, 6], heat[7, 0] = 3, 1, -5
    assert points_at(heat, LESION)
    assert energy_inside(heat, LESION) == 0.75
    assert not points_at(-heat, LESION)
    assert energy_inside(np.ones((SIDE, SIDE), np.float32), LESION) == LESION.mean()
    assert np.isnan(energy_inside(-np.ones((SIDE, SIDE), np.float32), LESION))


@given(st.integers(0, 100), st.integers(0, 100))
def test_rank_correlation_is_spearmans(one: int, other: int) -> None:
    first, second = drawn(one).round(1), drawn(other).round(1)
    expected = spearmanr(first.ravel(), second.ravel()).statistic
    assert rank_correlation(first, second) == pytest.approx(expected, abs=1e-9)


def test_a_flat_map_correlates_with_nothing() -> None:
    assert np.isnan(rank_correlation(INSIDE.astype(np.float32), drawn(0)))
