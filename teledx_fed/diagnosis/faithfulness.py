"""Faithfulness of maps: whether the output changes where the map is high, and the map is high on lesions."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from teledx_fed.data.maps import Map, Mask

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
Score = Callable[[Image], Floats]
"""The explained output (b,) of prepared photographs (b, s, s, 3)."""

STEPS = 12


def deletion(score: Score, image: Image, emptied: Image, heat: Map, inside: Mask, steps: int = STEPS) -> float:
    """Return the mean score while pixels change from `image` to `emptied`, highest in the map first; low is good.

    The area under the curve of Petsiuk et al., RISE, arXiv 1806.07421. Pixels not `inside` (s, s) do not change.
    """
    return _area(score(_revealed(image, emptied, heat, inside, steps)))


def insertion(score: Score, image: Image, emptied: Image, heat: Map, inside: Mask, steps: int = STEPS) -> float:
    """Return the mean score while pixels change from `emptied` to `image`; high is good."""
    return _area(score(_revealed(emptied, image, heat, inside, steps)))


def _revealed(before: Image, after: Image, heat: Map, inside: Mask, steps: int) -> Image:
    """Return images (steps + 1, s, s, 3) from `before` to `after`; each step changes equally many pixels."""
    order = np.full(inside.shape, np.inf)
    order[inside] = rankdata(-heat[inside], method="ordinal")
    is_after = order <= np.linspace(0, np.count_nonzero(inside), steps + 1).round()[:, None, None]
    return np.where(is_after[..., None], after, before)


def _area(curve: Floats) -> float:
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def points_at(heat: Map, lesions: Mask) -> bool:
    """Return whether the map's maximum is in a lesion (s, s): pointing game (Zhang et al., arXiv 1608.00507)."""
    return bool(lesions.flat[heat.argmax()])


def energy_inside(heat: Map, lesions: Mask) -> float:
    """Return the share of positive contributions that is in lesions (Wang et al., Score-CAM, arXiv 1910.01279).

    NaN if no contribution is positive.
    """
    positive = np.maximum(heat, 0).astype(np.float64)
    total = positive.sum()
    return float(positive[lesions].sum() / total) if total > 0 else np.nan


def rank_correlation(first: Map, second: Map) -> float:
    """Return Spearman's rank correlation of two maps; NaN if a map is flat.

    If it is near 1 between a trained and a random network, the map shows the photograph and not the model (Adebayo et
    al., arXiv 1810.03292).
    """
    ranks = [rankdata(heat) for heat in (first.ravel(), second.ravel())]
    if min(np.ptp(rank) for rank in ranks) == 0:
        return np.nan
    return float(np.corrcoef(*ranks)[0, 1])
