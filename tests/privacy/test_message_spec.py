"""An attacker who writes the training code tries everything to send more than the agreed values."""

import re
from dataclasses import replace

import numpy as np
import pytest
from agreed_message import SPEC, Spoil, array, honest, number, spoilt

from teledx_fed.privacy.message_spec import (
    MessageContent,
    MessageSpec,
    fault,
)


class Text(str):
    """Equal to whatever is expected, and says something else."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("parameters")


class Integer(int):
    patient = "Ann"


class Float(float):
    patient = "Ann"


class Subclass(np.ndarray):
    pass


def cell(name: str, value: float, at: int = 0) -> Spoil:
    return lambda message: message.arrays["tables"][name].reshape(-1).__setitem__(at, value)


def scales(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


ones = np.ones(2, np.float32)


payload = np.array([0x7FC0_1234, 0], np.uint32).view(np.float32)


annotated = np.dtype("float32", metadata={"patient": "Ann"})


TRICKS: dict[str, tuple[Spoil, str]] = {
    "one more array": (array("parameters", "features", ones), "parameters must be .*features"),
    "one more record of arrays": (lambda m: m.arrays.__setitem__("x", {"x": ones}), "records of arrays must be"),
    "an empty record too many": (lambda m: m.arrays.__setitem__("Ann", {}), "records of arrays must be .*Ann"),
    "a record missing": (lambda m: m.arrays.__delitem__("statistics"), "records of arrays must be"),
    "an array missing": (lambda m: m.arrays["parameters"].__delitem__("scales"), "parameters must be"),
    "an empty record of weights": (lambda m: m.arrays["statistics"].clear(), "statistics must be"),
    "an array under another name": (
        lambda m: m.arrays["parameters"].__setitem__("Ann", m.arrays["parameters"].pop("scales")),
        "parameters must be .*Ann",
    ),
    "a name that claims to be another": (
        lambda m: m.arrays.__setitem__("parameters", {Text("Ann"): ones, "scales": ones}),
        "parameters must be .*Ann",
    ),
    "a name of bytes": (array("parameters", b"scales", ones), "parameters must be"),  # type: ignore[arg-type]
    "one more record of numbers": (lambda m: m.numbers.__setitem__("more", {"a": 1}), "records of numbers must be"),
    "one more number": (number("age", 47), "metrics must be .*age"),
    "a number missing": (lambda m: m.numbers["metrics"].__delitem__("examples"), "metrics must be"),
    "text": (array("parameters", "scales", "Ann"), "parameters.scales must be an array, got str"),
    "bytes": (array("parameters", "scales", b"Ann"), "must be an array, got bytes"),
    "a list": (array("parameters", "scales", [1.0, 2.0]), "must be an array, got list"),
    "text for a number": (number("examples", "100"), "metrics.examples must be int, got str"),
    "bytes for a number": (number("examples", b"100"), "must be int, got bytes"),
    "several numbers for one": (number("train_loss", [0.29]), "must be float, got list"),
    "nothing for a number": (number("train_loss", None), "must be float, got NoneType"),
    "an array of text": (array("parameters", "scales", np.array(["A", "nn"])), "must be float32"),
    "an array of bytes": (array("parameters", "scales", np.array([b"A", b"nn"])), "must be float32"),
    "an array of objects": (array("parameters", "scales", np.array([1.0, "Ann"], object)), "must be float32"),
    "an array of moments": (array("parameters", "scales", np.zeros(2, "datetime64[s]")), "must be float32"),
    "fields inside an entry": (array("parameters", "scales", np.zeros(2, "f4,f4")), "must be float32"),
    "more bits": (array("parameters", "scales", np.ones(2)), r"must be float32 \(2,\), got float64"),
    "as many bits of another type": (array("parameters", "scales", np.ones(2, np.int32)), "must be float32"),
    "another byte order": (array("parameters", "scales", np.ones(2, ">f4")), "must be float32"),
    "a note on the dtype": (array("parameters", "scales", np.ones(2, annotated)), "must be float32"),
    "an array of a class of its own": (array("parameters", "scales", ones.view(Subclass)), "must be an array"),
    "values behind a mask": (array("parameters", "scales", np.ma.array(ones, mask=[0, 1])), "must be an array"),
    "one entry more": (array("statistics", "statistics", np.ones(5, np.float32)), r"must be float32 \(4,\)"),
    "an entry for each image": (array("statistics", "statistics", np.ones(100, np.float32)), r"got float32 \(100,\)"),
    "an axis of images": (array("statistics", "statistics", np.ones((100, 4), np.float32)), r"got float32 \(100, 4\)"),
    "an axis of one": (array("statistics", "statistics", np.ones((1, 4), np.float32)), r"got float32 \(1, 4\)"),
    "no entry": (array("statistics", "statistics", np.ones(0, np.float32)), r"got float32 \(0,\)"),
    "no axis": (array("statistics", "statistics", np.array(1, np.float32)), r"got float32 \(\)"),
    "a model that diverged": (array("parameters", "scales", scales(np.inf, 1)), "must be finite"),
    "a model of NaN": (array("statistics", "statistics", scales(1, 1, np.nan, 1)), "must be finite"),
    "bits in a NaN": (array("parameters", "scales", payload), "must be finite"),
    "a table of NaN": (cell("confusion", np.nan), "tables.confusion must be finite"),
    "a truth value": (number("examples", True), "must be int, got bool"),
    "more than a number": (number("examples", Integer(100)), "must be int, got Integer"),
    "more than a fraction": (number("train_loss", Float(0.29)), "must be float, got Float"),
    "a numpy fraction": (number("train_loss", np.float64(0.29)), "must be float, got float64"),
    "a whole number for a fraction": (number("train_loss", 0), "must be float, got int"),
    "a fraction for a whole number": (number("examples", 100.0), "must be int, got float"),
    "a complex number": (number("train_loss", 0.29 + 1j), "must be float, got complex"),
    "a number of a megabyte": (number("examples", 1 << 8_000_000), "metrics.examples must be int64"),
    "a number just beyond 64 bits": (number("examples", 2**63), "metrics.examples must be int64"),
    "another round": (number("round", 4), r"metrics.round must be 3, got 4"),
    "more examples than can be": (number("examples", 101), r"must lie in 1…100"),
    "digits behind a loss": (number("train_loss", 0.2900001), "must be rounded to 2 decimals"),
    "the last bit of a loss": (number("train_loss", float(np.nextafter(0.29, 1))), "must be rounded to 2 decimals"),
    "the sign of a zero": (number("train_loss", -0.0), "must not hold a zero"),
    "a loss of NaN": (number("train_loss", float("nan")), "must be finite"),
    "a loss without bound": (number("train_loss", 1e300), "must lie in"),
    "the sign of a cell of zero": (cell("grade_scores", -0.0), "must not hold a zero"),
    "a cell below zero": (cell("confusion", -1), "must lie in 0…30"),
    "half an eye": (cell("confusion", 0.5), "tables.confusion must hold multiples of 1"),
    "the last bits of a cell": (cell("confusion", 1 + 2**-52), "must hold multiples of 1"),
    "digits behind a sum": (cell("referable_sums", 1.234567), "must be rounded to 2 decimals"),
    "digits behind a design effect": (cell("design_effects", 1.234567), "must be rounded to 2 decimals"),
    "a design effect that is none": (cell("design_effects", 0.5), "must lie in 1…100"),
    "a cell beyond what a site has": (cell("severe_called", 31), "must lie in 0…30"),
    "a cell beyond the eyes": (cell("severe_called", 21), "tables must count every eye once"),
    "more patients than eyes": (cell("patients", 21), "tables must count every eye once"),
    "an eye in two cells": (cell("confusion", 20), "tables must count every eye once"),
    "an eye in two bins of a grade": (cell("grade_scores", 20), "tables must count every eye once"),
    "fewer patients than agreed": (cell("patients", 4), "tables must count at least 5 patients, got 4"),
    "a table missing": (lambda m: m.arrays["tables"].__delitem__("eyes"), "tables must be"),
    "a table too many": (array("tables", "replicates", np.ones((1000, 1))), "tables must be .*replicates"),
}


def test_an_agreed_message_may_leave() -> None:
    assert fault(honest(), SPEC) is None


def test_a_site_with_few_patients_may_send_no_table() -> None:
    assert fault(spoilt(lambda m: m.arrays["tables"].clear()), SPEC) is None


@pytest.mark.parametrize("name", TRICKS)
def test_every_trick_is_refused(name: str) -> None:
    spoil, reason = TRICKS[name]
    got = fault(spoilt(spoil), SPEC)
    assert got is not None
    assert re.search(reason, got), got


def test_a_record_of_any_other_kind_is_refused_by_name() -> None:
    reason = fault(replace(honest(), others=["config", "x" * 10**6]), SPEC)
    assert reason is not None
    assert "config" in reason
    assert len(reason) < 200


def test_a_view_of_a_larger_buffer_is_its_values() -> None:
    larger = np.ones((2, 100), np.float32)
    assert fault(spoilt(array("parameters", "scales", larger[:, 50])), SPEC) is None


def test_an_empty_specification_allows_nothing() -> None:
    assert fault(MessageContent({}), MessageSpec({})) is None
    assert fault(honest(), MessageSpec({})) is not None
    assert fault(MessageContent({}), SPEC) is not None
