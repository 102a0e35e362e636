"""Properties of the check of a message: nothing but the agreed names, types, shapes and rounding passes."""

from dataclasses import replace
from typing import Any

import numpy as np
from agreed_message import SPEC, array, honest, number, spoilt
from hypothesis import given
from hypothesis import strategies as st

from teledx_fed.privacy.message_spec import (
    MessageContent,
    MessageSpec,
    RecordSpec,
    counts,
    fault,
    kind_of,
)

names = st.text(min_size=1, max_size=12)


dtypes = st.sampled_from([*np.typecodes["AllInteger"], *np.typecodes["AllFloat"], "?", "S3", "U3", "O", "V4", ">f4"])


shapes = st.lists(st.integers(0, 7), max_size=3).map(tuple)


texts = st.text() | st.binary()


places = st.sampled_from([(record, name) for record, group in SPEC.arrays.items() for name in group.arrays])


@given(place=places, name=names)
def test_a_missing_or_additional_name_is_refused(place: tuple[str, str], name: str) -> None:
    record, there = place
    for change in ("more", "less", "other"):
        message = honest()
        arrays: dict[str, Any] = message.arrays[record]  # type: ignore[assignment]
        if change == "more" and name not in arrays:
            arrays[name] = arrays[there]
        elif change == "less":
            del arrays[there]
        elif name not in arrays:
            arrays[name] = arrays.pop(there)
        else:
            continue
        assert fault(message, SPEC) is not None


@given(place=places, dtype=dtypes)
def test_any_other_dtype_is_refused(place: tuple[str, str], dtype: str) -> None:
    record, name = place
    form = SPEC.arrays[record].arrays[name]
    if np.dtype(dtype) != np.dtype(form.dtype):
        assert fault(spoilt(array(record, name, np.zeros(form.shape, dtype))), SPEC) is not None


@given(place=places, shape=shapes)
def test_any_other_shape_is_refused(place: tuple[str, str], shape: tuple[int, ...]) -> None:
    record, name = place
    form = SPEC.arrays[record].arrays[name]
    if shape != form.shape:
        assert fault(spoilt(array(record, name, np.ones(shape, form.dtype))), SPEC) is not None


@given(place=places, text=texts, number_name=st.sampled_from(sorted(SPEC.numbers["metrics"])))
def test_any_text_anywhere_is_refused(place: tuple[str, str], text: str | bytes, number_name: str) -> None:
    for spoil in (array(*place, text), array(*place, np.array(text)), number(number_name, text)):
        assert fault(spoilt(spoil), SPEC) is not None
    assert fault(replace(honest(), others=[str(text)]), SPEC) is not None


@given(value=st.floats())
def test_a_loss_must_be_rounded(value: float) -> None:
    fits = 0 <= value <= 1e6 and value == round(value, 2) and str(value) != "-0.0"
    assert (fault(spoilt(number("train_loss", value)), SPEC) is None) == fits


SUMMARY = MessageSpec({"tables": RecordSpec(counts({"grades": (5,), "patients": (1,)}, cell=10, most=200))})


def summary(*grades: float) -> MessageContent:
    return MessageContent({"tables": {"grades": np.array(grades, np.float64), "patients": np.array([50.0])}})


def test_counts_are_multiples_of_a_cell() -> None:
    assert fault(summary(0, 10, 20, 0, 200), SUMMARY) is None
    for wrong in (1, 9, 11, 10.5, -10, -0.0, 210, np.nan, np.inf):
        assert fault(summary(0, wrong, 20, 0, 200), SUMMARY) is not None, wrong
    assert "multiples of 10" in str(fault(summary(0, 11, 20, 0, 200), SUMMARY))
    empty = summary(0, 0, 0, 0, 0)
    empty.arrays["tables"].clear()  # type: ignore[attr-defined]
    assert fault(empty, SUMMARY) is not None


def test_an_error_is_sent_as_the_name_of_a_built_in_class() -> None:
    patient = type("AnnBornIn1947", (FileNotFoundError,), {"__module__": "builtins"})
    assert kind_of(patient()) == "FileNotFoundError"
    assert kind_of(type("Ann", (Exception,), {})()) == "Exception"
    assert kind_of(ValueError("Ann")) == "ValueError"


def test_an_error_whose_metaclass_claims_to_be_built_in_is_sent_as_its_built_in_base() -> None:
    class Claim(type):
        def __eq__(cls, other: object) -> bool:
            return True

        def __hash__(cls) -> int:
            return hash(ValueError)

    ann = Claim("AnnBornIn1947", (ValueError,), {})
    assert kind_of(ann()) == "ValueError"
