"""Rate limits for attempts: a burst, then one per interval. Each table of attempts has a bounded size."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from threading import BoundedSemaphore, Lock
from time import monotonic

from cachetools import TTLCache

from teledx_fed.core.errors import RefusedError, UnavailableError

MAX_KEYS = 10_000
"""A full table drops its least recently used key."""
LONGEST_NAME = 200
IPV6_PREFIX = 64
"""Bits of an IPv6 address that identify a network; a host can choose the others freely."""


class TooMany(RefusedError):
    """Too many attempts; the next is allowed in `seconds`."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Busy(UnavailableError):
    """All places are in use."""


class RateLimit:
    """`burst` attempts at once, then one every `seconds`: the generic cell rate algorithm (ITU-T I.371).

    It stores one number for each key: the time at which the next attempt would be on schedule.
    """

    def __init__(self, burst: int, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self._seconds, self._tolerance, self._clock = seconds, (burst - 1) * seconds, clock
        self._schedule: TTLCache[Hashable, float] = TTLCache(MAX_KEYS, ttl=burst * seconds, timer=clock)
        self._lock = Lock()

    def reserve(self, key: Hashable) -> float:
        """Count an attempt and return 0; or return the seconds to wait, and count none."""
        with self._lock:
            now = self._clock()
            due = max(now, self._schedule.get(key, now))
            if due - now > self._tolerance:
                return due - now - self._tolerance
            self._schedule[key] = due + self._seconds
            return 0.0

    def give_back(self, key: Hashable) -> None:
        with self._lock:
            if key in self._schedule:
                self._schedule[key] -= self._seconds

    def __len__(self) -> int:
        return len(self._schedule)


Counted = list[tuple[RateLimit, Hashable]]


class LogInLimits:
    """Limits of log-in attempts.

    A browser in which this user logged in before has its own limit, which nobody else can use up. Other browsers share
    limits: a strict one for a name from one network, and wide ones for a name from anywhere and for a network with any
    name. So one person can slow others down, but cannot lock them out.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.browser, self.session, self.name_and_network = (RateLimit(5, 180, clock) for _ in range(3))
        self.name, self.network = RateLimit(30, 5, clock), RateLimit(100, 1, clock)
        self.provider = RateLimit(30, 1, clock)

    @contextmanager
    def log_in(self, name: str, address: str, mark: str) -> Iterator[None]:
        """Limit a log-in; `mark` is the valid mark of the user's browser, or empty."""
        name, network = name[:LONGEST_NAME], network_of(address)
        shared: Counted = [(self.name_and_network, (name, network)), (self.name, name), (self.network, network)]
        with self._attempt([(self.browser, mark)] if mark else shared):
            yield

    @contextmanager
    def in_session(self, session: str) -> Iterator[None]:
        with self._attempt([(self.session, session)]):
            yield

    def with_provider(self, address: str) -> None:
        if wait := self.provider.reserve(network_of(address)):
            raise TooMany(f"too many log-ins at the same time from here. Wait {_duration(wait)}.", wait)

    @contextmanager
    def _attempt(self, keys: Counted) -> Iterator[None]:
        """Count an attempt before the block; undo that unless the block refuses the password."""
        _reserve(keys)
        try:
            yield
        except Busy:
            _give_back(keys)
            raise
        else:
            _give_back(keys)


def _reserve(keys: Counted) -> None:
    for number, (limit, key) in enumerate(keys):
        if wait := limit.reserve(key):
            _give_back(keys[:number])
            raise TooMany(f"too many wrong passwords. Wait {_duration(wait)}.", wait)


def _give_back(keys: Counted) -> None:
    for limit, key in keys:
        limit.give_back(key)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{max(1, round(seconds))} seconds"


def network_of(address: str) -> str:
    """Return an IPv4 address, or the network of an IPv6 address; leave other text unchanged."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX)))


class Places:
    """Places for `at_once` callers; `waiting` more wait for their turn, and the others get `Busy`."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._working, self._inside = BoundedSemaphore(at_once), BoundedSemaphore(at_once + waiting)

    @contextmanager
    def place(self) -> Iterator[None]:
        if not self._inside.acquire(blocking=False):
            raise Busy("too many log in at the same time. Try again in a few seconds.")
        try:
            with self._working:
                yield
        finally:
            self._inside.release()
