"""Compare two photographs: do they show one eye in one view, even if one was resized or re-encoded?

Resizing moves the rim that preparation finds by a pixel or two, and the fine bits of a perceptual hash turn with it. So
one photograph is hashed under crops that differ a little in place and size, and the nearest counts.
"""

from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.examples import Example, Images
from teledx_fed.data.duplicates import GREY, INSIDE, bits_of
from teledx_fed.data.recollection import recall

VERSION = 1
"""Raise it whenever the same two prepared photographs give another distance."""
LOOSE = 0.35
"""The share of bits without alignment beyond which nothing is looked at: on four real hospitals, 1,809 of 8 million
pairs lie below, and so do all copies at nine tenths of the size and JPEG quality 70."""
ALIGNED = 0.2
"""The share of bits up to which aligned photographs are one. On four real hospitals unrelated photographs differ in
0.245 or more; copies in 0.118 or less, and at half the size and quality 40 in 0.193 or less."""
SHIFTS, SCALES = (-0.012, 0.0, 0.012), (0.975, 1.0, 1.025)
SIDE = 64

Pair = tuple[int, int]
Bits = NDArray[np.bool_]


def aligned(pairs: Sequence[Pair], examples: Sequence[Example], images: Images) -> list[Pair]:
    """Those of `pairs` of `examples` that show one eye in one view; what was found is kept beside the photographs."""
    names = {pair: " ".join(examples[i].image.digest() for i in pair) for pair in pairs}
    pair_of = {name: pair for pair, name in names.items()}
    hashed: dict[int, Bits] = {}

    def crops_of(number: int) -> Bits:
        if number not in hashed:
            hashed[number] = _crops(images.batch([examples[number]])[0])
        return hashed[number]

    def find(missing: Sequence[str]) -> dict[str, str]:
        return {name: f"{_distance(*map(crops_of, pair_of[name])):.3f}" for name in missing}

    known = recall(images.folder / f"aligned-v{VERSION}.json", pair_of, find)
    return [pair for pair, name in names.items() if float(known[name]) <= ALIGNED]


def _distance(one: Bits, other: Bits) -> float:
    """The least share of differing bits of either as it is and any crop of the other."""
    middle = len(one) // 2
    return float(min((one != other[middle]).mean(axis=1).min(), (other != one[middle]).mean(axis=1).min()))


def _crops(image: NDArray[np.uint8]) -> Bits:
    """27 × bits; the one in the middle is neither moved nor resized."""
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
