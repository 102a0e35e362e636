import re
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays

from teledx_fed.core.updates import LocalUpdate
from teledx_fed.core.weights import Layout, Weights
from teledx_fed.federation import messages as wire
from teledx_fed.federation.replies import UpdateSpec, ValidUpdate, validate_update
from teledx_fed.federation.round_state import RoundState
from teledx_fed.privacy.transforms import CODECS, decode, encode

LAYOUT = Layout((("conv.weight", (3, 2)), ("head.bias", (4,))), (("bn.running_var", (2,)),))
START = Weights(np.arange(10, dtype=np.float32), np.ones(2, np.float32), LAYOUT)
STEP = {"float16": 2.0**-11, "int8": 0.5 / 127}
"""Largest rounding error of an entry, relative to the largest entry of its tensor."""

differences = numpy_arrays(np.float32, 10, elements=st.floats(-8, 8, width=32))


@pytest.mark.slow
@pytest.mark.parametrize("compression", CODECS)
@given(difference=differences)
def test_decoding_is_as_precise_as_the_bits_allow(compression: str, difference: np.ndarray) -> None:
    decoded = decode(encode(difference, LAYOUT, compression), LAYOUT)
    for name, _ in LAYOUT.parameters:
        tensor, back = difference[LAYOUT.slices[name]], decoded[LAYOUT.slices[name]]
        assert np.abs(back - tensor).max() <= 1.01 * STEP[compression] * np.abs(tensor).max() + 1e-37


def test_a_small_tensor_keeps_its_precision_beside_a_large_one() -> None:
    difference = np.float32([1000] * 6 + [1e-6, 2e-6, -3e-6, 0])
    decoded = decode(encode(difference, LAYOUT, "int8"), LAYOUT)
    np.testing.assert_allclose(decoded[6:], difference[6:], atol=2e-8)


def reply(compression: str, **spoilt: np.ndarray) -> ValidUpdate | str:
    difference = np.linspace(-0.1, 0.1, 10, dtype=np.float32)
    update = LocalUpdate(1, START, 10, 0, None, {})
    content = wire.reply(update, {**encode(difference, LAYOUT, compression), **spoilt})
    return validated(content, compression)


def validated(content: RecordDict, compression: str) -> ValidUpdate | str:
    spec = UpdateSpec(1, LAYOUT, "grade", compression).of_site(photographs=100)
    return validate_update(content, spec, START, (10.0, 10.0))


@pytest.mark.parametrize("compression", CODECS)
def test_an_update_is_decoded_before_its_values_are_validated(compression: str) -> None:
    result = reply(compression)
    assert isinstance(result, ValidUpdate)
    expected = START.parameters + np.linspace(-0.1, 0.1, 10, dtype=np.float32)
    np.testing.assert_allclose(result.update.weights.parameters, expected, atol=1e-3)
    assert result.distances[0] == pytest.approx(np.linalg.norm(np.linspace(-0.1, 0.1, 10)), rel=0.01)


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ({"scales": np.float32([np.nan, 1])}, "scales must be finite"),
        ({"scales": np.float32([np.inf, 1])}, "scales must be finite"),
        ({"scales": np.float32([1, 1e6])}, "parameters must move by at most 10"),
        ({"scales": np.ones(2)}, r"scales must be float32 \(2,\), got float64"),
        ({"scales": np.ones(3, np.float32)}, r"scales must be float32 \(2,\)"),
        ({"parameters": np.zeros(10, np.float32)}, r"parameters must be int8 \(10,\), got float32"),
        ({"patients": np.zeros(1)}, "parameters must be those agreed"),
    ],
)
def test_every_fault_of_a_compressed_update_is_named(spoilt: dict[str, np.ndarray], reason: str) -> None:
    result = reply("int8", **spoilt)
    assert isinstance(result, str)
    assert re.search(reason, result), result


def test_the_server_chooses_the_compression() -> None:
    update = LocalUpdate(1, START, 10, 0, None, {})
    whole = wire.reply(update, {wire.PARAMETERS: START.parameters})
    assert isinstance(validated(whole, "int8"), str)
    small = wire.reply(update, encode(START.parameters * 0, LAYOUT, "int8"))
    assert isinstance(validated(small, "none"), str)


def test_the_error_of_compression_is_sent_in_later_rounds() -> None:
    """A tiny gradient beside a large one: without error feedback it is always rounded to 0."""
    difference, unsent, arrived = (
        np.float32([1.0] + [1e-3] * 5 + [0] * 4),
        np.zeros(10, np.float32),
        np.zeros(10, np.float32),
    )
    for _ in range(100):
        sent = decode(encode(difference + unsent, LAYOUT, "int8"), LAYOUT)
        unsent += difference - sent
        arrived += sent
    np.testing.assert_allclose(arrived, 100 * difference, atol=0.01)
    assert decode(encode(difference, LAYOUT, "int8"), LAYOUT)[1] == 0


def test_a_site_keeps_the_state_that_a_resumed_round_reads(tmp_path: Path) -> None:
    kept = RoundState(tmp_path)
    for round in (1, 2, 3):
        kept.save(round, np.full(2, round, np.float32))
    kept.drop_before(2)
    assert kept.latest(1) is None
    assert [vector.tolist() for round in (2, 3) if (vector := kept.latest(round)) is not None] == [[2, 2], [3, 3]]


@pytest.mark.parametrize(
    "array", [np.arange(5, dtype=np.float32), np.zeros((2, 3)), np.zeros((0,), np.float32), np.int8([[1], [2]])]
)
def test_arrays_are_packed_as_flower_packs_them(array: np.ndarray) -> None:
    packed = wire.vector(array, "x")["x"]
    expected = ArrayRecord([array])["0"]
    assert (packed.dtype, tuple(packed.shape), packed.stype, packed.data) == (
        expected.dtype,
        tuple(expected.shape),
        expected.stype,
        expected.data,
    )
    np.testing.assert_array_equal(wire.values(packed), array)
