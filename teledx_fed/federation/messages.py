"""Messages of a round as Flower records: the model to a site, and its update to the server."""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from teledx_fed.core.errors import DataError
from teledx_fed.core.updates import GlobalModel, LocalTraining, LocalUpdate, Tables
from teledx_fed.core.weights import Layout, Weights
from teledx_fed.evaluation.tables import EFFECTS
from teledx_fed.federation import compression

PARAMETERS, STATISTICS, TABLES, CONFIG, METRICS = "parameters", "statistics", "tables", "config", "metrics"
DESIGN_EFFECTS = "design_effects"
NUMPY = "numpy.ndarray"
LOSS_DECIMALS, LARGEST_LOSS = 2, 10.0
"""Rounding and limit of a loss: it reveals at most ten bits in each round."""


def vector(array: NDArray[Any], name: str) -> ArrayRecord:
    """Return a record of one array."""
    return arrays({name: array})


def arrays(named: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    return ArrayRecord({name: _packed(np.ascontiguousarray(array)) for name, array in named.items()})


def _packed(array: NDArray[Any]) -> Array:
    """Pack an array as Flower does, with one copy instead of three."""
    dtype, shape = str(array.dtype), array.shape
    return Array(dtype, shape, NUMPY, b"".join((header(dtype, shape), array.data.cast("B") if array.size else b"")))


def values(array: Array) -> NDArray[Any]:
    """Return a read-only view of the array's bytes in the message, without parsing or copying them."""
    shape = tuple(array.shape)
    return np.frombuffer(array.data, np.dtype(array.dtype), offset=len(header(array.dtype, shape))).reshape(shape)


def well_formed(array: Array) -> bool:
    """Return whether the bytes are exactly those of an array of this dtype and shape, and no more."""
    try:
        dtype, shape = np.dtype(array.dtype), tuple(array.shape)
    except TypeError:
        return False
    if array.stype != NUMPY or str(dtype) != array.dtype or dtype.hasobject or min(shape, default=0) < 0:
        return False
    start = header(array.dtype, shape)
    return len(array.data) == len(start) + math.prod(shape) * dtype.itemsize and array.data.startswith(start)


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


def score_request(model: GlobalModel, split: str) -> RecordDict:
    """Return the content of a request to score the model on `split`: "validation" or "test"."""
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


def training_of(content: RecordDict) -> LocalTraining:
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


def update_of(content: RecordDict, start: Weights) -> LocalUpdate:
    """Decode a valid reply to a request with the weights `start`."""
    told: Mapping[str, Any] = content.metric_records[METRICS]
    sent = {name: values(array) for name, array in content.array_records[PARAMETERS].items()}
    compressed = compression.SCALES in sent
    parameters = start.parameters + compression.decode(sent, start.layout) if compressed else sent[PARAMETERS]
    return LocalUpdate(
        round=told["round"],
        weights=Weights(parameters, values(content.array_records[STATISTICS][STATISTICS]), start.layout),
        examples=told["examples"],
        oedema_examples=told["oedema-examples"],
        train_loss=told.get("train_loss"),
        tables=tables_of(content),
    )


def effects_of(tables: Tables) -> dict[str, float]:
    """Return the design effect of each metric; 1 for all if the site sent none."""
    return dict(zip(EFFECTS, tables.get(DESIGN_EFFECTS, np.ones(len(EFFECTS))).tolist(), strict=True))


def tables_of(content: RecordDict) -> dict[str, NDArray[np.float64]]:
    return {name: values(array) for name, array in content.array_records[TABLES].items()}


def size(content: RecordDict) -> int:
    """Return the number of bytes of the arrays in a message."""
    return sum(len(array.data) for record in content.array_records.values() for array in record.values())
