import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from teledx_fed.data.augmentation import BRIGHTNESS, CONTRAST, DEGREES, SATURATION, SCALE, SHIFT, augment


def batch(count: int = 8) -> torch.Tensor:
    """Return copies (count, 3, 48, 48) of one image: a disc with a spot beside its centre."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    image = 120 * (x**2 + y**2 < 0.8) + 100 * ((x - 0.4) ** 2 + y**2 < 0.03)
    return torch.stack([image, image / 2, image / 3]).to(torch.uint8).expand(count, -1, -1, -1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_equal_generators_give_equal_bits() -> None:
    assert torch.equal(augment(batch(), seeded(1)), augment(batch(), seeded(1)))
    assert not torch.equal(augment(batch(), seeded(1)), augment(batch(), seeded(2)))


def test_the_global_generator_is_not_used() -> None:
    before = torch.random.get_rng_state()
    augment(batch(), seeded(1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_each_image_of_a_batch_is_augmented_differently() -> None:
    assert len(torch.unique(augment(batch(8), seeded(3)), dim=0)) == 8


def test_about_half_of_the_images_are_mirrored() -> None:
    augmented = augment(batch(64), seeded(4)).float()
    on_the_left = augmented[..., :24].mean(dim=(1, 2, 3)) > augmented[..., 24:].mean(dim=(1, 2, 3))
    assert 20 <= int(on_the_left.sum()) <= 44


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_dtype_is_kept(dtype: torch.dtype) -> None:
    images = batch() if dtype == torch.uint8 else batch() / 255
    augmented = augment(images, seeded(5))
    assert (augmented.dtype, augmented.shape) == (images.dtype, images.shape)
    assert float(augmented.max()) <= (255 if dtype == torch.uint8 else 1)
    assert float(augmented.float().mean()) == pytest.approx(float(images.float().mean()), rel=0.15), "changes are small"


def test_prepared_photographs_need_not_be_contiguous() -> None:
    channels_last = batch().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(augment(channels_last, seeded(6)), augment(batch(), seeded(6)))


def one_by_one(image: torch.Tensor, draw: list[float]) -> torch.Tensor:
    """Apply torchvision's functions in the order of `augment`; `draw` contains eight numbers in −1…1."""
    mirrored, turned, right, down, scaled, brightness, contrast, saturation = draw
    side = image.shape[-1]
    image = functional.horizontal_flip(image) if mirrored < 0 else image
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
    return functional.adjust_saturation(image, 1 + SATURATION * saturation)


@pytest.mark.parametrize("side", [48, 49])
def test_a_batch_equals_torchvision_on_each_image(side: int) -> None:
    coarse = torch.rand((16, 3, 6, 6), generator=seeded(7))
    images = torch.nn.functional.interpolate(coarse, side, mode="bilinear")
    draws = (2 * torch.rand((16, 8), generator=seeded(8), dtype=torch.float64) - 1).tolist()
    expected = torch.stack([one_by_one(image, draw) for image, draw in zip(images, draws, strict=True)])
    torch.testing.assert_close(augment(images, seeded(8)), expected, rtol=0, atol=1e-4)
    rounded = augment((255 * images).round().to(torch.uint8), seeded(8))
    torch.testing.assert_close(rounded / 255, expected, rtol=0, atol=0.006)  # torchvision rounds at every step


def test_the_input_is_not_changed() -> None:
    for images in (batch().clone(), batch() / 255):
        before = images.clone()
        augment(images, seeded(9))
        assert images.equal(before)
