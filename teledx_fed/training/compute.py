"""Device and threads of the computation."""

import ctypes
import sys

import torch

from teledx_fed.config.settings import Settings
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.reports import Reporter
from teledx_fed.model.network import Grader
from teledx_fed.model.runtime import has_cuda

GLIBC_KEEPS = {-3: 32 * 2**20, -1: 2**31 - 1}
"""M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h, in bytes: glibc keeps freed memory for the next step."""


def place(network: Grader, settings: Settings, reporter: Reporter, number: int = 0) -> Grader:
    """Move the network to the device of the settings, the GPU by `number`, and compile it if the settings ask."""
    chosen = device(settings, reporter)
    network = network.to(torch.device("cuda", number % torch.cuda.device_count()) if chosen.type == "cuda" else chosen)
    if network.device.type == "cuda" and network.has_frozen_stages and not has_cuda():
        reporter.message(
            "onnxruntime has no CUDA provider: frozen parts are computed on the CPU (install onnxruntime-gpu)"
        )
    if settings.simulation.compile:
        reporter.message(
            "compiling the network takes minutes, spread over its first steps; from then on a step takes about 3/4"
        )
        network.compile_learned()
    return network


def device(settings: Settings, reporter: Reporter) -> torch.device:
    """Set the threads and return the device of the settings; `auto` is a GPU if there is one."""
    choice = settings.simulation.device
    torch.set_num_threads(settings.simulation.threads)
    _keep_freed_memory()
    torch.backends.cudnn.benchmark = False  # it may choose another algorithm in each run
    if choice == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("simulation.device must be a device of this machine, got cuda. Choose auto or cpu.")
    if choice != "cpu" and torch.cuda.is_available():
        reporter.message(f"computing on {torch.cuda.get_device_name()}")
        return torch.device("cuda")
    reporter.message(
        f"computing on the CPU, threads: {settings.simulation.threads}" + ("" if choice == "cpu" else "; no GPU found")
    )
    if settings.training.mixed_precision:
        reporter.message("training.mixed_precision needs a GPU: computing in float32")
    return torch.device("cpu")


def _keep_freed_memory() -> None:
    """Keep freed memory (glibc only): to get it again page by page takes a tenth of the time of a step on a CPU."""
    if sys.platform == "linux" and (tune := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        for parameter, value in GLIBC_KEEPS.items():
            tune(parameter, value)
