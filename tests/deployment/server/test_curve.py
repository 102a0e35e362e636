import re

from hypothesis import given
from hypothesis import strategies as st

from teledx_fed.deployment.server.web.curve import BOTTOM, LEFT, MOST_DOTS, RIGHT, TOP, curve


def test_a_curve_by_hand() -> None:
    plot = curve([(0, 0.5), (1, 0.6), (2, 0.7)])
    assert plot
    assert plot.line == "M36 172L200 92L364 12"
    assert plot.heights == ((172, "0.50"), (132, "0.55"), (92, "0.60"), (52, "0.65"), (12, "0.70"))
    assert plot.rounds == ((36, "0"), (200, "1"), (364, "2"))
    assert plot.last == ((364, 12), "0.700")
    assert plot.summary == "from 0.500 after round 0 to 0.700 after round 2"


def test_a_round_without_scores_breaks_the_line() -> None:
    plot = curve([(0, 0.5), (1, None), (2, 0.6), (3, 0.7)])
    assert plot
    assert [part[0] for part in re.findall(r"[ML][^ML]+", plot.line)] == ["M", "M", "L"]


def test_without_scores_there_is_no_curve() -> None:
    assert curve([]) is None
    assert curve([(0, None)]) is None


def test_the_initial_model_alone_is_a_dot() -> None:
    plot = curve([(0, 0.5)])
    assert plot
    assert plot.rounds == ((LEFT, "0"),)
    assert plot.last[0][0] == LEFT


@given(st.lists(st.none() | st.floats(-1, 1), min_size=1, max_size=300))
def test_every_curve_is_inside_its_frame(values: list[float | None]) -> None:
    plot = curve(list(enumerate(values)))
    if plot is None:
        assert set(values) == {None}
        return
    places = [tuple(map(float, place)) for place in re.findall(r"[ML](\S+) ([^ML]+)", plot.line)]
    assert len(places) == sum(value is not None for value in values)
    assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in places)
    assert 2 <= len(plot.heights) <= 6
    assert len({text for _, text in plot.heights}) == len(plot.heights)
    assert 1 <= len(plot.rounds) <= 7
    assert len(plot.dots) <= MOST_DOTS
