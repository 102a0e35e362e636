"""Measure the time of a run by phase."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

PHASES = ("preparation", "training", "evaluation")


class Clock:
    """Clock that starts when it is made. Phases of several workers add up; overhead is time outside all phases."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._phases: defaultdict[str, float] = defaultdict(float)
        self._lock = Lock()
        self._at_work = 0
        self._since = self._busy = 0.0

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        with self._lock:
            self._since = self._since if self._at_work else began
            self._at_work += 1
        try:
            yield
        finally:
            ended = time.monotonic()
            with self._lock:
                self._at_work -= 1
                self._busy += 0.0 if self._at_work else ended - self._since
                self._phases[phase] += ended - began

    def seconds(self) -> dict[str, float]:
        total = time.monotonic() - self._began
        return {"total": total, **{name: self._phases[name] for name in PHASES}, "overhead": total - self._busy}
