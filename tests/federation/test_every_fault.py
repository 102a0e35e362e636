"""Every strategy with every fault: no fault ends a run, and a killed and resumed run gives the same models."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest

from teledx_fed.config.federation import FAULTS
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.federation.simulation import CHECKPOINT
from teledx_fed.federation.strategies.registry import STRATEGIES

NAMES = tuple(f"site-{letter}" for letter in "abcdefg")
ROUNDS = 4
LONGEST = 300


def run(settings: Settings, sites: dict[str, Site], folder: Path) -> None:
    """Run a federation in another process, which the test can kill."""
    import torch

    from teledx_fed.federation.simulation import federate
    from teledx_fed.model.network import build
    from teledx_fed.training.worker import Worker

    torch.set_num_threads(1)
    federate(sites, [Worker(build(settings.model, settings.seed))], settings, folder)


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Fork processes from one that has imported all modules, so that each starts in 0.01 s."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["teledx_fed.federation.simulation", "teledx_fed.model.network", "torch"])
    return context


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_killed_run_ends_with_the_same_weights_under_every_fault(
    strategy: str,
    context: ForkServerContext,
    tiny_settings: Callable[..., Settings],
    tiny_site: Callable[..., Site],
    tmp_path: Path,
) -> None:
    sites = {name: tiny_site(name, 3) for name in NAMES}
    drawn = np.random.default_rng([ord(letter) for letter in strategy])
    killed_at = []
    for kind in FAULTS:
        settings = tiny_settings(
            strategy__name=strategy,
            federation__rounds=ROUNDS,
            federation__quorum=7,
            federation__norm_limit=5.0,
            faults__kinds=[kind],
            faults__sites=["site-c"],
            faults__share=0.7,
            training__batch_size=4,
        )
        whole, killed = (tmp_path / kind / name for name in ("whole", "killed"))
        seconds = finished(context, settings, sites, whole)
        process = context.Process(target=run, args=(settings, sites, killed))
        process.start()
        process.join(timeout=float(drawn.uniform(0.1, 0.9)) * seconds)
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed_at.append((killed / CHECKPOINT).exists() and not (killed / "last.safetensors").exists())
        finished(context, settings, sites, killed)
        for name in ("model", "last"):
            one, other = ((folder / f"{name}.safetensors").read_bytes() for folder in (whole, killed))
            assert one == other, f"{strategy} under {kind}"
        assert len((killed / "rounds.jsonl").read_text().splitlines()) == ROUNDS + 1
    assert any(killed_at), "no kill came between two rounds"


def finished(context: ForkServerContext, settings: Settings, sites: dict[str, Site], folder: Path) -> float:
    began = time.monotonic()
    process = context.Process(target=run, args=(settings, sites, folder))
    process.start()
    process.join(timeout=LONGEST)
    assert process.exitcode == 0
    return time.monotonic() - began
