import pytest

from teledx_fed.core.clock import Clock


def test_simultaneous_work_of_two_workers_is_not_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    """One trains from 1 to 4 s, another scores from 2 to 5 s; no worker is busy from 0 to 1 and from 5 to 6 s."""
    now = [0.0]
    monkeypatch.setattr("teledx_fed.core.clock.time.monotonic", lambda: now[0])
    clock = Clock()
    one, other = clock("training"), clock("evaluation")
    for moment, step in ((1, one.__enter__), (2, other.__enter__)):
        now[0] = moment
        step()
    now[0] = 4
    one.__exit__(None, None, None)
    now[0] = 5
    other.__exit__(None, None, None)
    now[0] = 6
    assert clock.seconds() == {"total": 6, "preparation": 0, "training": 3, "evaluation": 3, "overhead": 2}
