import pytest
from invented_run import estimate, report

from teledx_fed.reporting.wording import between, verdict


def test_an_interval_with_a_minus_sign_has_no_dash() -> None:
    assert between(estimate(0.5, 0.1)) == "(0.40–0.60)"
    assert between(estimate(0.0, 0.1)) == "(−0.10 to 0.10)"
    assert between({"value": 0.5, "low": None, "high": None}) == between(None) == ""


@pytest.mark.parametrize(
    ("difference", "ending"),
    [
        (estimate(0.05), "; 0.05 (0.02–0.08) above each hospital alone on average."),
        (estimate(-0.05), "; 0.05 (0.02–0.08) below each hospital alone on average."),
        (estimate(0.01), "; no clear difference from each hospital alone, 0.01 (−0.02 to 0.04)."),
        (None, "mean of 1 hospital."),
    ],
)
def test_the_verdict_claims_a_difference_only_where_the_interval_does(
    difference: dict[str, float] | None, ending: str
) -> None:
    run = report(("one",), ("local",))
    run["differences"]["local"]["mean_of_sites"]["referable_auroc"] = difference
    assert verdict(run).endswith(ending)


def test_the_verdict_for_hospitals_with_one_kind_of_eye() -> None:
    run = report()
    run["federated"]["mean_of_sites"]["referable_auroc"] = None
    assert "undefined" in verdict(run)


def test_the_verdict_states_that_no_round_improved_the_model() -> None:
    run = report(("north",), ())
    assert not verdict(run).startswith("No round")
    run["parts"][0]["best_round"] = 0
    assert verdict(run).startswith("No round was better than the initial model. Federated referable AUROC")
