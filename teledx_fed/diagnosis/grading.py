"""Grade of one photograph: calibrated probabilities, and decisions at the thresholds of the bundle."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from teledx_fed.core.clinical import Graded
from teledx_fed.evaluation.calibration import conformal_set, tempered
from teledx_fed.evaluation.operating_points import decisions
from teledx_fed.evaluation.predictions import REFERABLE, VISION_THREATENING, either
from teledx_fed.model.bundle import Calibration, Outputs


def grade(outputs: Outputs, calibration: Calibration) -> Graded:
    """Grade one photograph from the model's outputs (batch of 1)."""
    raw = softmax(outputs.logits[0].astype(np.float64))
    probabilities = tempered(raw, calibration.temperature)
    oedema = None if outputs.oedema is None else float(expit(outputs.oedema[0]))
    referable, threatening = _scores(probabilities, oedema)
    decision = decisions(calibration.points, *_scores(raw, oedema))
    return Graded(
        probabilities=tuple(probabilities.tolist()),
        grades=tuple(np.flatnonzero(conformal_set(probabilities, calibration.possible)).tolist()),
        referable=referable,
        vision_threatening=threatening,
        refers=decision.refers,
        is_urgent=decision.is_urgent,
        oedema=oedema,
    )


def _scores(probabilities: NDArray[np.float64], oedema: float | None) -> tuple[float, float]:
    """Return the scores of referable and vision-threatening disease from probabilities (5,)."""
    referable, threat = (
        float(either(probabilities[least:].sum(), oedema or 0.0)) for least in (REFERABLE, VISION_THREATENING)
    )
    return referable, threat
