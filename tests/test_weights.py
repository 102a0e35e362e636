import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from teledx_fed.weights import Layout, Weights, mean, norm

LAYOUT = Layout(parameters=(("a", (2, 3)), ("b", (4,))), statistics=(("n.running_var", (2,)),))
vectors = arrays(np.float32, 5, elements=st.floats(-100, 100, width=32))


def test_unpack_undoes_pack_without_copying() -> None:
    tensors = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.ones(4, np.float32),
        "n.running_var": np.full(2, 7, np.float32),
    }
    weights = Weights.pack(tensors, LAYOUT)
    unpacked = weights.unpack()
    assert {name: array.tolist() for name, array in unpacked.items()} == {n: a.tolist() for n, a in tensors.items()}
    assert np.shares_memory(unpacked["a"], weights.parameters)


def test_layouts_are_told_apart_by_their_digest() -> None:
    renamed = Layout((("c", (2, 3)), ("b", (4,))), LAYOUT.statistics)
    reshaped = Layout((("a", (3, 2)), ("b", (4,))), LAYOUT.statistics)
    assert len({LAYOUT.digest, renamed.digest, reshaped.digest}) == 3


def test_mean_by_hand() -> None:
    found = mean([np.float32([0, 4]), np.float32([4, 8])], by=[3, 1])
    assert found.tolist() == [1.0, 5.0]
    assert found.dtype == np.float32


@given(st.lists(vectors, min_size=1, max_size=5), st.data())
def test_mean_is_numpys_weighted_average(found: list[np.ndarray], data: st.DataObject) -> None:
    by = data.draw(st.lists(st.floats(0.1, 1000), min_size=len(found), max_size=len(found)))
    np.testing.assert_allclose(mean(found, by), np.average(found, axis=0, weights=by), rtol=1e-4, atol=1e-5)


@given(vectors)
def test_mean_of_one_is_itself_bit_for_bit(vector: np.ndarray) -> None:
    assert mean([vector], [4]).tobytes() == (vector + np.float32(0)).tobytes()


def test_norm_does_not_drown_in_float32() -> None:
    assert norm(np.full(1_000_000, 1e-3, np.float32)) == pytest.approx(1.0, rel=1e-6)
