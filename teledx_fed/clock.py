"""Where the seconds of a run went."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Starts when it is made; what no phase accounts for is overhead."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._phases: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._phases[phase] += time.monotonic() - began

    def seconds(self) -> dict[str, float]:
        total = time.monotonic() - self._began
        phases = {name: self._phases[name] for name in ("preparation", "training", "evaluation")}
        return {"total": total, **phases, "overhead": total - sum(phases.values())}
