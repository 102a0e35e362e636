"""Photographs with added faults of known degree, and pictures of other things."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.image import imread
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from teledx_fed.core.clinical import Fault
from teledx_fed.core.randomness import generator
from teledx_fed.data.preprocessing import fundus_mask

Image = NDArray[np.uint8]
Spoil = Callable[[Image], Image]


def blurred(sigma: float, image: Image) -> Image:
    """Blur with a Gaussian, as by defocus; `sigma` in percent of the fundus's width."""
    return _pixels(cv2.GaussianBlur(image, (0, 0), sigma / 100 * max(_box(image)[2:])))


def darker(factor: float, image: Image) -> Image:
    return _pixels(image * factor)


def brighter(factor: float, image: Image) -> Image:
    return _pixels(np.where(_inside(image), image * float(factor), image))  # an integer would wrap around at 255


def hazed(share: float, image: Image) -> Image:
    """Replace `share` of the light by a veil, as by a cataract."""
    veil = (np.median(image[_inside(image)[..., 0]], axis=0) + 150) / 2
    return _pixels(np.where(_inside(image), (1 - share) * image + share * veil, image))


def cut(share: float, image: Image) -> Image:
    """Cut off `share` of the fundus's width at its left."""
    x, _, width, _ = _box(image)
    return image[:, x + round(share * width) :].copy()


LEVELS: Mapping[Fault, Mapping[str, Spoil]] = {
    Fault.BLURRED: {f"blur of {level} % of the width": partial(blurred, level) for level in (0.25, 0.5, 0.75, 1, 1.5)},
    Fault.TOO_DARK: {f"light × {level}": partial(darker, level) for level in (0.6, 0.4, 0.25, 0.15)},
    Fault.TOO_BRIGHT: {f"light × {level}": partial(brighter, level) for level in (1.5, 2, 3, 4)},
    Fault.LOW_CONTRAST: {f"haze of {level}": partial(hazed, level) for level in (0.3, 0.5, 0.7, 0.8, 0.9)},
    Fault.FIELD_CUT: {f"{level} of the width cut off": partial(cut, level) for level in (0.1, 0.2, 0.3, 0.4, 0.5)},
}
"""Degrees of each fault, by the fault for which the quality gate should refuse the photograph."""


def other_pictures() -> dict[str, Image]:
    """Return a face, buildings, a flower, a logo, a page, cards, noise and black; each also in a black border."""
    folder = Path(matplotlib.get_data_path()) / "sample_data"
    face, logo = (imread(folder / name) for name in ("grace_hopper.jpg", "logo2.png"))
    pictures = {"face": _pixels(face), "logo": _pixels(255 * logo[..., :3])}
    buildings, flower = load_sample_images().images
    noise, page = generator(0, purpose="pictures"), np.full((600, 450, 3), 250, np.uint8)
    for line in range(25):
        cv2.putText(page, f"Patient report, line {line}", (20, 30 + 22 * line), 0, 0.7, (20, 20, 20), 1)
    pictures |= {
        "buildings": buildings,
        "flower": flower,
        "page": page,
        "grey card": np.full((400, 500, 3), 128, np.uint8),
        "orange card": np.tile(np.array([180, 90, 40], np.uint8), (400, 500, 1)),
        "noise": noise.integers(0, 256, (400, 500, 3), dtype=np.uint8),
        "black frame": np.zeros((400, 500, 3), np.uint8),
        "dark noise": _pixels(noise.normal(8, 4, (400, 500, 3))),
    }
    return pictures | {f"{name}, in a black border": _round(picture) for name, picture in pictures.items()}


def _round(image: Image) -> Image:
    height, width = image.shape[:2]
    circle = cv2.circle(np.zeros((height, width), np.uint8), (width // 2, height // 2), min(height, width) // 2, 1, -1)
    return _pixels(image * circle[..., None])


def _inside(image: Image) -> NDArray[np.bool_]:
    return fundus_mask(image)[..., None] > 0


def _box(image: Image) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(fundus_mask(image))
    return x, y, width, height


def _pixels(image: NDArray[np.generic]) -> Image:
    return np.clip(image, 0, 255).astype(np.uint8)
