"""Compare two photographs: whether they show one eye in one view, even if one was resized or re-encoded.

Resizing moves the rim that preparation detects by a pixel or two, which changes the fine bits of a perceptual hash. So
one photograph is hashed for crops that differ a little in place and size, and the smallest distance counts.
"""

from collections.abc import Sequence
from itertools import combinations, product

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from teledx_fed.core.examples import Example, Eye, Images
from teledx_fed.data.digest_cache import cached
from teledx_fed.data.duplicates import GREY, INSIDE, bits_of

VERSION = 1
"""Increase it when a change of the code gives another distance for the same two photographs."""
LOOSE = 0.35
"""Pairs that differ in more than this share of bits without alignment are not compared. On four real hospitals, 1,809
of 8 million pairs lie below, and all copies at nine tenths of the size and JPEG quality 70."""
ALIGNED = 0.2
"""Aligned photographs that differ in at most this share of bits are copies. On four real hospitals unrelated ones
differ in 0.245 or more; copies in 0.118 or less, and at half the size and quality 40 in 0.193 or less."""
SHIFTS, SCALES = (-0.012, 0.0, 0.012), (0.975, 1.0, 1.025)
SIDE = 64
LARGEST_DIFFERENCE = 2.5
"""Largest mean difference of two copies at 64 × 64 pixels, of 255. JPEG at quality 50 changed each of 300 real
photographs by at most 2.0; any two photographs of one size differed by 3.8 or more."""

IndexPair = tuple[int, int]
Bits = NDArray[np.bool_]


def aligned(pairs: Sequence[IndexPair], examples: Sequence[Example], images: Images) -> list[IndexPair]:
    """Return the `pairs` of `examples` that show one eye in one view. Distances are cached beside the photographs."""
    names = {pair: " ".join(examples[i].image.digest() for i in pair) for pair in pairs}
    pair_of = {name: pair for pair, name in names.items()}
    crops: dict[int, Bits] = {}

    def crops_of(number: int) -> Bits:
        if number not in crops:
            crops[number] = _crops(images.batch([examples[number]])[0])
        return crops[number]

    def compute(missing: Sequence[str]) -> dict[str, str]:
        return {name: f"{_distance(*map(crops_of, pair_of[name])):.3f}" for name in missing}

    distances = cached(images.folder / f"aligned-v{VERSION}.json", pair_of, compute)
    return [pair for pair, name in names.items() if float(distances[name]) <= ALIGNED]


def _distance(first: Bits, second: Bits) -> float:
    """Return the least share of differing bits between either photograph and a crop of the other."""
    middle = len(first) // 2
    return float(min((first != second[middle]).mean(axis=1).min(), (second != first[middle]).mean(axis=1).min()))


def _crops(image: NDArray[np.uint8]) -> Bits:
    """Return the bits of 27 crops, 27 × bits; the middle one is neither moved nor resized."""
    size = len(image)
    grey = (image @ GREY).astype(np.float32)
    smooth = cv2.GaussianBlur(grey, (0, 0), INSIDE * size / SIDE / 2)
    crops = []
    for across, down, scale in product(SHIFTS, SHIFTS, SCALES):
        half = INSIDE * size / 2 * scale
        step = 2 * half / SIDE
        turn = np.array([[step, 0, size * (0.5 + across) - half], [0, step, size * (0.5 + down) - half]], np.float32)
        crops.append(cv2.warpAffine(smooth, turn, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))
    return bits_of(np.stack(crops))


def is_same_photograph(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Whether two images, height × width × 3, RGB, show one photograph, however each was compressed."""
    return first.shape == second.shape and bool(np.abs(_reduced(first) - _reduced(second)).mean() <= LARGEST_DIFFERENCE)


def alike_in_both_eyes(photographs: Sequence[tuple[Eye, NDArray[np.uint8]]]) -> set[int]:
    """Return the indices of photographs that equal a photograph of the other eye."""
    return {
        index
        for (i, (eye, pixels)), (j, (other_eye, other_pixels)) in combinations(enumerate(photographs), 2)
        if {eye, other_eye} == {Eye.RIGHT, Eye.LEFT} and is_same_photograph(pixels, other_pixels)
        for index in (i, j)
    }


def _reduced(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.array(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX)).astype(float)
