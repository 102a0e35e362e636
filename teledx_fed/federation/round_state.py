"""State of a site between rounds: one vector for each round, on disk."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from teledx_fed.core.files import write_array
from teledx_fed.core.weights import Vector

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoundState:
    """Vectors by round, so that a round that runs twice starts from the same state both times."""

    folder: Path

    def latest(self, round: int) -> Vector | None:
        """Return the vector of `round`, or, with a warning, of the last saved round before it; else None."""
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
        """Delete the vectors that a run resumed at `round` does not read."""
        for saved in [saved for saved in self._rounds() if saved <= round][:-1]:
            self._path(saved).unlink()

    def _rounds(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob("*.npy"))

    def _path(self, round: int) -> Path:
        return self.folder / f"{round}.npy"
