from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from numpy.typing import NDArray
from points import points
from scipy.special import logit, softmax

from teledx_fed.config.learning import ModelSettings
from teledx_fed.core.examples import Eye
from teledx_fed.core.randomness import generator
from teledx_fed.data.maps import on_photograph
from teledx_fed.data.preprocessing import place, prepare
from teledx_fed.diagnosis.explain import _LogOdds
from teledx_fed.diagnosis.heat_map import DISCS_A_RADIUS, heat_map, overlay, referable_log_odds, sentence
from teledx_fed.model.bundle import Bundle, Calibration, Manifest, Outputs, Preparation, Scope
from teledx_fed.model.bundle_writing import write_bundle
from teledx_fed.model.network import Grader, build

Image = NDArray[np.uint8]
NASAL_IS = {Eye.RIGHT: 1, Eye.LEFT: -1}
"""Direction of the nose in a photograph: 1 right, -1 left."""
FROM_DISC_TO_MACULA = 2.5 / DISCS_A_RADIUS


def network(**settings: object) -> Grader:
    return build(ModelSettings(**{"name": "test_efficientnet", "initial": "none", **settings}), seed=0)  # type: ignore[arg-type]


def photographs(count: int = 6, size: int = 96) -> Image:
    return generator(2, purpose="photographs").integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def manifest() -> Manifest:
    calibration = Calibration(1.0, 0.9, 0.1, points(0.5, 0.5), 100, 50)
    return Manifest("north", "1", True, Preparation(2, 96, False, False), calibration, Scope((), 96), {})


def gradients(of: Grader, images: Image) -> NDArray[np.float32]:
    """Return captum's Grad-CAM, by autograd; each map is divided by its maximum."""
    explained = _LogOdds(of)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().requires_grad_()
    layer = explained.network.backbone.bn2
    maps = LayerGradCam(explained, layer).attribute(pixels, target=0, relu_attributions=True)[:, 0].detach().numpy()
    return maps / np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"freeze": "backbone"}, {"oedema": True}], ids=str)
def test_the_map_of_a_bundle_is_grad_cam_by_autograd(tmp_path: Path, settings: dict[str, object]) -> None:
    trained, images = network(**settings), photographs()
    write_bundle(trained, manifest(), tmp_path)
    bundle = Bundle(tmp_path, threads=1)
    maps = heat_map(bundle(images), bundle.head)
    assert maps.shape == (6, 3, 3)
    np.testing.assert_allclose(maps, gradients(trained, images), atol=1e-3)
    assert maps.max() == 1


@pytest.mark.slow
def test_the_heat_map_of_an_efficientnet_b0_is_grad_cam_by_autograd() -> None:
    trained, images = build(ModelSettings(freeze="backbone"), seed=0), photographs(2, 224)
    with torch.inference_mode():
        logits, maps = trained.forward_with_maps(torch.from_numpy(images).permute(0, 3, 1, 2))
    heat = heat_map(Outputs(logits.numpy(), None, maps.numpy()), trained.head.weight.detach().numpy())
    np.testing.assert_allclose(heat, gradients(trained, images), atol=1e-3)
    assert heat.shape == (2, 7, 7)


def test_the_explained_output_is_the_log_odds_of_grade_2_or_more() -> None:
    logits = generator(0, purpose="logits").normal(0, 3, (20, 5)).astype(np.float32)
    referable = softmax(logits.astype(float), axis=1)[:, 2:].sum(axis=1)
    np.testing.assert_allclose(referable_log_odds(logits), logit(referable), rtol=1e-4, atol=1e-4)


def test_a_photograph_without_evidence_of_disease_has_a_map_of_zeros() -> None:
    head = np.array([[1], [1], [0], [0], [0]], np.float32)
    maps = np.array([[[[0, 3], [1, 2]]], [[[0, -3], [-1, 2]]]], np.float32)
    heat = heat_map(Outputs(np.zeros((2, 5), np.float32), None, maps), head)
    np.testing.assert_allclose(heat, [[[0, 0], [0, 0]], [[0, 1], [1 / 3, 0]]])


def fundus(height: int, width: int, centre: tuple[int, int], radius: int) -> Image:
    """Draw a brown disc with letters beside it, cut at the borders of the photograph."""
    image = np.zeros((height, width, 3), np.uint8)
    cv2.circle(image, centre, radius, (170, 90, 40), -1)
    cv2.putText(image, "OD", (2, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
    return image


PLACES = {
    "whole": (300, 400, (200, 150), 100),
    "aside": (300, 400, (280, 190), 90),
    "cut above and below": (200, 400, (210, 95), 130),
    "cut at the left": (400, 300, (100, 200), 150),
}


@pytest.mark.parametrize("name", PLACES)
def test_the_overlay_colours_only_the_fundus(name: str) -> None:
    image = fundus(*PLACES[name])
    before, position = image.copy(), place(image)
    shown = overlay(image, np.ones((7, 7), np.float32), position)
    outside = position.mask == 0
    np.testing.assert_array_equal(shown[outside], image[outside])
    np.testing.assert_array_equal(image, before)
    assert (shown[~outside, 2].astype(int) - image[~outside, 2] > 40).all(), "bluer"


def test_pixels_without_evidence_are_unchanged() -> None:
    image = fundus(*PLACES["whole"])
    np.testing.assert_array_equal(overlay(image, np.zeros((7, 7), np.float32), place(image)), image)


@pytest.mark.parametrize("name", PLACES)
def test_the_map_is_placed_where_the_network_saw_the_photograph(name: str) -> None:
    """Find a spot of the photograph in the prepared square; a map of the square points at the spot again."""
    height, width, (x, y), radius = PLACES[name]
    image, spot = fundus(height, width, (x, y), radius), (x + radius // 3, y - radius // 4)
    cv2.circle(image, spot, radius // 15, (90, 240, 240), -1)
    prepared = prepare(image, 64)[..., 2].astype(np.float32)
    row, column = np.unravel_index(on_photograph(prepared, place(image)).argmax(), (height, width))
    assert np.hypot(column - spot[0], row - spot[1]) < radius / 15 + radius / 32


def hot(there: complex, cells: int = 15) -> NDArray[np.float32]:
    """Return a map (cells, cells) with its maximum at `there`, in radii from the middle."""
    heat = np.full((cells, cells), 0.2, np.float32)
    heat[round((there.imag + 1) * cells / 2 - 0.5), round((there.real + 1) * cells / 2 - 0.5)] = 1
    return heat


@pytest.mark.parametrize("eye", [Eye.RIGHT, Eye.LEFT])
@pytest.mark.parametrize("vertical", ["superior", "inferior"])
@pytest.mark.parametrize("horizontal", ["nasal", "temporal"])
def test_the_quadrant_turns_with_the_eye(eye: Eye, vertical: str, horizontal: str) -> None:
    right = NASAL_IS[eye] * (1 if horizontal == "nasal" else -1)
    there = complex(0.4 * right, -0.4 if vertical == "superior" else 0.4)
    text = sentence(hot(there), eye, complex(NASAL_IS[eye] * FROM_DISC_TO_MACULA, -0.08))
    assert text == (
        f"{eye.value.capitalize()} eye: the regions that contributed most to 'referable' lie in the {vertical} "
        f"{horizontal} quadrant, about 2 disc diameters from the macula. The map shows no detail smaller than 1/15 of "
        "the photograph's width."
    )


@pytest.mark.parametrize("eye", [Eye.RIGHT, Eye.LEFT])
def test_on_a_photograph_centred_on_the_disc_the_macula_lies_towards_the_temple(eye: Eye) -> None:
    temple = -NASAL_IS[eye]
    assert "within about a disc diameter of the macula" in sentence(hot(0.7 * temple + 0.1j), eye, 0j)
    nasal = sentence(hot(-0.5 * temple - 0.3j), eye, 0j)
    assert "superior nasal quadrant, about 4.5 disc diameters" in nasal


@pytest.mark.parametrize(("eye", "disc"), [(Eye.RIGHT, None), (Eye.UNKNOWN, 0.7 + 0j), (Eye.RIGHT, -0.7 + 0j)])
@pytest.mark.parametrize(
    ("there", "words"),
    [
        (-0.5 - 0.5j, "in the upper left part of the photograph"),
        (0.6 + 0j, "in the right part of the photograph"),
        (0.6j, "in the lower part of the photograph"),
        (0j, "in the middle of the photograph"),
    ],
)
def test_without_a_macula_the_sentence_names_a_part_of_the_photograph(
    eye: Eye, disc: complex | None, there: complex, words: str
) -> None:
    text = sentence(hot(there, 7), eye, disc)
    assert words in text
    assert "smaller than 1/7 of" in text
    assert "nasal" not in text
    assert "macula" not in text


def test_a_flat_map_and_black_corners_give_no_position() -> None:
    corner = np.zeros((7, 7), np.float32)
    corner[0, 0] = 1
    for heat in (corner, np.zeros((7, 7), np.float32)):
        assert sentence(heat, Eye.LEFT, None) == "Left eye: no region of the map contributed to 'referable'."
