from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.preprocessing import fundus_mask, prepare, prepare_photograph

Image = NDArray[np.uint8]


def disc(height: int = 300, width: int = 400, centre: tuple[int, int] = (200, 150), radius: int = 100) -> Image:
    """Return a brown disc with a bright spot on black."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    cv2.circle(image, centre, radius, (170, 90, 40), -1)
    cv2.circle(image, (centre[0] + radius // 2, centre[1]), radius // 8, (250, 220, 150), -1)
    return image


def jpeg(folder: Path, image: Image) -> PhotographFile:
    path = folder / "photograph.jpg"
    cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return PhotographFile(path)


def box(image: Image) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(fundus_mask(image))
    return x, y, width, height


@pytest.mark.parametrize("size", [28, 64, 224])
@pytest.mark.parametrize("options", [{}, {"ben_graham": True}, {"clahe": True}, {"ben_graham": True, "clahe": True}])
def test_shape_and_corners(size: int, options: dict[str, bool]) -> None:
    prepared = prepare(disc(), size, **options)
    assert prepared.shape == (size, size, 3)
    assert prepared.dtype == np.uint8
    corners = prepared[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 0).all()
    assert (prepared[size // 2, [1, size // 2, -2]].max(axis=1) > 50).all(), "the disc reaches both sides"


@pytest.mark.parametrize("brightness", [1.0, 0.3, 0.12])
@pytest.mark.parametrize("border", [0, 12])
def test_finds_the_disc_of_dim_and_of_raised_photographs(brightness: float, border: int) -> None:
    noise = np.random.default_rng(0).normal(border, 1, (300, 400, 3))
    image = np.clip(disc() * brightness + noise, 0, 255).astype(np.uint8)
    assert np.abs(np.subtract(box(image), (100, 50, 201, 201))).max() <= 4


def test_lettering_beside_the_disc_is_cropped_away() -> None:
    image = disc()
    cv2.putText(image, "OD", (5, 30), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 3)
    np.testing.assert_array_equal(prepare(image, 64), prepare(disc(), 64))


def test_a_disc_cut_at_top_and_bottom_keeps_its_proportions() -> None:
    cut = disc()[80:220]
    prepared = prepare(cut, 200)
    rows = np.flatnonzero(prepared.max(axis=(1, 2)) > 50)
    assert (rows[0], rows[-1]) == pytest.approx((30, 169), abs=3), "padded above and below, not stretched"


def test_a_photograph_without_a_border_is_kept_whole() -> None:
    inside = disc(radius=99)[110:190, 120:260]
    assert box(inside) == (0, 0, 140, 80)


@pytest.mark.parametrize("noise", [0, 3])
def test_a_black_photograph_is_refused(noise: float) -> None:
    black = np.abs(np.random.default_rng(0).normal(0, noise, (300, 300, 3))).astype(np.uint8)
    with pytest.raises(ValueError, match="must show a fundus"):
        prepare(black, 64)


def test_dead_pixels_are_not_a_fundus() -> None:
    specks = np.zeros((200, 200, 3), dtype=np.uint8)
    specks[::20, ::20] = 255
    with pytest.raises(ValueError, match="must show a fundus"):
        prepare(specks, 64)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 3000, 3), (5, 4, 3)])
def test_unusual_shapes_are_prepared_or_refused(shape: tuple[int, int, int]) -> None:
    assert prepare(np.full(shape, 90, dtype=np.uint8), 32).shape == (32, 32, 3)


def test_a_large_file_decoded_at_a_fraction_looks_the_same(tmp_path: Path) -> None:
    texture = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 800, (900, 1200, 3)), (0, 0), 12)
    image = np.where(disc(900, 1200, (600, 450), 440) > 0, np.clip(120 + texture, 20, 250), 0).astype(np.uint8)
    file = jpeg(tmp_path, image)
    assert file.reduced(2 * 100) is not None
    whole, quick = prepare(file.read(), 100), prepare_photograph(file, 100)
    assert (whole != quick).any(), "it was decoded at a fraction"
    inside = np.s_[20:80, 20:80]
    assert cv2.PSNR(whole[inside], quick[inside]) > 30, "but for the rim, which lies a pixel aside"


@pytest.mark.parametrize("radius", [90, 60])
def test_a_small_disc_in_a_large_file_is_decoded_whole(tmp_path: Path, radius: int) -> None:
    file = jpeg(tmp_path, disc(1000, 1000, (500, 500), radius))
    assert file.reduced(2 * 100) is not None
    np.testing.assert_array_equal(prepare_photograph(file, 100), prepare(file.read(), 100))


def test_the_local_average_takes_the_illumination_away() -> None:
    lit = (disc() * np.linspace(0.1, 1, 400)[None, :, None]).astype(np.uint8)
    plain, levelled = (prepare(lit, 128, ben_graham=choice)[64] for choice in (False, True))
    left, right = slice(10, 30), slice(60, 80)
    assert plain[right].mean() - plain[left].mean() > 15
    assert abs(levelled[right].mean() - levelled[left].mean()) < 5


def test_clahe_raises_contrast_and_keeps_hue() -> None:
    faint = np.zeros((200, 200, 3), dtype=np.uint8)
    texture = np.random.default_rng(0).integers(0, 2, (20, 20), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    faint[:] = (120, 70, 40)
    faint += (texture[..., None] * np.array([12, 7, 4])).astype(np.uint8)
    plain, equalised = prepare(faint, 200), prepare(faint, 200, clahe=True)
    assert equalised.std(axis=(0, 1))[0] > 1.15 * plain.std(axis=(0, 1))[0]
    red, green, blue = equalised.mean(axis=(0, 1))
    assert red > green > blue


def test_the_disc_fills_every_real_photograph(real_data: Path) -> None:
    for pattern in ("aptos2019/train_images/*", "eyepacs/train/*", "messidor2_a/IMAGES/*", "messidor2_b/IMAGES/*"):
        for path in sorted(real_data.glob(pattern))[:8]:
            prepared = prepare(PhotographFile(path).read(), 96)
            lit = prepared.max(axis=2) > 0
            assert max(np.ptp(np.flatnonzero(lit.any(axis=axis))) for axis in (0, 1)) >= 93, path.name
            assert 0.4 < lit.mean() <= 1, path.name
