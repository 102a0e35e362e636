"""Draw a fundus photograph: light reflected by the retina, absorbed by blood and pigment, and seen by a camera.

image = blur(haze(illumination · reflectance · exp(−blood − melanin) + flare)) + noise, in RGB from 0 to 1.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from teledx_fed.data.anatomy import EyeAnatomy, Vessels
from teledx_fed.data.cameras import CENTRE, SIZE, Camera, CameraView, Colour, Points
from teledx_fed.data.lesions import Finding, FindingKind

Image = NDArray[np.float32]
"""A mask is height × width, a coloured image 3 × height × width."""

GRID: Points = (np.arange(SIZE) + 1j * np.arange(SIZE)[:, None]).astype(np.complex64)

FOCUS = 0.4
"""Standard deviation of the logarithm of the blur between photographs."""

FINE = 2
"""Masks are drawn at this multiple of the size and averaged: the smallest lesions are a few pixels wide."""
SHIFT = 4
"""Bits of sub-pixel precision."""

RETINA: Colour = (0.92, 0.47, 0.20)
DISC: Colour = (0.98, 0.76, 0.45)
CUP: Colour = (1.00, 0.93, 0.74)
GLINT: Colour = (0.90, 0.88, 0.72)
FLARE: Colour = (0.45, 0.62, 0.50)
ARTERY, VEIN, GLEAM, NEW_VESSEL = 0.38, 0.60, 0.22, 0.75
"""Absorption as a share of that of blood."""
DEPOSITS: dict[FindingKind, tuple[Colour, float]] = {
    FindingKind.DRUSEN: ((0.98, 0.78, 0.42), 1.2),
    FindingKind.COTTON_WOOL_SPOT: ((0.96, 0.86, 0.66), 3.0),
    FindingKind.HARD_EXUDATE: ((1.00, 0.87, 0.42), 0.6),
}
"""Deposits brighter than the retina: colour, and blur of the edge in pixels."""
BLOOD: Colour = (0.48, 1.20, 1.35)
MELANIN: Colour = (0.60, 0.75, 0.85)
"""Optical densities."""


def photograph(
    eye: EyeAnatomy, view: CameraView, camera: Camera, findings: Sequence[Finding], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw a photograph, SIZE × SIZE × 3, RGB, with findings in pixels."""
    fundus = view.fundus(GRID)
    disc = _from_disc(eye, fundus)
    melanin = _melanin(eye, fundus, rng) * (1 - 0.8 * _soft(disc, 0.3))
    melanin += _painted(findings, (FindingKind.NAEVUS,), blur=4)
    density = _in_colour(_blood(eye, view, findings), BLOOD) + _in_colour(melanin, MELANIN)
    light = _reflectance(eye, disc, findings) * np.exp(-density)
    offset = (GRID - CENTRE) / camera.radius
    return _exposed(_hazy(_lit(light, offset, camera, findings, rng), rng), offset, camera, rng)


def covered(findings: Iterable[Finding]) -> NDArray[np.bool_]:
    """Return the mask of pixels that these findings cover in part, SIZE × SIZE, before the camera's blur.

    A beaded vein counts by the circle around it.
    """
    canvas = _canvas()
    for finding in findings:
        if finding.kind in (FindingKind.IRMA, FindingKind.NEOVASCULARISATION):
            cv2.polylines(canvas, list(_fixed(_tangle(finding))), False, 255, 1, cv2.LINE_AA, SHIFT)
        elif finding.kind is FindingKind.VENOUS_BEADING:
            _fill(canvas, finding.centre + finding.radius * np.exp(2j * np.pi * np.arange(24) / 24)[None], 1)
        else:
            _fill(canvas, _blobs([finding]), 1)
    return canvas.reshape(SIZE, FINE, SIZE, FINE).max(axis=(1, 3)) > 0


def _in_colour(mask: Image, colour: ArrayLike) -> Image:
    return np.asarray(colour, np.float32)[:, None, None] * mask


def _cover(image: Image, colour: Colour, mask: Image) -> None:
    """Blend an image towards `colour` where the mask is 1, in place."""
    if mask.any():
        for channel, shade in zip(image, colour, strict=True):
            channel += mask * (shade - channel)


def _soft(distance: Image, width: float) -> Image:
    """Return 1 well inside distance 1, and 0 well outside."""
    return np.clip((1 - distance) / width + 0.5, 0, 1)


def _clouds(rng: np.random.Generator, cells: int) -> Image:
    """Draw smooth noise, about `cells` bumps across."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.float32)


def _melanin(eye: EyeAnatomy, fundus: Points, rng: np.random.Generator) -> Image:
    """Draw pigment: dense at the fovea, uneven, and between vessels of the choroid where these show."""
    r = np.abs(fundus)
    fovea = 0.35 * np.exp(-((r / 0.22) ** 2)) + 0.40 * np.exp(-((r / 0.85) ** 2))
    ridges = np.exp(-((_clouds(rng, 40) / 0.6) ** 2)) * np.clip((r - 1) / 2, 0, 1)
    uneven = 0.10 * _clouds(rng, 5) + 0.06 * _clouds(rng, 16) + 0.03 * _clouds(rng, 90)
    return eye.melanin + fovea + uneven - eye.tessellation * ridges


def _from_disc(eye: EyeAnatomy, fundus: Points) -> Image:
    """Return the distance from the optic disc's centre, 1 on its rim."""
    offset = fundus - eye.disc
    return np.hypot(offset.real / eye.disc_radius.real, offset.imag / eye.disc_radius.imag)


def _reflectance(eye: EyeAnatomy, disc: Image, findings: Sequence[Finding]) -> Image:
    retina = _in_colour(1 + 0.18 * np.exp(-((disc / 2.2) ** 2)), RETINA)
    _cover(retina, DISC, 0.9 * _soft(disc, 0.22))
    _cover(retina, CUP, 0.8 * _soft(disc / eye.cup, 0.5))
    for kind, (colour, blur) in DEPOSITS.items():
        _cover(retina, colour, _painted(findings, (kind,), blur))
    return retina


def _blood(eye: EyeAnatomy, view: CameraView, findings: Sequence[Finding]) -> Image:
    """Draw absorption by vessels and haemorrhages."""
    spots = _painted(findings, (FindingKind.MICROANEURYSM, FindingKind.HAEMORRHAGE), blur=0.8)
    pools = _painted(findings, (FindingKind.PRERETINAL_HAEMORRHAGE,), blur=1.5)
    veil = _painted(findings, (FindingKind.VITREOUS_HAEMORRHAGE,), blur=14)
    return _vessels(eye, view, findings) + 0.8 * spots + 1.6 * pools + 1.2 * veil


def _vessels(eye: EyeAnatomy, view: CameraView, findings: Sequence[Finding]) -> Image:
    """Draw vessels: veins wider and darker than arteries, whose trunks gleam along the middle."""
    canvas = _canvas()
    for order in reversed(eye.vessels):
        outlines = view.pixels(_outlines(order, order.width * _beads(order, view, findings)))
        _fill(canvas, outlines[order.artery], ARTERY)
        _fill(canvas, outlines[~order.artery], VEIN)
    trunks = eye.vessels[0]
    _fill(canvas, view.pixels(_outlines(trunks, 0.3 * trunks.width))[trunks.artery], GLEAM)
    for finding in findings:
        if finding.kind in (FindingKind.IRMA, FindingKind.NEOVASCULARISATION):
            threads = list(_fixed(_tangle(finding)))
            cv2.polylines(canvas, threads, False, round(255 * NEW_VESSEL * finding.contrast), 1, cv2.LINE_AA, SHIFT)
    return _reduced(canvas, blur=0.5)


def _outlines(vessels: Vessels, width: NDArray[np.float64]) -> Points:
    side = 0.5j * width * np.exp(1j * vessels.heading)
    return np.concatenate([vessels.path + side, (vessels.path - side)[:, ::-1]], axis=1)


def _beads(vessels: Vessels, view: CameraView, findings: Iterable[Finding]) -> NDArray[np.float64]:
    """Return the relative width of vessels, point by point: veins that bead vary along their length."""
    path = view.pixels(vessels.path)
    string = 0.3 + 0.9 * np.sin(1.25 * np.arange(path.shape[1]))
    width = np.ones(path.shape)
    for finding in findings:
        if finding.kind is FindingKind.VENOUS_BEADING:
            near = (np.abs(path - finding.centre) < finding.radius) & ~vessels.artery[:, None]
            width += finding.contrast * near * string
    return width


def _tangle(finding: Finding) -> Points:
    """Return threads of new vessels that wander from a root, threads × points."""
    t = np.linspace(0, 1, 30)
    thread = np.arange(9)[:, None]
    sway = 2.2 * np.sin(7 * t + 3 * thread * finding.shape) + 1.5 * np.sin(17 * t + thread)
    walk = np.cumsum(np.exp(1j * (finding.shape + 2.4 * thread + sway)), axis=1) / 17
    return np.asarray(finding.centre + finding.radius * walk, np.complex128)


def _blobs(findings: Sequence[Finding]) -> Points:
    """Return rounded, irregular outlines, findings × points; preretinal blood settles below a level line."""
    centre, radius, shape = np.array([(f.centre, f.radius, f.shape) for f in findings]).T[..., None]
    pooled = np.array([[f.kind is FindingKind.PRERETINAL_HAEMORRHAGE] for f in findings])
    angle, s = np.linspace(0, 2 * np.pi, 24, endpoint=False), shape.real
    waves = 0.20 * np.sin(2 * angle + s) + 0.12 * np.sin(3 * angle + 5 * s) + 0.06 * np.sin(5 * angle + 11 * s)
    around = (1 + np.where(pooled, 0.4, 1) * waves) / 1.2 * np.exp(1j * angle)
    level = np.where(pooled, -0.15, -2)
    return centre + radius * (around.real + 1j * np.maximum(around.imag, level))


def _painted(findings: Iterable[Finding], kinds: tuple[FindingKind, ...], blur: float) -> Image:
    """Return how strongly findings of these kinds cover each pixel, 0 to 1."""
    chosen = [finding for finding in findings if finding.kind in kinds]
    if not chosen:
        return np.zeros((SIZE, SIZE), np.float32)
    canvas = _canvas()
    _fill(canvas, _blobs(chosen), [finding.contrast for finding in chosen])
    return _reduced(canvas, blur)


def _canvas() -> NDArray[np.uint8]:
    return np.zeros((FINE * SIZE, FINE * SIZE), np.uint8)


def _fill(canvas: NDArray[np.uint8], outlines: Points, values: ArrayLike) -> None:
    """Fill outlines with one value for all, or one for each."""
    for outline, value in zip(_fixed(outlines), np.broadcast_to(values, len(outlines)).tolist(), strict=True):
        cv2.fillPoly(canvas, [outline], round(255 * value), cv2.LINE_AA, SHIFT)


def _fixed(pixels: Points) -> NDArray[np.int32]:
    """Convert to fixed-point coordinates on the fine canvas."""
    fine = (FINE * pixels + complex(FINE - 1, FINE - 1) / 2) * 2**SHIFT
    return np.stack([fine.real, fine.imag], axis=-1).round().astype(np.int32)


def _reduced(canvas: NDArray[np.uint8], blur: float) -> Image:
    small = cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return np.asarray(cv2.GaussianBlur(small, (0, 0), blur), np.float32)


def _lit(light: Image, offset: Points, camera: Camera, findings: Sequence[Finding], rng: np.random.Generator) -> Image:
    """Apply light from a lamp off the centre, and a lens with dust and reflections; `offset` in radii."""
    lamp = complex(*rng.normal(0, 0.22, 2))
    fall = 1 - camera.vignette * rng.uniform(0.6, 1.4) * _square(offset - lamp)
    gain = camera.brightness * np.array(camera.tint) * np.exp(rng.normal(0, 0.20) + rng.normal(0, (0.08, 0.06, 0.15)))
    lit = light * _in_colour(fall * (1 - _painted(findings, (FindingKind.DUST,), blur=2)), gain)
    _cover(lit, GLINT, _painted(findings, (FindingKind.REFLECTION,), blur=8))
    rim = _square(offset + lamp / 2)
    return lit + _in_colour(camera.flare * rng.exponential() * rim * rim * rim, FLARE)


def _hazy(lit: Image, rng: np.random.Generator) -> Image:
    """Apply the haze of a cataract or a dry eye: scattered light lowers contrast equally in every grade."""
    haze = np.float32(rng.beta(1.3, 2.2))
    return (1 - haze) * lit + haze * lit.mean(axis=(1, 2), keepdims=True)


def _exposed(lit: Image, offset: Points, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    blur = camera.blur * rng.lognormal(0, FOCUS)
    noise = camera.noise * rng.standard_normal((SIZE, SIZE), dtype=np.float32)
    within = (_square(offset) <= 1) & (np.abs(offset.imag) <= camera.cut)
    channels = [np.clip(cv2.GaussianBlur(channel, (0, 0), blur) + noise, 0, 1) * within for channel in lit]
    return (255 * cv2.merge(channels)).astype(np.uint8)


def _square(offset: Points) -> Image:
    return np.asarray(offset.real**2 + offset.imag**2, np.float32)
