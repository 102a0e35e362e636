"""Cameras of synthetic photographs: their optics, and the map from points of the fundus to pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 384
"""Side of a synthetic photograph, pixels: large enough to show a microaneurysm."""
CENTRE = complex(SIZE - 1, SIZE - 1) / 2

DISC_DIAMETER = 1800.0
"""Micrometres."""
DEGREE = 290.0 / DISC_DIAMETER
"""Disc diameters of fundus per degree of field, in an emmetropic eye."""

Points = NDArray[np.complex128]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Camera:
    """A camera: `field_of_view` in degrees, `blur` in pixels; `cut` is the share of the radius above and below."""

    field_of_view: float
    tint: Colour
    brightness: float
    blur: float
    noise: float
    vignette: float
    flare: float
    cut: float = 1.0
    fill: float = 0.97

    @property
    def radius(self) -> float:
        """Radius of the disc of view, in pixels."""
        return self.fill * SIZE / 2

    @property
    def reach(self) -> float:
        """The radius of the field, in disc diameters."""
        return self.field_of_view * DEGREE / 2

    def sees(self, offset: Points, margin: float = 0.0) -> NDArray[np.bool_]:
        """Whether the field contains points `offset` from its middle, by at least `margin`; in disc diameters."""
        inside: NDArray[np.bool_] = np.abs(offset) <= self.reach - margin
        return inside & (np.abs(offset.imag) <= self.cut * self.reach - margin)


CAMERAS = {
    "canon": Camera(45, (1.00, 0.97, 0.95), 1.00, blur=1.7, noise=0.010, vignette=0.30, flare=0.05, cut=0.82),
    "topcon": Camera(50, (1.04, 0.92, 0.70), 1.02, blur=1.5, noise=0.008, vignette=0.22, flare=0.03),
    "zeiss": Camera(45, (0.96, 1.00, 1.12), 0.97, blur=1.9, noise=0.012, vignette=0.35, flare=0.09, fill=0.92),
    "handheld": Camera(42, (0.97, 1.03, 0.90), 0.90, blur=2.0, noise=0.020, vignette=0.48, flare=0.12, fill=0.95),
}


@dataclass(frozen=True)
class CameraView:
    """The map between fundus and pixels, both as x + iy with y down.

    Fundus points are disc diameters from the fovea, x towards the nose. `aim` is the point in the middle of the
    photograph, |`zoom`| the number of pixels per disc diameter. In a right eye the nose is to the right.
    """

    aim: complex
    zoom: complex
    mirrored: bool

    def pixels(self, fundus: Points) -> Points:
        offset = fundus - self.aim
        return CENTRE + self.zoom * (-np.conj(offset) if self.mirrored else offset)

    def fundus(self, pixels: Points) -> Points:
        offset = (pixels - CENTRE) / self.zoom
        return self.aim + (-np.conj(offset) if self.mirrored else offset)
