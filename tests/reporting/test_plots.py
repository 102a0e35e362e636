from invented_run import estimate

from teledx_fed.reporting.plots import bars, forest, span


def test_forests_share_an_axis_that_holds_every_interval_and_zero() -> None:
    low, high = span([estimate(0.1, 0.02), estimate(0.2, 0.1) | {"sites": 4}, None])
    assert -0.1 < low < 0
    assert 0.3 < high < 0.4


def test_an_axis_without_any_difference_still_has_a_width() -> None:
    low, high = span([None])
    assert low < 0 < high


def test_a_site_whose_metric_is_undefined_keeps_its_row() -> None:
    rows = [("aravind", {"federated": estimate(0.9)}), ("eyepacs", {"federated": None})]
    assert "eyepacs" in bars(rows, 0.5)
    assert "eyepacs" in forest([(label, by["federated"]) for label, by in rows], "local", (-1, 1))


def test_colours_are_the_pages_so_that_it_can_be_dark() -> None:
    svg = bars([("aravind", {"federated": estimate(0.9), "local": estimate(0.8)})], 0.5)
    assert "var(--federated)" in svg
    assert "var(--local)" in svg
    assert "#" not in svg.replace('href="#', "").replace("url(#", "")


def test_a_name_is_neither_markup_nor_mathematics() -> None:
    svg = bars([("<b>$x_{</b>", {"federated": estimate(0.9)})], 0.5)
    assert "&lt;b&gt;$x_{&lt;/b&gt;" in svg
