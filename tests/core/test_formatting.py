import pytest

from teledx_fed.core.formatting import duration, number, size


@pytest.mark.parametrize(
    ("value", "text"), [(0.125, "0.12"), (-0.126, "−0.13"), (-0.001, "0.00"), (None, "–"), (1.0, "1.00")]
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_number_may_show_its_sign() -> None:
    assert [number(value, "+.2f") for value in (0.5, -0.5, -0.001)] == ["+0.50", "−0.50", "+0.00"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (15_500_000, "15.5 MB"), (2e16, "20000.0 TB")]
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.34, "8.3 s"), (59.97, "1 min 00 s"), (731, "12 min 11 s"), (7384, "2 h 03 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
