"""What a site keeps from round to round: one vector a round, on disk."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from teledx_fed.core.files import write_array
from teledx_fed.core.weights import Vector

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoundState:
    """A vector for each round, so that a round that runs twice starts from the same state both times."""

    folder: Path

    def latest(self, round: int) -> Vector | None:
        """Return the vector of `round`, or with a warning that of the last round before it that has one."""
        earlier = [saved for saved in self._rounds() if saved <= round]
        if not earlier:
            return None
        if earlier[-1] != round:
            log.warning("%s has nothing of round %d and goes on from round %d", self.folder, round, earlier[-1])
        vector: Vector = np.load(self._path(earlier[-1]))
        return vector

    def save(self, round: int, vector: Vector) -> None:
        write_array(self._path(round), vector)

    def drop_before(self, round: int) -> None:
        """Delete what a run that resumes at `round` would not read."""
        for saved in [saved for saved in self._rounds() if saved <= round][:-1]:
            self._path(saved).unlink()

    def _rounds(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob("*.npy"))

    def _path(self, round: int) -> Path:
        return self.folder / f"{round}.npy"
