import pytest

from teledx_fed.core.clock import Clock


def test_simultaneous_work_of_two_workers_is_not_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker trains from 1 to 4 s, another evaluates from 2 to 5 s; none works from 0 to 1 s and from 5 to 6 s."""
    now = [0.0]
    monkeypatch.setattr("teledx_fed.core.clock.time.monotonic", lambda: now[0])
    clock = Clock()
    training, evaluation = clock("training"), clock("evaluation")
    for moment, step in ((1, training.__enter__), (2, evaluation.__enter__)):
        now[0] = moment
        step()
    now[0] = 4
    training.__exit__(None, None, None)
    now[0] = 5
    evaluation.__exit__(None, None, None)
    now[0] = 6
    assert clock.seconds() == {"total": 6, "preparation": 0, "training": 3, "evaluation": 3, "overhead": 2}
