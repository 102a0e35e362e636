"""Norm check of the first round's updates, against their median after all have arrived."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np

from teledx_fed.core.weights import Weights
from teledx_fed.federation.validation import ValidUpdate, too_far


@dataclass
class UpdateBuffer:
    """Buffer of updates, with weights as files in `folder`: memory does not grow with the number of sites."""

    folder: Path
    start: Weights
    _updates: dict[str, ValidUpdate] = field(default_factory=dict)

    def add(self, site: str, accepted: ValidUpdate) -> None:
        weights = accepted.update.weights
        np.save(self.folder / f"{len(self._updates)}.parameters.npy", weights.parameters)
        np.save(self.folder / f"{len(self._updates)}.statistics.npy", weights.statistics)
        self._updates[site] = replace(accepted, update=replace(accepted.update, weights=self.start))

    def too_far(self, multiple: float) -> dict[str, str]:
        """Return the reason for each site whose update moved by more than `multiple` times the median of all sites."""
        if not self._updates:
            return {}
        parameters, statistics = (median(norms) for norms in zip(*self._distances().values(), strict=True))
        limits = (multiple * parameters, multiple * statistics)
        reasons = {site: too_far(distances, limits) for site, distances in self._distances().items()}
        return {site: reason for site, reason in reasons.items() if reason is not None}

    def read(self) -> Iterator[tuple[str, ValidUpdate]]:
        """Yield each site with its update; one update is in memory at a time."""
        for number, (site, accepted) in enumerate(self._updates.items()):
            parameters = np.load(self.folder / f"{number}.parameters.npy")
            statistics = np.load(self.folder / f"{number}.statistics.npy")
            weights = Weights(parameters, statistics, self.start.layout)
            yield site, replace(accepted, update=replace(accepted.update, weights=weights))

    def _distances(self) -> dict[str, tuple[float, float]]:
        return {site: accepted.distances for site, accepted in self._updates.items()}
