"""Augment a batch: random changes of position and colour, independent for each image."""

import torch
from torch import Tensor
from torch.nn import functional

from teledx_fed.core.devices import to_device

AUGMENTATION_VERSION = 1
"""Increase it when a change of the code gives other pixels for the same image and random draws."""

DEGREES = 15.0
SHIFT = 0.04
"""The largest shift, as a share of the image's side."""
SCALE = 0.08
BRIGHTNESS = 0.15
CONTRAST = 0.15
SATURATION = 0.15


def augment(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Augment images (b, 3, s, s), uint8 or float in 0…1. All randomness comes from `generator`.

    The result equals torchvision's flip, affine, brightness, contrast and saturation, applied to each image.
    """
    draws = 2 * torch.rand((len(batch), 8), generator=generator, dtype=torch.float64) - 1
    *geometry, brightness, contrast, saturation = draws.float().unbind(1)
    colours = 1 + BRIGHTNESS * brightness, 1 + CONTRAST * contrast, 1 + SATURATION * saturation
    factors = to_device(torch.stack([*_affine_factors(*geometry), *colours]), batch.device)[:, :, None, None].unbind()
    transformed = _transformed(batch if batch.is_floating_point() else batch / 255, *factors[:6])
    changed = _coloured(transformed, *(factor[:, None] for factor in factors[6:]))
    return changed if batch.is_floating_point() else changed.mul_(255).round_().to(torch.uint8)


def _affine_factors(
    mirrored: Tensor, turned: Tensor, right: Tensor, down: Tensor, scaled: Tensor
) -> tuple[Tensor, ...]:
    """Compute the factors of `_transformed` from random numbers in -1…1.

    They mirror, turn and scale the image about its centre, then shift it.
    """
    angle, scale = torch.deg2rad(DEGREES * turned), 1 + SCALE * scaled
    cosine, sine, flip = torch.cos(angle) / scale, torch.sin(angle) / scale, torch.where(mirrored < 0, -1.0, 1.0)
    return flip * cosine, flip * sine, cosine, sine, 2 * SHIFT * right, 2 * SHIFT * down


def _transformed(
    images: Tensor,
    flipped_cosine: Tensor,
    flipped_sine: Tensor,
    cosine: Tensor,
    sine: Tensor,
    right: Tensor,
    down: Tensor,
) -> Tensor:
    """Apply an affine map from target to source pixels. All factors are (b, 1, 1); a shift of 1 is half the side."""
    side = images.shape[-1]
    centres = torch.linspace(1 / side - 1, 1 - 1 / side, side, device=images.device)  # pixels, in grid_sample's units
    x, y = centres - right, centres[:, None] - down
    grid = torch.stack([flipped_cosine * x + flipped_sine * y, cosine * y - sine * x], dim=-1)
    return functional.grid_sample(images, grid, align_corners=False)


def _coloured(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    images = images.mul_(brightness).clamp_(0, 1)
    images = _scaled_about(_grey(images).mean(dim=(1, 2, 3), keepdim=True), images, contrast)
    return _scaled_about(_grey(images), images, saturation)


def _scaled_about(grey: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Return grey + factor × (images − grey), within 0…1."""
    return images.sub_(grey).mul_(factor).add_(grey).clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, dim=1)
    return (0.2989 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)
