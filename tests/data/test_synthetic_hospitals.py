from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from omegaconf import OmegaConf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from teledx_fed.config.data import HospitalSettings
from teledx_fed.core.examples import GRADES, Example, Eye, Field, Identification
from teledx_fed.data.cameras import CAMERAS
from teledx_fed.data.synthetic import hospital, shares

CONF = Path(__file__).parents[2] / "conf" / "data" / "synthetic.yaml"


def default_hospitals() -> dict[str, HospitalSettings]:
    return {name: HospitalSettings(**values) for name, values in OmegaConf.load(CONF).hospitals.items()}


def test_a_hospital_holds_both_eyes_of_its_patients() -> None:
    collection = hospital("valley", HospitalSettings(patients=60, camera="zeiss"), seed=0)
    examples = collection.examples
    assert collection.patients is Identification.GIVEN
    assert {example.patient for example in examples} == {f"valley-{i:04d}" for i in range(60)}
    assert {(example.source, example.camera) for example in examples} == {("valley", "zeiss")}
    assert len({example.image.name for example in examples}) == len(examples)
    macula = [example for example in examples if example.field is Field.MACULA]
    assert Counter(example.eye for example in macula) == {Eye.LEFT: 60, Eye.RIGHT: 60}
    assert 0 < len(examples) - len(macula) < 30


def test_eyes_of_a_patient_are_at_most_one_grade_apart_and_mostly_equal() -> None:
    grades: dict[str, set[int]] = {}
    for example in hospital("north", HospitalSettings(patients=200), seed=0).examples:
        grades.setdefault(example.patient, set()).add(example.grade)
    assert all(max(both) - min(both) <= 1 for both in grades.values())
    assert 0.6 < np.mean([len(both) == 1 for both in grades.values()]) < 0.9


def test_a_hospital_has_its_own_prevalence() -> None:
    prevalence = [0.1, 0.1, 0.2, 0.3, 0.3]
    examples = hospital("north", HospitalSettings(patients=300, prevalence=prevalence), seed=0).examples
    measured = np.bincount([example.grade for example in examples], minlength=GRADES) / len(examples)
    assert np.abs(measured - prevalence).max() < 0.06


def test_an_unknown_camera_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.hospitals\.north\.camera must be one of canon, topcon"):
        hospital("north", HospitalSettings(camera="polaroid"), seed=0)


@given(total=st.integers(0, 500), weights=st.lists(st.integers(0, 20), min_size=GRADES, max_size=GRADES).filter(any))
def test_shares_are_whole_numbers_sum_to_the_total_and_include_each_grade(total: int, weights: list[int]) -> None:
    prevalence = np.array(weights) / sum(weights)
    counts = shares(total, prevalence.tolist())
    assert counts.sum() == total
    assert (counts[prevalence == 0] == 0).all()
    if total >= GRADES:
        assert (counts[prevalence > 0] > 0).all()
    if (total * prevalence[prevalence > 0] >= 1).all():
        assert np.abs(counts - total * prevalence).max() <= 1


def shortcut_auroc(colours: NDArray[np.float64], examples: list[Example]) -> float:
    """Return the AUROC of referable disease, predicted only from mean colour and camera."""
    cameras = [[example.camera == camera for camera in CAMERAS] for example in examples]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    referable = np.array([example.referable for example in examples])
    features = np.hstack([colours, np.array(cameras, dtype=float)])
    groups = [example.patient for example in examples]
    scores = cross_val_predict(model, features, referable, groups=groups, cv=GroupKFold(5), method="predict_proba")
    return float(roc_auc_score(referable, scores[:, 1]))


@pytest.mark.slow
def test_mean_colour_and_camera_do_not_predict_the_grade() -> None:
    examples = [e for name, settings in default_hospitals().items() for e in hospital(name, settings, seed=0).examples]
    colours = np.array([example.image.read().mean(axis=(0, 1)) for example in examples])
    assert shortcut_auroc(colours, examples) < 0.70
    darker = np.where([[example.referable] for example in examples], 0.6, 1.0) * colours
    assert shortcut_auroc(darker, examples) > 0.70


def test_the_default_hospitals_differ_but_have_similar_shares_of_referable_eyes() -> None:
    hospitals = default_hospitals().values()
    assert {h.camera for h in hospitals} == set(CAMERAS)
    assert len({h.patients for h in hospitals}) == len({tuple(h.prevalence) for h in hospitals}) == 4
    assert all(0.30 <= sum(h.prevalence[2:]) <= 0.50 for h in hospitals)
