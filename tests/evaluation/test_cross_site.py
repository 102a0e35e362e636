import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from teledx_fed.evaluation import bootstrap
from teledx_fed.evaluation.cross_site import ModelComparison, compare, curves, mean_prediction
from teledx_fed.evaluation.metrics import METRICS
from teledx_fed.evaluation.predictions import Predictions
from teledx_fed.evaluation.test_predictions import Evaluation

SITES = {"north": 40, "south": 90}
THRESHOLDS = {"north": 0.3, "south": 0.6}


@pytest.fixture(scope="module")
def models(simulate) -> dict[str, dict[str, Predictions]]:
    skills = {"federated": 2.0, "local": 1.0}
    return {
        model: {
            site: simulate(seed, patients=patients, skill=skill, labels=patients) for site, patients in SITES.items()
        }
        for seed, (model, skill) in enumerate(skills.items())
    }


def compared(models: dict[str, dict[str, Predictions]], replicates: int = 200, **options: str) -> ModelComparison:
    return compare([summary(models)], replicates, np.random.default_rng(0), **options)


def summary(models: dict[str, dict[str, Predictions]], **patients: tuple[str, ...]) -> Evaluation:
    """Evaluate at the sites' thresholds; patients are named by number."""
    called = {
        model: {s: p.referable_score >= THRESHOLDS[s] for s, p in sites.items()} for model, sites in models.items()
    }
    first = next(iter(models.values()))
    names = {site: tuple(str(i) for i in range(p.patients)) for site, p in first.items()}
    return Evaluation(models, called, names | patients)


def test_a_comparison_is_json_with_each_metric(models) -> None:
    result = compared(models)
    assert json.loads(json.dumps(asdict(result), allow_nan=False)) == asdict(result)
    assert (result.models.keys(), result.differences.keys()) == ({"federated", "local"}, {"local"})
    for part in (*result.models.values(), result.differences["local"]):
        assert part["sites"].keys() == SITES.keys()
        for values in (*part["sites"].values(), part["mean_of_sites"], part["all_patients"]):
            assert tuple(values) == tuple(METRICS)
            assert all(value is None or value["low"] <= value["high"] for value in values.values())


def test_mean_of_sites_and_all_patients_match_direct_computation(models) -> None:
    result, sites = compared(models).models["federated"], models["federated"]
    each = [result["sites"][site]["referable_auroc"]["value"] for site in SITES]
    assert result["mean_of_sites"]["referable_auroc"]["value"] == pytest.approx(np.mean(each))
    assert result["mean_of_sites"]["referable_auroc"]["sites"] == 2
    caught = sum((p.referable & (p.referable_score >= THRESHOLDS[site])).sum() for site, p in sites.items())
    ill = sum(p.referable.sum() for p in sites.values())
    assert result["all_patients"]["sensitivity"]["value"] == pytest.approx(caught / ill)
    missed = sum(((p.grade >= 3) & (p.referable_score < THRESHOLDS[site])).sum() for site, p in sites.items())
    assert result["all_patients"]["missed_severe"]["value"] == missed


def test_differences_are_the_reference_less_a_baseline(models) -> None:
    result = compared(models)
    difference = result.differences["local"]["mean_of_sites"]["referable_auroc"]
    values = [result.models[model]["mean_of_sites"]["referable_auroc"]["value"] for model in ("federated", "local")]
    assert difference["value"] == pytest.approx(values[0] - values[1])
    assert 0 < difference["low"] < difference["value"] < difference["high"]
    turned = compared(models, reference="local").differences["federated"]["mean_of_sites"]["referable_auroc"]
    assert turned["value"] == pytest.approx(-difference["value"])


def test_sites_are_drawn_independently(models) -> None:
    twins = dict.fromkeys(SITES, models["federated"]["north"])
    result = compared({"federated": twins}).models["federated"]
    site, mean = result["sites"]["north"]["brier"], result["mean_of_sites"]["brier"]
    assert mean["high"] - mean["low"] < 0.85 * (site["high"] - site["low"])


def test_the_difference_of_equal_models_is_exactly_zero(models) -> None:
    twins = {"federated": models["federated"], "local": models["federated"]}
    difference = compared(twins).differences["local"]
    for values in (difference["sites"]["north"], difference["mean_of_sites"], difference["all_patients"]):
        assert {(v["value"], v["low"], v["high"]) for v in values.values()} == {(0.0, 0.0, 0.0)}


def test_a_metric_undefined_at_a_site_is_left_out_of_the_mean_there(models) -> None:
    healthy = {
        model: sites | {"north": replace(sites["north"], referable=np.zeros(2 * SITES["north"], dtype=bool))}
        for model, sites in models.items()
    }
    result = compared(healthy)
    for part in (result.models["federated"], result.differences["local"]):
        assert part["sites"]["north"]["referable_auroc"] is None
        south = part["sites"]["south"]["referable_auroc"]
        assert part["mean_of_sites"]["referable_auroc"] == pytest.approx({**south, "sites": 1})
        assert part["mean_of_sites"]["qwk"]["sites"] == 2


def test_a_head_with_one_output_has_null_where_five_grades_are_needed(models) -> None:
    binary = {
        model: {site: replace(p, probabilities=None, vision_threatening_score=None) for site, p in sites.items()}
        for model, sites in models.items()
    }
    result = compared(binary).models["federated"]
    for values in (result["sites"]["north"], result["mean_of_sites"], result["all_patients"]):
        missing = {name for name, value in values.items() if value is None}
        assert missing == {"qwk", "vision_threatening_auroc", "accuracy", "macro_f1"}


def test_models_must_be_tested_on_the_same_eyes(models) -> None:
    local = models["local"]
    shifted = {**models, "local": {**local, "north": replace(local["north"], grade=local["north"].grade[::-1])}}
    with pytest.raises(AssertionError, match="same eyes"):
        compared(shifted)


def test_results_do_not_depend_on_the_chunk_size(models, monkeypatch) -> None:
    wide = compared(models, replicates=60).models["federated"]["mean_of_sites"]
    monkeypatch.setattr(bootstrap, "CHUNK", 7)
    narrow = compared(models, replicates=60).models["federated"]["mean_of_sites"]
    for name in METRICS:
        assert narrow[name]["value"] == pytest.approx(wide[name]["value"])
    assert narrow["qwk"]["high"] == pytest.approx(wide["qwk"]["high"], abs=0.1)


def test_an_ensemble_is_the_mean_of_its_members(models) -> None:
    members = [models[model]["north"] for model in models]
    result = mean_prediction(members)
    np.testing.assert_allclose(result.probabilities, (members[0].probabilities + members[1].probabilities) / 2)
    np.testing.assert_allclose(result.referable_score, result.probabilities[:, 2:].sum(axis=1))
    alone = mean_prediction(members[:1])
    np.testing.assert_array_equal(alone.referable_score, members[0].referable_score)


def test_curves_of_a_model_at_a_site(models) -> None:
    p = models["federated"]["south"]
    result = json.loads(json.dumps(curves(p, p.referable_score >= 0.6), allow_nan=False))
    assert np.sum(result["confusion"]) == p.eyes
    assert min(result["reliability"]["count"]) >= 5, "a point of one eye would reveal the prediction for it"
    assert np.sum(result["confusion"], axis=1).tolist() == np.bincount(p.grade, minlength=5).tolist()
    x, y = result["roc"]["false_positive_rate"], result["roc"]["true_positive_rate"]
    assert len(x) == len(y) <= 101
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    expected = compared(models).models["federated"]["sites"]["south"]
    assert np.trapezoid(y, x) == pytest.approx(expected["referable_auroc"]["value"], abs=0.01)
    assert result["roc"]["operating_point"]["true_positive_rate"] == pytest.approx(expected["sensitivity"]["value"])


def test_curves_without_a_diseased_eye_or_five_grades(models) -> None:
    p = models["federated"]["south"]
    nobody = replace(p, probabilities=None, referable=np.zeros(p.eyes, dtype=bool))
    result = curves(nobody, nobody.referable_score >= 0.6)
    assert result["confusion"] is None
    assert result["roc"] == {"false_positive_rate": [], "true_positive_rate": [], "operating_point": None}
    assert set(result["reliability"]["observed"]) == {0.0}
