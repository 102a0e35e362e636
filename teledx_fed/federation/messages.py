"""What crosses the network, as Flower records: a model down, an update up."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from teledx_fed.records import GlobalModel, LocalTraining, LocalUpdate
from teledx_fed.weights import Layout, Weights

PARAMETERS, STATISTICS, TABLES, CONFIG, METRICS = "parameters", "statistics", "tables", "config", "metrics"


def vector(values: NDArray[Any], name: str) -> ArrayRecord:
    """A record of one array."""
    return ArrayRecord({name: Array(np.ascontiguousarray(values))})


def asking(model: GlobalModel, asked: LocalTraining) -> ConfigRecord:
    """Flat scalars beside the model; `layout` lets a site see that it lays out the same tensors."""
    return ConfigRecord({**asdict(asked), "round": model.round, "layout": model.weights.layout.digest})


def model_of(content: RecordDict, layout: Layout) -> GlobalModel:
    """The model in a message from the server; a `ValueError` where it is not one for this site's network."""
    config = content.config_records[CONFIG]
    if config["layout"] != layout.digest:
        raise ValueError(
            f"message.layout must be {layout.digest[:12]}, got {str(config['layout'])[:12]}. "
            "The server and this site are configured with different networks."
        )
    parameters = content.array_records[PARAMETERS][PARAMETERS].numpy()
    statistics = content.array_records[STATISTICS][STATISTICS].numpy()
    return GlobalModel(int(str(config["round"])), Weights(parameters, statistics, layout))


def training_of(content: RecordDict) -> LocalTraining:
    config = content.config_records[CONFIG]
    return LocalTraining(**{f.name: config[f.name] for f in fields(LocalTraining)})  # type: ignore[arg-type]


def reply(update: LocalUpdate) -> RecordDict:
    return RecordDict(
        {
            PARAMETERS: vector(update.weights.parameters, PARAMETERS),
            STATISTICS: vector(update.weights.statistics, STATISTICS),
            TABLES: ArrayRecord({name: Array(table) for name, table in update.tables.items()}),
            METRICS: MetricRecord(
                {
                    "round": update.round,
                    "examples": update.examples,
                    "oedema-examples": update.oedema_examples,
                    "train_loss": update.train_loss,
                }
            ),
        }
    )


def update_of(content: RecordDict, layout: Layout) -> LocalUpdate:
    """Decode a reply that was vetted."""
    metrics: Mapping[str, Any] = content.metric_records[METRICS]
    parameters = content.array_records[PARAMETERS][PARAMETERS].numpy()
    statistics = content.array_records[STATISTICS][STATISTICS].numpy()
    return LocalUpdate(
        round=metrics["round"],
        weights=Weights(parameters, statistics, layout),
        examples=metrics["examples"],
        oedema_examples=metrics["oedema-examples"],
        train_loss=metrics["train_loss"],
        tables=tables_of(content),
    )


def tables_of(content: RecordDict) -> dict[str, NDArray[np.float64]]:
    return {name: array.numpy() for name, array in content.array_records[TABLES].items()}


def size(content: RecordDict) -> int:
    """Bytes of the arrays in a message."""
    return sum(len(array.data) for record in content.array_records.values() for array in record.values())
