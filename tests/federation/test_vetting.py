"""Each fault that vetting names, on a reply that is right but for that fault."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from teledx_fed.federation.messages import METRICS, PARAMETERS, STATISTICS, TABLES, reply, vector
from teledx_fed.federation.vetting import Expected, fault
from teledx_fed.records import LocalUpdate
from teledx_fed.weights import Layout, Weights

LAYOUT = Layout((("head.weight", (2, 3)),), (("bn.running_mean", (2,)), ("bn.running_var", (2,))))
START = Weights(np.zeros(6, np.float32), np.array([0, 0, 1, 1], np.float32), LAYOUT)
EXPECTED = Expected(3, START, (10.0, 10.0), 1000, {"confusion": (5, 5)})


def right() -> RecordDict:
    weights = Weights(np.full(6, 0.5, np.float32), np.array([0.1, 0.1, 1.5, 0.5], np.float32), LAYOUT)
    return reply(LocalUpdate(3, weights, 100, 40, 0.7, {"confusion": np.ones((5, 5))}))


Spoil = Callable[[RecordDict], object]


def metrics(**changes: object) -> Spoil:
    def spoil(content: RecordDict) -> None:
        values = {**content.metric_records[METRICS], **{k.replace("_e", "-e"): v for k, v in changes.items()}}
        content[METRICS] = MetricRecord({k: v for k, v in values.items() if v is not None})  # type: ignore[misc]

    return spoil


def parameters(values: np.ndarray) -> Spoil:
    return lambda content: content.__setitem__(PARAMETERS, vector(values, PARAMETERS))


def statistics(*values: float) -> Spoil:
    return lambda content: content.__setitem__(STATISTICS, vector(np.float32(values), STATISTICS))


def tables(**arrays: np.ndarray) -> Spoil:
    record = ArrayRecord({name: Array(array) for name, array in arrays.items()})
    return lambda content: content.__setitem__(TABLES, record)


def forged(dtype: str, shape: tuple[int, ...], data: bytes) -> Spoil:
    record = ArrayRecord({PARAMETERS: Array(dtype, shape, "numpy.ndarray", data)})
    return lambda content: content.__setitem__(PARAMETERS, record)


with_nan = np.array([np.nan, 0, 0, 0, 0, 0], np.float32)
HONEST = right().array_records[PARAMETERS][PARAMETERS].data

FAULTS: dict[str, tuple[Spoil, str]] = {
    "NaN": (parameters(with_nan), "parameters must be finite"),
    "infinity": (parameters(np.float32([np.inf, 0, 0, 0, 0, 0])), "parameters must be finite"),
    "NaN statistic": (statistics(0, np.nan, 1, 1), "statistics must be finite"),
    "zero variance": (statistics(0, 0, 0, 1), "positive variances"),
    "negative variance": (statistics(0, 0, 1, -1), "positive variances"),
    "wrong shape": (parameters(np.zeros((2, 3), np.float32)), r"parameters must be float32 \(6,\)"),
    "too short": (parameters(np.zeros(5, np.float32)), r"parameters must be float32 \(6,\)"),
    "wrong dtype": (parameters(np.zeros(6)), r"parameters must be float32 \(6,\), got float64"),
    "declared shape is not the real one": (forged("float32", (6,), Array(np.zeros(7, np.float32)).data), "must be"),
    "declared dtype is not the real one": (forged("float32", (6,), Array(np.zeros(6)).data), "must be float32"),
    "a payload that is no array": (forged("float32", (6,), b"cos\nsystem\n(S'true'\ntR."), "readable array"),
    "a truncated payload": (forged("float32", (6,), HONEST[:-4]), "readable array"),
    "a swollen payload": (forged("float32", (6,), HONEST + bytes(10_000)), "must take about 24 bytes"),
    "a pickled payload": (
        forged("float32", (6,), b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (6,)}"),
        "readable array",
    ),
    "other array name": (
        lambda c: c.__setitem__(PARAMETERS, vector(np.zeros(6, np.float32), "weights")),
        "one array of that name",
    ),
    "a second array": (
        lambda c: c.array_records[PARAMETERS].__setitem__("more", Array(np.zeros(1))),
        "one array of that name",
    ),
    "a record missing": (lambda c: c.__delitem__(STATISTICS), "records must be"),
    "a record too many": (lambda c: c.__setitem__("extra", ConfigRecord({"patient": "Ann"})), "records must be"),
    "a record of another kind": (lambda c: c.__setitem__(TABLES, MetricRecord({})), "records must be arrays"),
    "a reply to another round": (metrics(round=2), "round must be 3, got 2"),
    "no examples": (metrics(examples=0), "examples must lie in 1…1000"),
    "negative examples": (metrics(examples=-5), "examples must lie in 1…1000"),
    "implausibly many examples": (metrics(examples=10**9), "examples must lie in 1…1000"),
    "a fractional count": (metrics(examples=99.5), "metrics must be"),
    "more oedema labels than examples": (metrics(oedema_examples=101), "oedema-examples must lie in 0…100"),
    "a metric missing": (metrics(train_loss=None), "metrics must be"),
    "a loss of NaN": (metrics(train_loss=float("nan")), "train_loss must be finite"),
    "implausible norm": (parameters(np.full(6, 50, np.float32)), "parameters must move by at most 10"),
    "implausible statistics": (statistics(0, 0, 1, 1e6), "statistics must move by at most 10"),
    "a table of another name": (tables(rows=np.ones((5, 5))), "tables must be among"),
    "a table of another shape": (tables(confusion=np.ones((5, 6))), r"confusion must be float64 \(5, 5\)"),
    "negative counts": (tables(confusion=-np.ones((5, 5))), "finite and not negative"),
    "counts of NaN": (tables(confusion=np.full((5, 5), np.nan)), "finite and not negative"),
    "scores of more eyes than can be": (tables(confusion=np.full((5, 5), 1e6)), "count at most"),
}


def test_a_right_reply_has_no_fault() -> None:
    assert fault(right(), EXPECTED) is None


def test_a_site_with_too_few_patients_sends_no_table() -> None:
    content = right()
    content[TABLES] = ArrayRecord({})
    assert fault(content, EXPECTED) is None


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_named(name: str) -> None:
    content, (spoil, message) = right(), FAULTS[name]
    spoil(content)
    found = fault(content, EXPECTED)
    assert found is not None
    assert re.search(message, found), found


def test_the_norm_is_that_of_the_difference() -> None:
    content = right()
    content[PARAMETERS] = vector(np.full(6, 1000.5, np.float32), PARAMETERS)
    far = replace(EXPECTED, start=replace(START, parameters=np.full(6, 1000, np.float32)))
    assert fault(content, far) is None
    assert fault(content, EXPECTED) is not None
