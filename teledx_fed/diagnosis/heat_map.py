"""Heat maps: the regions that contributed to 'referable', from outputs that the model has already computed.

Grad-CAM (Selvaraju et al., arXiv 1610.02391). The head is linear in the means of the feature maps, so the gradient that
weights them has a closed form. The explained output, here and in `explain`, is the log-odds of referable disease (grade
2 or more) before calibration.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from teledx_fed.core.examples import Eye
from teledx_fed.data.maps import Map, coloured, on_photograph
from teledx_fed.data.preprocessing import Place
from teledx_fed.model.bundle import Outputs

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

REFERABLE = 2
"""The mildest referable grade."""

DISCS_A_RADIUS = 45 / 2 * 290 / 1800
"""Disc diameters (1800 µm) in the radius of a field of 45°, at 290 µm a degree."""
FOVEA = complex(2.5, 0.3)
"""Position of the fovea from the middle of the optic disc, in disc diameters: temporal + i down."""


def referable_log_odds(logits: Floats) -> Floats:
    """Return log-odds (b,) of referable disease from logits (b, 5)."""
    return np.asarray(logsumexp(logits[:, REFERABLE:], axis=1) - logsumexp(logits[:, :REFERABLE], axis=1))


def heat_map(outputs: Outputs, head: Floats) -> Floats:
    """Return maps (b, h, w), 0 to 1; 1 is the region that contributes most to 'referable' in its photograph.

    A map is all 0 if no region contributes. `head` is `Bundle.head`: weights (5, c).
    """
    weights = (_gradient(outputs.logits)[..., None] * head).sum(axis=1)
    maps = np.maximum((weights[..., None, None] * outputs.maps).sum(axis=1), 0)
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.asarray(maps / np.where(highest > 0, highest, 1), np.float32)


def _gradient(logits: Floats) -> Floats:
    """Return the gradient (b, 5) of the log-odds with respect to the logits."""
    mild, referable = softmax(logits[:, :REFERABLE], axis=1), softmax(logits[:, REFERABLE:], axis=1)
    return np.concatenate([-mild, referable], axis=1)


def overlay(photograph: Image, heat: Map, place: Place) -> Image:
    """Colour a photograph (height, width, 3), inside the fundus, by a map (h, h) of its prepared square."""
    return coloured(photograph, on_photograph(heat, place), place.mask > 0)


def sentence(heat: Map, eye: Eye, disc: complex | None) -> str:
    """State where the maximum of a map (h, w) of a prepared photograph lies, and how exact that is.

    `disc` is the middle of the optic disc: x + iy, y down, in radii of the fundus from its middle. It gives the
    position of the macula, for a field of 45° and a known eye. If the macula is unknown or not in view, the sentence
    names a part of the photograph.
    """
    name = "Eye not known" if eye is Eye.UNKNOWN else f"{eye.value.capitalize()} eye"
    highest = _highest(heat)
    if highest is None:
        return f"{name}: no region of the map contributed to 'referable'."
    macula = _macula(eye, disc)
    where = _in_words(highest) if macula is None else _from_macula(highest - macula, eye)
    return f"{name}: the regions that contributed most to 'referable' lie {where}. {_limit(max(heat.shape))}"


def _highest(heat: Map) -> complex | None:
    """Return the position of the maximum, in radii from the middle; ignore cells outside the fundus."""
    height, width = heat.shape
    y, x = (2 * np.arange(n) + 1 - n for n in (height, width))  # in half cells
    points = x / width + 1j * y[:, None] / height
    nearest = np.hypot(np.maximum(np.abs(x) - 1, 0) / width, (np.maximum(np.abs(y) - 1, 0) / height)[:, None])
    inside = np.where(nearest < 1, heat, 0)
    return complex(points.flat[inside.argmax()]) if inside.max() > 0 else None


def _macula(eye: Eye, disc: complex | None) -> complex | None:
    """Return the position of the macula, in radii from the middle; None if unknown or not in view."""
    if disc is None or eye is Eye.UNKNOWN:
        return None
    macula = disc + complex(_temple(eye) * FOVEA.real, FOVEA.imag) / DISCS_A_RADIUS
    return macula if abs(macula) < 1 else None


def _temple(eye: Eye) -> int:
    """Return the direction of the temple in a photograph: -1 (left) for the right eye, 1 (right) for the left."""
    return -1 if eye is Eye.RIGHT else 1


def _from_macula(offset: complex, eye: Eye) -> str:
    vertical = "superior" if offset.imag < 0 else "inferior"
    horizontal = "temporal" if offset.real * _temple(eye) > 0 else "nasal"
    diameters = round(2 * abs(offset) * DISCS_A_RADIUS) / 2
    if diameters <= 1:
        return "within about a disc diameter of the macula"
    return f"in the {vertical} {horizontal} quadrant, about {diameters:g} disc diameters from the macula"


def _in_words(position: complex) -> str:
    vertical = ("upper", "", "lower")[_third(position.imag)]
    horizontal = ("left", "", "right")[_third(position.real)]
    place = " ".join(word for word in (vertical, horizontal) if word)
    return f"in the {place} part of the photograph" if place else "in the middle of the photograph"


def _third(share: float) -> int:
    return min(max(math.floor(1.5 * (share + 1)), 0), 2)


def _limit(cells: int) -> str:
    return f"The map shows no detail smaller than 1/{cells} of the photograph's width."
