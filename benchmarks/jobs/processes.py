"""Processes, ports and synthetic photographs of a federation on this machine."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from teledx_fed.core.examples import GRADES
from teledx_fed.core.randomness import generator


def draw_photographs(folder: Path, name: str, patients: int, side: int = 64) -> None:
    """Write photographs of noise in a disc, whose brightness depends on the grade, in the layout `folder`."""
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    disc = (rows**2 + columns**2 < (side / 2 - 2) ** 2)[..., None]
    for patient in range(patients):
        grade = patient % GRADES
        noise = generator(0, name, patient, "photograph").integers(0, 60, (side, side, 3))
        (folder / str(grade)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(((noise + 35 * grade) * disc).astype(np.uint8)).save(
            folder / str(grade) / f"{name}-{patient}.png"
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descendants(process: int) -> Iterator[int]:
    """Yield the descendants of a process. Threads and processes that end in between are ignored."""
    for children in Path(f"/proc/{process}").glob("task/*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in map(int, children.read_text().split()):
                yield child
                yield from descendants(child)


def command_line(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
