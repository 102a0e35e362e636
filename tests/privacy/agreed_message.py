"""A message as agreed, and ways to spoil it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from teledx_fed.core.examples import Example
from teledx_fed.evaluation.predictions import predictions
from teledx_fed.evaluation.tables import table
from teledx_fed.federation.replies import score_tables as tables_spec
from teledx_fed.privacy.message_spec import (
    MessageContent,
    MessageSpec,
    ValueSpec,
    weights,
)

EYES, MOST_EYES = 20, 30


SPEC = MessageSpec(
    arrays={
        "parameters": weights({"parameters": ("int8", (6,)), "scales": ("float32", (2,))}),
        "statistics": weights({"statistics": ("float32", (4,))}),
        "tables": tables_spec("grade", 5, MOST_EYES, effects={"design_effects": 3}),
    },
    numbers={
        "metrics": {
            "round": ValueSpec("int64", low=3, high=3),
            "examples": ValueSpec("int64", low=1, high=100),
            "train_loss": ValueSpec("float64", low=0, high=1e6, decimals=2),
        }
    },
)


def score_tables() -> dict[str, np.ndarray]:
    examples = [Example(None, n % 5, str(n)) for n in range(EYES)]  # type: ignore[arg-type]
    drawn = np.random.default_rng(0).dirichlet(np.ones(5), EYES)
    scored = predictions(examples, drawn)
    tables = table(scored, scored.referable_score >= 0.5, min_patients=1)
    return {**tables, "design_effects": np.array([1, 1.25, 1.5])}


def honest() -> MessageContent:
    return MessageContent(
        arrays={
            "parameters": {
                "parameters": np.array([-127, 0, 1, 2, 3, 127], np.int8),
                "scales": np.array([0.5, 0], np.float32),
            },
            "statistics": {"statistics": np.array([-0.0, 1e-30, 1, 3e4], np.float32)},
            "tables": score_tables(),
        },
        numbers={"metrics": {"round": 3, "examples": 100, "train_loss": 0.29}},
    )


Spoil = Callable[[Any], object]


def array(record: str, name: str, value: object) -> Spoil:
    return lambda arrays: arrays.arrays[record].__setitem__(name, value)


def number(name: str, value: object) -> Spoil:
    return lambda message: message.numbers["metrics"].__setitem__(name, value)


def spoilt(spoil: Spoil) -> MessageContent:
    message = honest()
    spoil(message)
    return message
