import re

from hypothesis import given
from hypothesis import strategies as st

from teledx_fed.deployment.server.web.curve import BOTTOM, LEFT, MOST_DOTS, RIGHT, TOP, curve


def test_a_curve_by_hand() -> None:
    drawn = curve([(0, 0.5), (1, 0.6), (2, 0.7)])
    assert drawn
    assert drawn.line == "M36 172L200 92L364 12"
    assert drawn.heights == ((172, "0.50"), (132, "0.55"), (92, "0.60"), (52, "0.65"), (12, "0.70"))
    assert drawn.rounds == ((36, "0"), (200, "1"), (364, "2"))
    assert drawn.last == ((364, 12), "0.700")
    assert drawn.told == "from 0.500 after round 0 to 0.700 after round 2"


def test_a_round_that_nobody_scored_breaks_the_line() -> None:
    drawn = curve([(0, 0.5), (1, None), (2, 0.6), (3, 0.7)])
    assert drawn
    assert [part[0] for part in re.findall(r"[ML][^ML]+", drawn.line)] == ["M", "M", "L"]


def test_nothing_scored_is_no_curve() -> None:
    assert curve([]) is None
    assert curve([(0, None)]) is None


def test_the_initial_model_alone_is_a_dot() -> None:
    drawn = curve([(0, 0.5)])
    assert drawn
    assert drawn.rounds == ((LEFT, "0"),)
    assert drawn.last[0][0] == LEFT


@given(st.lists(st.none() | st.floats(-1, 1), min_size=1, max_size=300))
def test_every_curve_lies_in_its_frame(values: list[float | None]) -> None:
    drawn = curve(list(enumerate(values)))
    if drawn is None:
        assert set(values) == {None}
        return
    places = [tuple(map(float, place)) for place in re.findall(r"[ML](\S+) ([^ML]+)", drawn.line)]
    assert len(places) == sum(value is not None for value in values)
    assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in places)
    assert 2 <= len(drawn.heights) <= 6
    assert len({text for _, text in drawn.heights}) == len(drawn.heights)
    assert 1 <= len(drawn.rounds) <= 7
    assert len(drawn.dots) <= MOST_DOTS
