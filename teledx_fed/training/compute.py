"""Where the arithmetic happens."""

from collections.abc import Callable

import torch

from teledx_fed.settings import SimulationSettings


def device(settings: SimulationSettings, say: Callable[[str], None]) -> torch.device:
    """The device asked for, with threads set; `auto` takes a GPU where there is one and says where there is none."""
    torch.set_num_threads(settings.threads)
    torch.backends.cudnn.benchmark = False  # its choice of algorithm would differ from run to run
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("simulation.device must be a device of this machine, got cuda. Choose auto or cpu.")
    if settings.device == "cpu" or not torch.cuda.is_available():
        say(f"computing on the CPU with {settings.threads} threads" + _why(settings))
        return torch.device("cpu")
    say(f"computing on {torch.cuda.get_device_name()}")
    return torch.device("cuda")


def _why(settings: SimulationSettings) -> str:
    return "" if settings.device == "cpu" else ": no GPU was found"
