"""Maps of a photograph: scale them from a network's cells to pixels and back, and draw them."""

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from teledx_fed.data.preprocessing import Place

Map = NDArray[np.float32]
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

OPACITY = 0.6
"""The opacity of a map's highest value over the photograph."""
LEVELS = np.arange(256) / 255
STOPS = (0.0, 0.5, 1.0)
BLUES = ((0, 0, 140), (60, 114, 225), (120, 210, 255))
"""RGB at the stops. No fundus is blue, and colour-blind people can distinguish blue from orange (Okabe and Ito)."""

DETAIL = 0.06
"""The blur, as a share of a prepared photograph's side, that removes lesions and keeps the illumination."""


def resized(heat: Map, side: int) -> Map:
    """Scale a map to side × side: averaged where coarser; smooth where finer, and never below its lowest value."""
    how = cv2.INTER_AREA if side < heat.shape[0] else cv2.INTER_CUBIC
    return np.maximum(cv2.resize(heat, (side, side), interpolation=how), heat.min())


def smoothed(heat: Map, sigma: float) -> Map:
    """Blur a map by a Gaussian with `sigma` in cells."""
    return np.asarray(cv2.GaussianBlur(heat, (0, 0), sigma), np.float32)


def on_photograph(heat: Map, place: Place) -> Map:
    """Place a map of the prepared square, h × h, on its photograph: height × width, 0 beside the square."""
    height, width = place.mask.shape
    square = resized(heat, place.side)
    rows, columns = (
        slice(max(-start, 0), min(length - start, place.side))
        for start, length in ((place.top, height), (place.left, width))
    )
    canvas = np.zeros((height, width), np.float32)
    canvas[place.top + rows.start : place.top + rows.stop, place.left + columns.start : place.left + columns.stop] = (
        square[rows, columns]
    )
    return canvas


def in_square(mask: Mask, place: Place, side: int) -> Mask:
    """Convert a photograph's mask to the prepared square, side × side: True where any pixel of it is True."""
    marked = np.zeros((place.side, place.side), np.float32)
    rows, columns = np.nonzero(mask)
    rows, columns = rows - place.top, columns - place.left
    inside = (rows >= 0) & (rows < place.side) & (columns >= 0) & (columns < place.side)
    marked[rows[inside], columns[inside]] = 1
    return resized(marked, side) > 0


def widened(mask: Mask, pixels: int) -> Mask:
    """Widen a mask by a number of pixels on every side."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc), np.bool_)


def edges(image: Image) -> Map:
    """Return the gradient magnitude of brightness of an RGB image (s, s, 3), by Sobel."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1)
    return np.hypot(*(cv2.Sobel(grey, cv2.CV_32F, dx, 1 - dx) for dx in (0, 1)))


def without_detail(image: Image, detail: float = DETAIL) -> Image:
    """Blur a prepared photograph (s, s, 3) within its disc, so that its rim does not move."""
    sigma = detail * image.shape[0]
    inside = lit(image)
    total, weight = (
        cv2.GaussianBlur(part, (0, 0), sigma) for part in (image.astype(np.float32), inside.astype(np.float32))
    )
    average = total / np.maximum(weight, 1e-3)[..., None]
    return np.asarray((average * inside[..., None]).round().clip(0, 255), np.uint8)


def lit(image: Image) -> Mask:
    """Return the mask of a prepared photograph (s, s, 3): all but the black around it."""
    shown = image.max(axis=2) > 0
    return np.asarray(cv2.morphologyEx(shown.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), np.bool_)


def coloured(photograph: Image, heat: Map, inside: Mask) -> Image:
    """Colour a photograph blue, paler and denser where the map (height, width), 0 to 1, is higher; 0 adds none."""
    level = cv2.convertScaleAbs(heat, alpha=255)
    levels = cv2.merge([level] * 3)  # lookup tables on bytes: on 13 megapixels, float arithmetic takes seconds
    share = OPACITY * LEVELS[:, None]
    added = cv2.LUT(levels, _table(share * _shades()))
    remaining = cv2.LUT(levels, _table(255 * (1 - share)))
    blended = cv2.add(cv2.multiply(photograph, remaining, scale=1 / 255), added)
    return np.asarray(cv2.copyTo(blended, (inside & (level > 0)).view(np.uint8), photograph.copy()))


def layer(heat: Map, place: Place) -> bytes:
    """Encode the colours that `coloured` adds as a PNG file of the photograph's height × width.

    Its pixels are levels, and the palette gives their colour and opacity: a quarter of the size of RGBA.
    """
    level = cv2.copyTo(cv2.convertScaleAbs(on_photograph(heat, place), alpha=255), place.mask)
    picture, file = Picture.fromarray(level, "P"), io.BytesIO()
    picture.putpalette(_table(_shades()).tobytes())
    picture.save(file, "PNG", compress_level=1, transparency=bytes(range(256)))
    return file.getvalue()


def overlaid(photograph: Path, layer: Path, opacity: float = 0.6) -> Image:
    """Draw a layer over a photograph: PNG files of one size, the layer with transparency."""
    with Picture.open(photograph) as below, Picture.open(layer) as file:
        above = file.convert("RGBA")
        above.putalpha(above.getchannel("A").point(lambda alpha: round(opacity * alpha)))
        return np.array(Picture.alpha_composite(below.convert("RGBA"), above).convert("RGB"))


def _shades() -> NDArray[np.float64]:
    """Return the colour of each level, (256, 3)."""
    return np.stack([np.interp(LEVELS, STOPS, shade) for shade in BLUES], axis=1)


def _table(values: NDArray[np.float64]) -> Image:
    return np.ascontiguousarray(np.broadcast_to(values.round(), (256, 3)), np.uint8)[:, None]
