"""Messages of a round as Flower records: the model to a site, and its update to the server."""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cache
from io import BytesIO
from typing import Any, Literal, cast, get_args

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from teledx_fed.core.checks import one_of
from teledx_fed.core.errors import DataError
from teledx_fed.core.updates import GlobalModel, LocalTraining, LocalUpdate, Tables
from teledx_fed.core.weights import Layout, Weights
from teledx_fed.evaluation.tables import EFFECTS
from teledx_fed.privacy.message_spec import MessageContent, MessageSpec, Unreadable
from teledx_fed.privacy.transforms import SCALES, decode

PARAMETERS, STATISTICS, TABLES, CONFIG, METRICS = "parameters", "statistics", "tables", "config", "metrics"
DESIGN_EFFECTS = "design_effects"
NUMPY = "numpy.ndarray"
Record = ArrayRecord | ConfigRecord | MetricRecord

Split = Literal["validation", "test"]
LOSS_DECIMALS, LARGEST_LOSS = 2, 10.0
"""Rounding and limit of a loss: it reveals at most ten bits in each round."""


def vector(array: NDArray[Any], name: str) -> ArrayRecord:
    """Return a record of one array."""
    return arrays({name: array})


def arrays(named: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    """Pack named arrays as a record of a message."""
    return ArrayRecord({name: _packed(np.ascontiguousarray(array)) for name, array in named.items()})


def _packed(array: NDArray[Any]) -> Array:
    """Pack an array as Flower does, with one copy instead of three."""
    dtype, shape = str(array.dtype), array.shape
    return Array(dtype, shape, NUMPY, b"".join((header(dtype, shape), array.data.cast("B") if array.size else b"")))


def values(array: Array) -> NDArray[Any]:
    """Return a read-only view of the array's bytes in the message, without parsing or copying them."""
    shape = tuple(array.shape)
    return np.frombuffer(array.data, np.dtype(array.dtype), offset=len(header(array.dtype, shape))).reshape(shape)


def read(array: Array, dtype: str, shape: tuple[int, ...]) -> NDArray[Any] | Unreadable:
    """Return the values of an array if its bytes are exactly those of `dtype` and `shape`. They are never parsed."""
    plain = all(type(length) is int for length in array.shape)  # JSON may hold true, which equals 1
    if not plain or (array.dtype, tuple(array.shape), array.stype) != (dtype, shape, NUMPY):
        return Unreadable(f"{array.dtype[:20]} {tuple(array.shape)[:5]}")
    start = header(dtype, shape)
    if len(array.data) != len(start) + math.prod(shape) * np.dtype(dtype).itemsize or not array.data.startswith(start):
        return Unreadable(f"{len(array.data)} bytes of another form")
    return values(array)


def contents(content: RecordDict, spec: MessageSpec) -> MessageContent:
    """Return the arrays and numbers of a message; an array that `spec` does not name is `Unreadable`."""
    return MessageContent(
        arrays={
            record: {name: _agreed(array, record, name, spec) for name, array in arrays.items()}
            for record, arrays in content.array_records.items()
        },
        numbers={record: dict(numbers) for record, numbers in content.metric_records.items()},
        others=list(content.config_records),
    )


def plain(content: RecordDict) -> RecordDict:
    """Return a copy of built-in types alone: a subclass could give a check other values than it sends."""
    return RecordDict({str.__str__(name): _plain_record(record) for name, record in content.items()})


def _plain_record(record: Record) -> Record:
    if isinstance(record, ArrayRecord):
        return ArrayRecord({str.__str__(name): _plain_array(array) for name, array in record.items()})
    return MetricRecord(dict(record)) if isinstance(record, MetricRecord) else ConfigRecord(dict(record))


def _plain_array(array: Array) -> Array:
    shape = tuple(int.__int__(length) for length in array.shape)
    return Array(str.__str__(array.dtype), shape, str.__str__(array.stype), bytes(array.data))


def _agreed(array: Array, record: str, name: str, spec: MessageSpec) -> NDArray[Any] | Unreadable:
    agreed = spec.arrays[record].arrays.get(name) if record in spec.arrays else None
    return Unreadable("an array that was not agreed") if agreed is None else read(array, agreed.dtype, agreed.shape)


@cache
def header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return the header that numpy writes before the bytes of an array of this dtype and shape."""
    written = BytesIO()
    form = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(written, form)
    return written.getvalue()


def train_request(model: GlobalModel, training: LocalTraining) -> RecordDict:
    """Return the content of a request to train: the model, and the settings of local training as scalars."""
    return _request(model, asdict(training))


def score_request(model: GlobalModel, split: Split) -> RecordDict:
    """Return the content of a request to score the model on `split`."""
    return _request(model, {"split": split})


def _request(model: GlobalModel, config: Mapping[str, Any]) -> RecordDict:
    """Return the content of a request. A site compares `layout` with the layout of its own network."""
    layout = model.weights.layout.digest
    return RecordDict(
        {
            PARAMETERS: vector(model.weights.parameters, PARAMETERS),
            STATISTICS: vector(model.weights.statistics, STATISTICS),
            CONFIG: ConfigRecord({**config, "round": model.round, "trained-in": model.trained_in, "layout": layout}),
        }
    )


def model_of(content: RecordDict, layout: Layout) -> GlobalModel:
    """Return the model in a message from the server. A `DataError` if it does not fit this site's network."""
    config = content.config_records[CONFIG]
    if config["layout"] != layout.digest:
        raise DataError(
            f"message.layout must be {layout.digest[:12]}, got {str(config['layout'])[:12]}. "
            "The server and this site are configured with different networks."
        )
    parameters, statistics = (values(content.array_records[name][name]) for name in (PARAMETERS, STATISTICS))
    got = [(str(vector.dtype), vector.size) for vector in (parameters, statistics)]
    if got != [("float32", size) for size in layout.sizes]:
        raise DataError(f"message vectors must be float32 of sizes {layout.sizes}, got {got}. The server is at fault.")
    weights = Weights(parameters, statistics, layout)
    return GlobalModel(int(str(config["round"])), weights, int(str(config["trained-in"])))


def split_of(content: RecordDict) -> Split:
    """Return the split that a request to score names. A `DataError` if there is no such split."""
    split = str(content.config_records[CONFIG]["split"])
    one_of("message.split", split, get_args(Split), DataError)
    return cast(Split, split)


def training_of(content: RecordDict) -> LocalTraining:
    """Read the training settings of a message."""
    config = content.config_records[CONFIG]
    return LocalTraining(**{f.name: config[f.name] for f in fields(LocalTraining)})  # type: ignore[arg-type]


def reply(update: LocalUpdate, parameters: Mapping[str, NDArray[Any]]) -> RecordDict:
    """Return the content of a reply. `parameters` are as sent: `{PARAMETERS: whole}`, or compressed."""
    return RecordDict(
        {
            PARAMETERS: arrays(parameters),
            STATISTICS: vector(update.weights.statistics, STATISTICS),
            TABLES: arrays(update.tables),
            METRICS: MetricRecord(
                {
                    "round": update.round,
                    "examples": update.examples,
                    "oedema-examples": update.oedema_examples,
                    **({} if update.train_loss is None else {"train_loss": update.train_loss}),
                }
            ),
        }
    )


def update_of(content: MessageContent, start: Weights) -> LocalUpdate:
    """Return the update in a valid reply to a request with the weights `start`."""
    metrics, parameters = content.numbers[METRICS], content.arrays[PARAMETERS]
    compressed = SCALES in parameters
    return LocalUpdate(
        round=metrics["round"],
        weights=Weights(
            start.parameters + decode(parameters, start.layout) if compressed else parameters[PARAMETERS],
            content.arrays[STATISTICS][STATISTICS],
            start.layout,
        ),
        examples=metrics["examples"],
        oedema_examples=metrics["oedema-examples"],
        train_loss=metrics.get("train_loss"),
        tables=content.arrays[TABLES],
    )


def effects_of(tables: Tables) -> dict[str, float]:
    """Return the design effect of each metric; 1 for all if the site sent none."""
    return dict(zip(EFFECTS, tables.get(DESIGN_EFFECTS, np.ones(len(EFFECTS))).tolist(), strict=True))


def size(content: RecordDict) -> int:
    """Return the number of bytes of the arrays in a message."""
    return sum(len(array.data) for record in content.array_records.values() for array in record.values())
