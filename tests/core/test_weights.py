import math
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from teledx_fed.core.weights import BLOCK, Layout, distance, mean, norm

LAYOUT = Layout(parameters=(("a", (2, 3)), ("b", (4,))), statistics=(("n.running_var", (2,)),))
vectors = arrays(np.float32, 5, elements=st.floats(-100, 100, width=32))


def test_tensors_lie_one_after_another_in_their_vectors() -> None:
    assert LAYOUT.slices == {"a": slice(0, 6), "b": slice(6, 10), "n.running_var": slice(0, 2)}
    assert LAYOUT.sizes == (10, 2)


def test_different_layouts_have_different_digests() -> None:
    renamed = Layout((("c", (2, 3)), ("b", (4,))), LAYOUT.statistics)
    reshaped = Layout((("a", (3, 2)), ("b", (4,))), LAYOUT.statistics)
    assert len({LAYOUT.digest, renamed.digest, reshaped.digest}) == 3


def test_mean_by_hand() -> None:
    average = mean([np.float32([0, 4]), np.float32([4, 8])], by=[3, 1])
    assert average.tolist() == [1.0, 5.0]
    assert average.dtype == np.float32


@given(st.lists(vectors, min_size=1, max_size=5), st.data())
def test_mean_is_numpys_weighted_average(vectors: list[np.ndarray], data: st.DataObject) -> None:
    by = data.draw(st.lists(st.floats(0.1, 1000), min_size=len(vectors), max_size=len(vectors)))
    np.testing.assert_allclose(mean(vectors, by), np.average(vectors, axis=0, weights=by), rtol=1e-4, atol=1e-5)


@given(vectors)
def test_the_mean_of_one_vector_equals_it_bit_for_bit(vector: np.ndarray) -> None:
    assert mean([vector], [4]).tobytes() == (vector + np.float32(0)).tobytes()


def test_the_norm_is_summed_in_float64() -> None:
    assert norm(np.full(1_000_000, 1e-3, np.float32)) == pytest.approx(1.0, rel=1e-5)


hospitals = st.lists(st.tuples(vectors, st.one_of(st.integers(1, 10**6), st.floats(1, 1000))), min_size=2, max_size=8)


@given(hospitals, st.randoms(use_true_random=False))
def test_the_mean_is_bit_identical_for_any_order(weighted: list[tuple[np.ndarray, float]], order: Random) -> None:
    shuffled = order.sample(weighted, len(weighted))
    first, second = (mean([vector for vector, _ in pairs], [by for _, by in pairs]) for pairs in (weighted, shuffled))
    assert first.tobytes() == second.tobytes()


@given(hospitals)
def test_a_mean_is_the_exact_one_rounded_once(weighted: list[tuple[np.ndarray, float]]) -> None:
    """Compare with rational numbers; weights by square root are rounded before they are summed."""
    counted = [(vector, int(by)) for vector, by in weighted]
    exact = [
        sum(Fraction(float(vector[i])) * by for vector, by in counted) / sum(by for _, by in counted) for i in range(5)
    ]
    ours = mean([vector for vector, _ in counted], [by for _, by in counted])
    assert ours.tolist() == pytest.approx([float(value) for value in exact], rel=2**-24, abs=1e-45)


def test_a_mean_of_more_elements_than_a_block() -> None:
    long = np.random.default_rng(0).normal(size=2 * BLOCK + 7).astype(np.float32)
    assert mean([long, long * 3], [1, 1]).tobytes() == (long * 2).tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_distance_to_a_vector_that_is_not_finite_is_not_finite(bad: float) -> None:
    vector = np.zeros(BLOCK + 5, np.float32)
    spoilt = vector.copy()
    spoilt[BLOCK + 1] = bad
    assert not math.isfinite(distance(spoilt, vector))
