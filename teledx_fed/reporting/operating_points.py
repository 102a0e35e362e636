"""Operating points in report.json: each hospital's thresholds, and their performance on test eyes."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from teledx_fed.core.operating_points import OperatingPoint, basis
from teledx_fed.evaluation.operating_points import performance, share
from teledx_fed.evaluation.predictions import REFERABLE, VISION_THREATENING, Booleans
from teledx_fed.evaluation.test_predictions import Evaluation

MODEL = "federated"
POINT = TypeAdapter(OperatingPoint)
Json = dict[str, Any]


def points_of(evaluation: Evaluation) -> Mapping[str, Json]:
    """Return the federated model's points by hospital: `referable` and `urgent`, one for each fold of the first seed.

    `urgent` counts the eyes for which it is not withheld. `severe_referred` is the share of eyes of grade 3 and 4 that
    are at least referred. `oedema_alone` is that of lower grades with labelled oedema, if the model lacks its output.
    """
    return {site: _of_site(evaluation, site) for site in evaluation.points.get(MODEL, {})}


def basis_of(point: Json) -> str:
    """Describe the basis of a point of report.json."""
    return basis(POINT.validate_python(point))


def _of_site(evaluation: Evaluation, site: str) -> Json:
    tested, refers = evaluation.predictions[MODEL][site], evaluation.called[MODEL][site]
    points = evaluation.points[MODEL][site]
    severe, alone = tested.grade >= VISION_THREATENING, tested.referable & ~tested.detectable(REFERABLE)
    urgent = [point.urgent for point in points if point.urgent is not None]
    return {
        "referable": _point([point.referable for point in points], tested.detectable(REFERABLE), refers),
        "urgent": _urgent(evaluation, site, urgent) if urgent else None,
        "severe_referred": asdict(share(refers[severe])),
        "oedema_alone": asdict(share(refers[alone])),
    }


def _urgent(evaluation: Evaluation, site: str, points: list[OperatingPoint]) -> Json:
    tested, called = evaluation.predictions[MODEL][site], evaluation.urgent[MODEL][site]
    decided = ~evaluation.withheld[MODEL][site]
    healthy = decided & (tested.grade == 0)
    return {
        **_point(points, tested.detectable(VISION_THREATENING)[decided], called[decided]),
        "withheld_eyes": int((~decided).sum()),
        "grade_0_called": asdict(share(called[healthy])),
    }


def _point(points: list[OperatingPoint], positive: Booleans, called: Booleans) -> Json:
    """Return points without their own test: `test` is of all folds."""
    listed = [{name: value for name, value in asdict(point).items() if name != "test"} for point in points]
    return {"points": listed, "test": asdict(performance(positive, called))}
