"""Small changes that a photographer and a camera make, drawn anew for every image of a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

DEGREES = 15.0
SHIFT = 0.04
"""Of the image's side."""
SCALE = 0.08
BRIGHTNESS = 0.15
CONTRAST = 0.15
SATURATION = 0.15


def augment(batch: Tensor, generator: torch.Generator) -> Tensor:
    """b × 3 × s × s, uint8 or float in 0…1, to the same; all that is random comes from `generator`."""
    draws = (2 * torch.rand((len(batch), 8), generator=generator, dtype=torch.float64) - 1).tolist()
    return torch.stack([_augment(image, draw) for image, draw in zip(batch, draws, strict=True)])


def _augment(image: Tensor, draw: Sequence[float]) -> Tensor:
    """`draw`: eight numbers in −1…1."""
    mirrored, turned, right, down, scaled, brightness, contrast, saturation = draw
    side = image.shape[-1]
    if mirrored < 0:
        image = functional.horizontal_flip(image)
    image = functional.affine(
        image,
        angle=DEGREES * turned,
        translate=[SHIFT * side * right, SHIFT * side * down],
        scale=1 + SCALE * scaled,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    image = functional.adjust_brightness(image, 1 + BRIGHTNESS * brightness)
    image = functional.adjust_contrast(image, 1 + CONTRAST * contrast)
    coloured: Tensor = functional.adjust_saturation(image, 1 + SATURATION * saturation)
    return coloured
