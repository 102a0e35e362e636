from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluations import Simulate, compared, evaluation

from teledx_fed.config.run import EvaluationSettings
from teledx_fed.evaluation import test_predictions
from teledx_fed.evaluation.operating_points import call_referable, call_urgent, choose_operating_points
from teledx_fed.evaluation.predictions import same_eyes
from teledx_fed.evaluation.test_predictions import Evaluation, concatenate_folds
from teledx_fed.reporting.operating_points import points_of


def test_a_cross_validation_tests_each_patient_once(simulate: Simulate) -> None:
    folds = [simulate(seed, patients=20) for seed in range(3)]
    result = concatenate_folds(
        [evaluation({"federated": {"here": fold}}, first_patient=20 * i) for i, fold in enumerate(folds)]
    )
    p = result.predictions["federated"]["here"]
    assert p.patients == len(set(result.patients["here"])) == 60
    assert result.patients["here"][p.patient[40]] == "patient 20"
    np.testing.assert_array_equal(p.referable_score, np.concatenate([fold.referable_score for fold in folds]))
    assert result.called["federated"]["here"].size == p.eyes


def test_a_written_evaluation_is_read_unchanged(simulate: Simulate, tmp_path: Path) -> None:
    binary = replace(simulate(1), probabilities=None, vision_threatening_score=None)
    before = evaluation({"federated": {"a/b": simulate(0), "東京": simulate(1)}, "local of a/b": {"a/b": binary}})
    test_predictions.write(before, tmp_path / "tested")
    after = test_predictions.read(tmp_path / "tested")
    assert after.patients == before.patients
    for model, sites in before.predictions.items():
        for site, p in sites.items():
            result = after.predictions[model][site]
            assert same_eyes(result, p)
            np.testing.assert_array_equal(result.referable_score, p.referable_score)
            assert (result.probabilities is None) == (p.probabilities is None)
            np.testing.assert_array_equal(after.called[model][site], before.called[model][site])


def test_operating_points_are_kept_and_joined_over_folds(simulate: Simulate, tmp_path: Path) -> None:
    folds = [evaluation({"federated": {"here": simulate(seed, patients=40)}}) for seed in range(2)]
    result = [
        with_points(fold, EvaluationSettings(fewest_positives=fewest))
        for fold, fewest in zip(folds, (1, 500), strict=True)
    ]
    test_predictions.write(concatenate_folds(result), tmp_path / "tested")
    after = test_predictions.read(tmp_path / "tested")
    points = after.points["federated"]["here"]
    assert points == (*result[0].points["federated"]["here"], *result[1].points["federated"]["here"])
    at_once, withheld = after.urgent["federated"]["here"], after.withheld["federated"]["here"]
    np.testing.assert_array_equal(withheld, np.repeat([False, True], 80))
    assert at_once[:80].any()
    assert not at_once[80:].any()
    assert after.named({"federated": "run"}).points == {"run": {"here": points}}
    evaluated = points_of(after)["here"]
    assert evaluated["urgent"]["withheld_eyes"] == 80
    assert [point["source"] for point in evaluated["urgent"]["points"]] == ["local", "withheld"]
    assert evaluated["urgent"]["test"]["ppv"]["of"] == at_once.sum()
    assert evaluated["severe_referred"]["of"] == (after.predictions["federated"]["here"].grade >= 3).sum()


def with_points(tested: Evaluation, settings: EvaluationSettings) -> Evaluation:
    p = tested.predictions["federated"]["here"]
    points = choose_operating_points(p, settings)
    assert points.urgent is not None
    assert p.vision_threatening_score is not None
    return replace(
        tested,
        called={"federated": {"here": call_referable(points, p)}},
        urgent={"federated": {"here": call_urgent(points, p.vision_threatening_score)}},
        withheld={"federated": {"here": np.full(p.eyes, points.urgent.withheld)}},
        points={"federated": {"here": (points,)}},
    )


def test_runs_with_different_patients_cannot_be_compared(simulate: Simulate) -> None:
    one = evaluation({"federated": {"here": simulate(0)}})
    with pytest.raises(ValueError, match="models must be tested on the same patients"):
        one | evaluation({"other": {"here": simulate(1)}}, first_patient=1)
    both = one | one.named({"federated": "twin"})
    assert compared([both]).differences["twin"]["mean_of_sites"]["qwk"]["p"] == 1
