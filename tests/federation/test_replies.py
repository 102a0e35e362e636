"""Each reason of validation, for a reply with only that fault."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from teledx_fed.core.examples import Example
from teledx_fed.core.updates import LocalUpdate
from teledx_fed.core.weights import Layout, Weights
from teledx_fed.data.summary import SHAPES as SUMMARY
from teledx_fed.evaluation.predictions import predictions
from teledx_fed.evaluation.tables import EFFECTS, table
from teledx_fed.federation.messages import (
    DESIGN_EFFECTS,
    METRICS,
    PARAMETERS,
    STATISTICS,
    TABLES,
    arrays,
    reply,
    vector,
)
from teledx_fed.federation.replies import UpdateSpec, scores_spec, summary_spec, validate_tables, validate_update

LAYOUT = Layout((("head.weight", (2, 3)),), (("bn.running_mean", (2,)), ("bn.running_var", (2,))))
START = Weights(np.zeros(6, np.float32), np.array([0, 0, 1, 1], np.float32), LAYOUT)
SPEC = UpdateSpec(3, LAYOUT, "grade", loss=True).of_site(photographs=1000)


def honest_tables() -> dict[str, np.ndarray]:
    examples = [Example(None, n % 5, str(n)) for n in range(20)]  # type: ignore[arg-type]
    scores = np.random.default_rng(0).dirichlet(np.ones(5), 20)
    scored = predictions(examples, scores)
    return dict(table(scored, scored.referable_score >= 0.5, min_patients=1))


def right() -> RecordDict:
    weights = Weights(np.full(6, 0.5, np.float32), np.array([0.1, 0.1, 1.5, 0.5], np.float32), LAYOUT)
    return reply(LocalUpdate(3, weights, 100, 40, 0.7, honest_tables()), {PARAMETERS: weights.parameters})


def fault(content: RecordDict, start: Weights = START) -> str | None:
    result = validate_update(content, SPEC, start, (10.0, 10.0))
    return result if isinstance(result, str) else None


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


def tables(**changed: np.ndarray | None) -> Spoil:
    """Replace tables of the honest reply; None removes a table."""
    spoilt = {name: array for name, array in {**honest_tables(), **changed}.items() if array is not None}
    return lambda content: content.__setitem__(TABLES, arrays(spoilt))


def forged(dtype: str, shape: tuple[int, ...], data: bytes, stype: str = "numpy.ndarray") -> Spoil:
    record = ArrayRecord({PARAMETERS: Array(dtype, shape, stype, data)})
    return lambda content: content.__setitem__(PARAMETERS, record)


def header(form: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(form).to_bytes(2, "little") + form


with_nan = np.array([np.nan, 0, 0, 0, 0, 0], np.float32)
ANOTHER_FORM = r"parameters must be float32 \(6,\), got \d+ bytes of another form"
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
    "declared dtype is not the real one": (
        forged("float32", (6,), Array(np.zeros(6)).data),
        ANOTHER_FORM,
    ),
    "a payload that is no array": (
        forged("float32", (6,), b"cos\nsystem\n(S'true'\ntR."),
        ANOTHER_FORM,
    ),
    "a truncated payload": (
        forged("float32", (6,), HONEST[:-4]),
        ANOTHER_FORM,
    ),
    "a swollen payload": (
        forged("float32", (6,), HONEST + bytes(10_000)),
        ANOTHER_FORM,
    ),
    "another serialisation": (forged("float32", (6,), HONEST, "pickle"), "must be float32"),
    "an empty zip": (
        forged("float32", (6,), b"PK\x05\x06" + bytes(18)),
        ANOTHER_FORM,
    ),
    "a broken zip": (
        forged("float32", (6,), b"PK\x03\x04junk"),
        ANOTHER_FORM,
    ),
    "a pickled payload": (
        forged("float32", (6,), header(b"{'descr': '|O', 'shape': (6,)}")),
        ANOTHER_FORM,
    ),
    "a header of petabytes": (
        forged("float32", (6,), header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (10**15,)}")),
        ANOTHER_FORM,
    ),
    "a header that never closes": (
        forged("float32", (6,), header(b"{'descr': (")),
        ANOTHER_FORM,
    ),
    "another byte order": (
        forged("float32", (6,), HONEST.replace(b"<f4", b">f4")),
        ANOTHER_FORM,
    ),
    "other array name": (
        lambda c: c.__setitem__(PARAMETERS, vector(np.zeros(6, np.float32), "weights")),
        "parameters must be those agreed",
    ),
    "a second array": (
        lambda c: c.array_records[PARAMETERS].__setitem__("more", Array(np.zeros(1))),
        "parameters must be those agreed",
    ),
    "a record missing": (lambda c: c.__delitem__(STATISTICS), "records of arrays must be .*missing: 'statistics'"),
    "a record too many": (lambda c: c.__setitem__("extra", ConfigRecord({"patient": "Ann"})), "got others: 'extra'"),
    "a record of another kind": (
        lambda c: c.__setitem__(TABLES, MetricRecord({})),
        "records of arrays must be .*'tables'",
    ),
    "a reply to another round": (metrics(round=2), "round must be 3, got 2"),
    "no examples": (metrics(examples=0), "examples must lie in 1…1000"),
    "negative examples": (metrics(examples=-5), "examples must lie in 1…1000"),
    "implausibly many examples": (metrics(examples=10**9), "examples must lie in 1…1000"),
    "a fractional count": (metrics(examples=99.5), "examples must be int, got float"),
    "more oedema labels than examples": (metrics(oedema_examples=101), "oedema-examples must lie in 0…100"),
    "a metric missing": (metrics(train_loss=None), "metrics must be"),
    "a loss of NaN": (metrics(train_loss=float("nan")), "train_loss must be finite"),
    "implausible norm": (parameters(np.full(6, 50, np.float32)), "parameters must move by at most 10"),
    "implausible statistics": (statistics(0, 0, 1, 1e6), "statistics must move by at most 10"),
    "a loss beyond all bounds": (metrics(train_loss=1e300), "train_loss must lie in 0"),
    "a loss below nothing": (metrics(train_loss=-0.5), "train_loss must lie in 0"),
    "a round beyond 64 bits": (metrics(round=10**5000), "round must be int64"),
    "a table of another name": (tables(rows=np.ones((5, 5))), "tables must be those agreed, not agreed: 'rows'"),
    "a table of another shape": (tables(confusion=np.ones((5, 6))), r"confusion must be float64 \(5, 5\)"),
    "a table missing": (tables(confusion=None), "tables must be those agreed"),
    "the tables of another head": (
        tables(**dict.fromkeys(("confusion", "grade_scores", "vision_threatening_scores"))),
        "tables must be those agreed",
    ),
    "negative counts": (tables(confusion=-np.ones((5, 5))), "confusion must lie in 0"),
    "counts of NaN": (tables(confusion=np.full((5, 5), np.nan)), "confusion must be finite"),
    "half an eye": (tables(confusion=np.full((5, 5), 0.8)), "confusion must hold multiples of 1"),
    "no eye": (tables(eyes=np.zeros(1)), "eyes must lie in 1…1000"),
    "more eyes than can be": (tables(eyes=np.full(1, 1e9)), "eyes must lie in 1…1000"),
    "an eye counted twice": (tables(confusion=np.full((5, 5), 2.0)), "tables must count every eye once"),
    "sums beyond the eyes": (tables(referable_sums=np.full(2, 99.0)), "tables must count every eye once"),
}


def test_a_right_reply_has_no_fault() -> None:
    assert fault(right()) is None


def test_a_site_with_too_few_patients_sends_no_table() -> None:
    content = right()
    content[TABLES] = ArrayRecord({})
    assert fault(content) is None


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_named(name: str) -> None:
    content, (spoil, message) = right(), FAULTS[name]
    spoil(content)
    reason = fault(content)
    assert reason is not None
    assert re.search(message, reason), reason


def test_scores_alone_are_validated_as_strictly() -> None:
    spec = scores_spec("grade", 1000, test=True)
    honest = {**honest_tables(), DESIGN_EFFECTS: np.full(len(EFFECTS), 1.5)}
    sound = RecordDict({TABLES: arrays(honest)})
    assert set(validate_tables(sound, spec)) == set(honest)
    for spoilt, message in (
        (RecordDict({TABLES: MetricRecord({})}), "records of arrays must be"),
        (RecordDict({}), "records of arrays must be"),
        (RecordDict({TABLES: arrays({DESIGN_EFFECTS: honest[DESIGN_EFFECTS]})}), "tables must be those agreed"),
        (
            RecordDict({TABLES: arrays({**honest, DESIGN_EFFECTS: 0 * honest[DESIGN_EFFECTS]})}),
            "effects must lie in 1",
        ),
        (
            RecordDict({TABLES: arrays({**honest, DESIGN_EFFECTS: 1e9 * honest[DESIGN_EFFECTS]})}),
            "effects must lie in 1",
        ),
        (RecordDict({TABLES: arrays({**honest, "eyes": np.zeros(1)})}), "eyes must lie in 1…1000"),
    ):
        assert message in str(validate_tables(spoilt, spec))


@pytest.mark.parametrize("wrong", [np.nan, -5, 9.5])
def test_a_summary_holds_whole_counts(wrong: float) -> None:
    counts = {name: np.zeros(shape) for name, shape in SUMMARY.items()}
    counts["declared"][0] = 30
    assert set(validate_tables(RecordDict({TABLES: arrays(counts)}), summary_spec(1000))) == set(counts)
    counts["set_aside"][0] = wrong
    reason = validate_tables(RecordDict({TABLES: arrays(counts)}), summary_spec(1000))
    assert "set_aside must" in str(reason)


def test_a_shape_that_only_equals_the_agreed_one_is_refused() -> None:
    """A message is partly JSON, where a length may be true."""
    content = RecordDict({TABLES: arrays({name: np.zeros(shape) for name, shape in SUMMARY.items()})})
    tables = content.array_records[TABLES]
    tables["declared"] = Array("float64", (True,), "numpy.ndarray", tables["declared"].data)
    assert "declared must be float64 (1,), got float64 (True,)" in str(validate_tables(content, summary_spec(1000)))


def test_parameters_that_decode_to_infinity_are_refused_under_any_limit() -> None:
    spec = UpdateSpec(3, LAYOUT, "grade", "int8", loss=True).of_site(photographs=1000)
    content = right()
    content[PARAMETERS] = arrays({"parameters": np.full(6, 127, np.int8), "scales": np.float32([3e38])})
    assert "parameters must move by at most inf" in str(validate_update(content, spec, START, (np.inf, np.inf)))


def test_the_norm_is_that_of_the_difference() -> None:
    content = right()
    content[PARAMETERS] = vector(np.full(6, 1000.5, np.float32), PARAMETERS)
    assert fault(content, replace(START, parameters=np.full(6, 1000, np.float32))) is None
    assert fault(content) is not None
