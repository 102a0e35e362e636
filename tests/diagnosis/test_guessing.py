"""Limits on password guesses, in rate and in parallel, that do not lock other users out."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Event, Lock
from time import sleep

import httpx
import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from serving import free_port, served

from teledx_fed.core.errors import RefusedError
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web import sessions
from teledx_fed.diagnosis.web.limits import MAX_KEYS, Busy, LogInLimits, Places, RateLimit, TooMany, network_of
from teledx_fed.diagnosis.web.passwords import hashed_password, is_mark, new_mark
from teledx_fed.diagnosis.web.sessions import Authenticator
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.store import Store, open_store
from teledx_fed.store.values import Role

PASSWORD = "correct horse battery"
CHEAP = PasswordHasher(1, 64, 1).hash(PASSWORD)
QUARTER = 900.0


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def store(tmp_path) -> Store:
    store = open_store("", tmp_path)
    for name in ("anna", "boris"):
        store.access.add_user(name, Role.READER, CHEAP)
    return store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authenticator(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Authenticator:
    monkeypatch.setattr(sessions, "NOBODY", CHEAP)
    return Authenticator(store.access, timedelta(hours=1), limits=LogInLimits(clock))


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except TooMany:
        return "wait"
    except RefusedError:
        return "wrong"
    return "in"


def guess(authenticator: Authenticator, address: str, times: int, name: str = "anna") -> list[str]:
    return [outcome(lambda: authenticator.log_in(name, "wrong", address)) for _ in range(times)]


def test_of_forty_concurrent_guesses_five_are_checked(authenticator: Authenticator) -> None:
    start = Barrier(40)

    def one(_: int) -> str:
        start.wait()
        return outcome(lambda: authenticator.log_in("anna", "wrong", "10.0.0.1"))

    with ThreadPoolExecutor(40) as pool:
        assert Counter(pool.map(one, range(40))) == {"wrong": 5, "wait": 35}


def test_wrong_passwords_block_neither_other_networks_nor_other_names(authenticator: Authenticator) -> None:
    assert guess(authenticator, "10.0.0.1", 40) == ["wrong"] * 5 + ["wait"] * 35
    assert authenticator.log_in("anna", PASSWORD, "10.0.0.2")
    assert authenticator.log_in("boris", PASSWORD, "10.0.0.1")
    with pytest.raises(TooMany, match="Wait 3 minutes"):
        authenticator.log_in("anna", PASSWORD, "10.0.0.1")


def test_wrong_passwords_elsewhere_do_not_block_a_browser_that_logged_in_before(authenticator: Authenticator) -> None:
    mark = new_mark(CHEAP)
    for number in range(50):
        guess(authenticator, f"10.0.{number}.1", 6)
    for number in range(120):
        guess(authenticator, "10.0.0.1", 1, f"nobody {number}")
    assert outcome(lambda: authenticator.log_in("anna", PASSWORD, "10.0.0.1")) == "wait"
    assert authenticator.log_in("anna", PASSWORD, "10.0.0.1", mark)
    assert guess(authenticator, "10.0.0.1", 1) == ["wait"]


def test_a_mark_is_for_one_user_has_its_own_limit_and_ends_with_the_password(authenticator: Authenticator) -> None:
    mark = new_mark(CHEAP)
    marked = [outcome(lambda: authenticator.log_in("anna", "wrong", "10.0.0.1", mark)) for _ in range(6)]
    assert marked == ["wrong"] * 5 + ["wait"]
    assert authenticator.log_in("anna", PASSWORD, "10.0.0.1")
    other = PasswordHasher(1, 64, 1).hash(PASSWORD)
    assert [is_mark(mark, each) for each in (CHEAP, other)] == [True, False]
    assert [is_mark(each, CHEAP) for each in ("", ".", f"other{mark}", "ä.ö")] == [False] * 4
    guess(authenticator, "10.0.0.3", 5)
    for forged in ("one.forged", "another.forged"):
        with pytest.raises(TooMany):
            authenticator.log_in("anna", "wrong", "10.0.0.3", forged)


def test_guesses_from_many_networks_or_of_many_names_are_slowed_down_but_not_locked_out(
    authenticator: Authenticator, clock: Clock
) -> None:
    everywhere = [outcome for number in range(20) for outcome in guess(authenticator, f"10.1.{number}.1", 2)]
    assert everywhere == ["wrong"] * 30 + ["wait"] * 10
    clock.time += 5
    assert authenticator.log_in("anna", PASSWORD, "10.9.9.9")
    many = [guess(authenticator, "10.2.0.1", 1, f"nobody {number}")[0] for number in range(110)]
    assert Counter(many) == {"wrong": 100, "wait": 10}
    clock.time += 1
    assert authenticator.log_in("boris", PASSWORD, "10.2.0.1")


def test_after_a_quarter_of_an_hour_the_limits_are_full_again(authenticator: Authenticator, clock: Clock) -> None:
    assert guess(authenticator, "10.0.0.1", 6)[-1] == "wait"
    clock.time += QUARTER
    assert guess(authenticator, "10.0.0.1", 6) == ["wrong"] * 5 + ["wait"]


def test_correct_passwords_do_not_use_up_the_limit(authenticator: Authenticator) -> None:
    assert {outcome(lambda: authenticator.log_in("anna", PASSWORD, "10.0.0.1")) for _ in range(12)} == {"in"}
    assert guess(authenticator, "10.0.0.1", 6) == ["wrong"] * 5 + ["wait"]


def test_a_session_may_guess_the_old_password_five_times(authenticator: Authenticator) -> None:
    (_, stolen), (_, session) = (authenticator.log_in("anna", PASSWORD, "10.0.0.1") for _ in range(2))
    change = [outcome(lambda: authenticator.change_password(stolen, "wrong", "another battery")) for _ in range(6)]
    assert change == ["wrong"] * 5 + ["wait"]
    authenticator.change_password(session, PASSWORD, "another battery")
    assert authenticator.log_in("anna", "another battery", "10.0.0.1")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_addresses_of_one_ipv6_network_share_a_limit(address: str, network: str) -> None:
    assert network_of(address) == network


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.booleans()), max_size=60))
def test_a_rate_limit_allows_a_burst_and_then_one_attempt_per_interval(events: list[tuple[str, int, bool]]) -> None:
    clock = Clock()
    limit, counted, began = RateLimit(3, 10, clock), Counter[str](), clock.time
    for key, passed, right in events:
        clock.time += passed
        if not limit.reserve(key):
            if right:
                limit.give_back(key)
            counted[key] += not right
        assert counted[key] <= 3 + (clock.time - began) / 10


def test_the_table_of_attempts_is_bounded_and_keeps_the_latest() -> None:
    limit = RateLimit(5, 180)
    for number in range(MAX_KEYS + 100):
        limit.reserve(number)
    assert len(limit) == MAX_KEYS
    assert [limit.reserve(MAX_KEYS + 99) > 0 for _ in range(5)] == [False] * 4 + [True]


def test_more_callers_than_places_are_refused_at_once() -> None:
    places, lock, go_on = Places(2, waiting=3), Lock(), Event()
    working, most = 0, 0

    def work(_: int) -> str:
        nonlocal working, most
        try:
            with places.place():
                with lock:
                    working += 1
                    most = max(most, working)
                go_on.wait()
                with lock:
                    working -= 1
        except Busy:
            return "busy"
        return "done"

    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(work, number) for number in range(12)]
        while sum(answer.done() for answer in answers) < 7:
            sleep(0.001)
        go_on.set()
        assert (Counter(answer.result() for answer in answers), most) == ({"done": 5, "busy": 7}, 2)


def memory(field: str) -> int:
    """Return a memory field of this process, in MiB."""
    with open("/proc/self/status") as status:  # noqa: PTH123
        return next(int(line.split()[1]) >> 10 for line in status if line.startswith(field))


@pytest.mark.slow
def test_under_a_flood_of_guesses_memory_is_bounded_and_users_can_log_in(clinic: Clinic) -> None:
    clinic.store.access.add_user("anna", Role.READER, hashed_password(PASSWORD))
    with served(clinic, DiagnosisSettings(port=free_port())) as address, httpx.Client(base_url=address) as user:
        assert user.post("/login", data={"name": "anna", "password": PASSWORD}).status_code == 303
        before = memory("VmRSS")

        def one(number: int) -> int:
            named = {"name": f"nobody {number}", "password": "wrong", "x": "x" * 10_000}
            return httpx.post(f"{address}/login", data=named, timeout=60).status_code

        with ThreadPoolExecutor(40) as pool:
            fired = pool.map(one, range(160))
            sleep(0.2)
            again = user.post("/login", data={"name": "anna", "password": PASSWORD}, timeout=60)
            answers = Counter(fired)
        assert again.status_code == 303
        assert set(answers) <= {401, 503}
        assert memory("VmHWM") - before < 400, "three hashes at a time, of 64 MiB"
