"""What a site keeps from round to round."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from teledx_fed.core.files import write_array
from teledx_fed.core.weights import Vector

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keepsakes:
    """One vector a round, so that a round asked for twice finds what it found the first time."""

    folder: Path

    def latest(self, round: int) -> Vector | None:
        """That of `round`, or of the last round before it that left one; said where it is missing."""
        earlier = [kept for kept in self._rounds() if kept <= round]
        if not earlier:
            return None
        if earlier[-1] != round:
            log.warning("%s has nothing of round %d and goes on from round %d", self.folder, round, earlier[-1])
        found: Vector = np.load(self._path(earlier[-1]))
        return found

    def keep(self, round: int, vector: Vector) -> None:
        write_array(self._path(round), vector)

    def forget_before(self, round: int) -> None:
        """All that a run resumed at `round` would not look at."""
        for kept in [kept for kept in self._rounds() if kept <= round][:-1]:
            self._path(kept).unlink()

    def _rounds(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob("*.npy"))

    def _path(self, round: int) -> Path:
        return self.folder / f"{round}.npy"
