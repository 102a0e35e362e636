"""A hostile server, as the server app of a bundle: forbidden requests to a hospital."""

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from teledx_fed.config.loading import build
from teledx_fed.config.settings import Settings
from teledx_fed.core.updates import GlobalModel
from teledx_fed.deployment.server.settings import FOLDER_VARIABLE
from teledx_fed.federation import messages as wire
from teledx_fed.model.network import build as build_network
from teledx_fed.training.worker import Worker

HUGE = "HOSTILE_GIB"
"""The environment variable with the size of a payload (GiB); if it is set, this is the only request."""
SECONDS = 300.0 if HUGE in os.environ else 120.0

app = ServerApp()


class Bomb:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(victim()), "w")


def victim() -> Path:
    return Path(os.environ[FOLDER_VARIABLE]).parent / "written by the server's payload"


def honest(settings: Settings, **changes: int | str) -> RecordDict:
    start = Worker(build_network(settings.model, settings.seed)).initial.weights
    training = replace(settings.local_training(1), **changes)  # type: ignore[arg-type]
    return wire.train_request(GlobalModel(1, start, 0), training)


def crafted(settings: Settings, shift: float = 0.1) -> RecordDict:
    content = honest(settings)
    shifted = wire.values(content.array_records[wire.PARAMETERS][wire.PARAMETERS]) + np.float32(shift)
    content[wire.PARAMETERS] = wire.vector(shifted, wire.PARAMETERS)
    return content


def test_scores(settings: Settings, shift: float) -> RecordDict:
    content = crafted(settings, shift)
    content[wire.CONFIG] = ConfigRecord({**content.config_records[wire.CONFIG], "split": "test"})
    return content


def with_parameters(settings: Settings, array: Array) -> RecordDict:
    content = honest(settings)
    content[wire.PARAMETERS] = ArrayRecord({wire.PARAMETERS: array})
    return content


def with_code(settings: Settings) -> RecordDict:
    content = honest(settings)
    content["code"] = ConfigRecord({"train": f"open({str(victim())!r}, 'w').close()"})
    return content


def pickled() -> Array:
    return Array("object", (1,), wire.NUMPY, pickle.dumps(Bomb()))


Demands = dict[str, tuple[str, Callable[[Settings], RecordDict]]]
DEMANDS: Demands = {
    "more epochs": ("train", lambda settings: honest(settings, epochs=50)),
    "plain gradients": ("train", lambda settings: honest(settings, optimizer="sgd", batch_size=4096)),
    "a first model of its own": ("train", crafted),
    "raw features": ("query.features", honest),
    "photographs": ("query.photographs", honest),
    "a function by its name": ("train.exec", with_code),
    "nothing at all": ("train", lambda settings: RecordDict()),
    "a pickled payload": ("train", lambda settings: with_parameters(settings, pickled())),
    "wrong shapes": ("train", lambda settings: with_parameters(settings, wire.vector(np.ones(3, "f4"), "a")["a"])),
    "test scores of a model": ("evaluate", lambda settings: test_scores(settings, 0.0)),
    "test scores of another": ("evaluate", lambda settings: test_scores(settings, 0.1)),
}


def huge(settings: Settings) -> RecordDict:
    size = int(float(os.environ[HUGE]) * 2**28)
    return with_parameters(settings, wire.vector(np.ones(size, np.float32), "a")["a"])


@app.main()
def main(grid: Grid, context: Context) -> None:
    settings = build(json.loads(str(context.run_config["settings"])))
    demands: Demands = {"huge": ("train", huge)} if HUGE in os.environ else DEMANDS
    (node,) = grid.get_node_ids()
    answers = {}
    for name, (kind, content) in demands.items():
        message = Message(content(settings), dst_node_id=node, message_type=kind)
        replies = list(grid.send_and_receive([message], timeout=SECONDS))
        answers[name] = [reply.error.reason if reply.has_error() else sorted(reply.content) for reply in replies]
    file = Path(os.environ[FOLDER_VARIABLE]) / f"{context.run_config['run']}.json"
    file.with_suffix(".part").write_text(json.dumps(answers))
    file.with_suffix(".part").replace(file)
