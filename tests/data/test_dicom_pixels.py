import hashlib
import io
from pathlib import Path

import cv2
import jpeg_ls
import numpy as np
import pydicom
import pytest
from dicom_files import (
    DEEP,
    GREY,
    J2K,
    J2K_LOSSLESS,
    JPEG,
    PLAIN,
    RGB,
    SMOOTH,
    compressed,
    encoded,
    photograph,
    saved,
    shown,
    stacked,
    store,
)
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space

from teledx_fed.data.dicom import DicomPhotograph
from teledx_fed.data.dicom_pixels import PHOTOGRAPHS
from teledx_fed.data.photographs import PhotographFile

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # as the library sets it outside pytest

Picture = NDArray[np.uint8]


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize("kind", sorted(PHOTOGRAPHS))
def test_uncompressed_photographs_of_every_kind(syntax: uid.UID, kind: str) -> None:
    np.testing.assert_array_equal(shown(photograph(RGB, syntax=syntax, SOPClassUID=kind)), RGB)


def test_a_photograph_is_a_file(tmp_path: Path) -> None:
    path = saved(tmp_path, photograph(RGB))
    file = DicomPhotograph(path)
    np.testing.assert_array_equal(file.read(), RGB)
    assert (file.name, file.size()) == (str(path), (40, 60))
    assert file.digest() == hashlib.sha256(path.read_bytes()).hexdigest()
    for ask in (file.read, file.size, file.digest):
        path.unlink(missing_ok=True)
        with pytest.raises(ValueError, match="photograph must be readable, got No such file"):
            ask()


def test_colours_by_plane() -> None:
    by_plane = photograph(RGB, PlanarConfiguration=1)
    store(by_plane, np.moveaxis(RGB, -1, 0).tobytes())
    np.testing.assert_array_equal(shown(by_plane), RGB)


@pytest.mark.parametrize("image", [RGB, RGB[:39, :59]])
def test_rle(image: Picture) -> None:
    dataset = photograph(image)
    dataset.compress(uid.RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(shown(dataset), image)


def test_rle_of_16_bits() -> None:
    dataset = photograph(DEEP, "MONOCHROME2", BitsStored=12, HighBit=11)
    dataset.compress(uid.RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(shown(dataset), stacked(np.rint(DEEP / 4095 * 255)))


@pytest.mark.parametrize("interpretation", ["YBR_FULL_422", "YBR_FULL", "RGB"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpeg_baseline(interpretation: str, subsampling: int) -> None:
    """A JPEG that is exported as RGB usually still contains YCbCr, and its header states so."""
    content = encoded(SMOOTH, "JPEG", quality=95, subsampling=subsampling)
    image = shown(compressed(SMOOTH, JPEG, interpretation, quality=95, subsampling=subsampling))
    truth = np.asarray(Image.open(io.BytesIO(content)))
    assert np.abs(image.astype(int) - truth).max() <= 1
    assert np.abs(image.astype(int) - SMOOTH).mean() < 4


def test_jpeg_in_fragments() -> None:
    dataset = photograph(SMOOTH, "YBR_FULL_422", JPEG)
    content = encoded(SMOOTH, "JPEG")
    store(dataset, encapsulate([content], fragments_per_frame=3))
    assert np.abs(shown(dataset).astype(int) - np.asarray(Image.open(io.BytesIO(content)))).max() <= 1


@pytest.mark.parametrize("interpretation", ["RGB", "YBR_RCT"])
def test_jpeg_2000_lossless(interpretation: str) -> None:
    mct = int(interpretation == "YBR_RCT")
    dataset = compressed(RGB, J2K_LOSSLESS, interpretation, irreversible=False, mct=mct)
    np.testing.assert_array_equal(shown(dataset), RGB)


def test_jpeg_2000_lossy() -> None:
    options = {"irreversible": True, "quality_mode": "dB", "quality_layers": [40]}
    image = shown(compressed(SMOOTH, J2K, "YBR_ICT", **options))
    np.testing.assert_array_equal(image, np.asarray(Image.open(io.BytesIO(encoded(SMOOTH, "JPEG2000", **options)))))
    assert 38 < cv2.PSNR(image, SMOOTH) < 60


def test_jpeg_2000_of_16_bits() -> None:
    dataset = photograph(DEEP, "MONOCHROME2", J2K_LOSSLESS)
    store(dataset, encapsulate([encoded(DEEP, "JPEG2000", irreversible=False)]))
    np.testing.assert_array_equal(shown(dataset), stacked(np.rint(DEEP / 65535 * 255)))


TO_YBR = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
"""PS3.3 C.7.6.3.1.2."""


def ybr(image: Picture) -> Picture:
    return np.rint(np.clip(image @ TO_YBR.T + [0, 128, 128], 0, 255)).astype(np.uint8)


def test_ybr_full() -> None:
    image = shown(photograph(ybr(SMOOTH), "YBR_FULL"))
    assert np.abs(image.astype(int) - SMOOTH).max() <= 2, "rounding there and back"


def test_ybr_full_422() -> None:
    """Each pair of pixels has two brightnesses and one colour."""
    pairs = SMOOTH[:, ::2].repeat(2, axis=1)
    pairs[:, 1::2] = np.clip(pairs[:, 1::2] // 2 + 60, 0, 255)
    full = ybr(pairs)
    full[:, 1::2, 1:] = full[:, ::2, 1:]
    dataset = photograph(full, "YBR_FULL_422")
    store(dataset, np.concatenate([full[:, ::2, :1], full[:, 1::2, :1], full[:, ::2, 1:]], axis=-1).tobytes())
    np.testing.assert_array_equal(shown(dataset), shown(photograph(full, "YBR_FULL")))


def test_rgb_of_16_bits() -> None:
    dataset = photograph(RGB.astype(np.uint16) * 257, "RGB")
    np.testing.assert_array_equal(shown(dataset), RGB)


@pytest.mark.parametrize("bits", [8, 16])
def test_palette(bits: int) -> None:
    colours = np.random.default_rng(2).integers(0, 256, (256, 3), dtype=np.uint8)
    dataset = photograph(GREY, "PALETTE COLOR")
    for channel, colour in enumerate(("Red", "Green", "Blue")):
        table = colours[:, channel].astype("<u2") * 257 if bits == 16 else colours[:, channel]
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", table.tobytes())
    np.testing.assert_array_equal(shown(dataset), colours[GREY])


def test_real_photographs_are_the_same_as_jpeg_and_as_dicom(real_data: Path) -> None:
    for folder in ("aptos2019/train_images", "eyepacs/train", "messidor2_a/IMAGES"):
        file = next(path for path in sorted((real_data / folder).iterdir()) if path.suffix in (".jpg", ".jpeg"))
        truth = PhotographFile(file).read()
        dataset = photograph(truth, "YBR_FULL_422", JPEG)
        store(dataset, encapsulate([file.read_bytes()]))
        assert np.abs(shown(dataset).astype(int) - truth).max() <= 1, file


@pytest.mark.parametrize(
    ("stored", "interpretation"), [(RGB, "RGB"), (GREY, "MONOCHROME2"), (DEEP, "MONOCHROME2")], ids=str
)
def test_jpeg_ls_equals_uncompressed_pixels(stored: NDArray[np.unsignedinteger], interpretation: str) -> None:
    values = {"BitsStored": 12, "HighBit": 11} if stored is DEEP else {}
    dataset = photograph(stored, interpretation, uid.JPEGLSLossless, **values)
    expected = shown(photograph(stored, interpretation, **values))
    store(dataset, encapsulate([bytes(jpeg_ls.encode_array(stored))]))
    np.testing.assert_array_equal(shown(dataset), expected)


ORIGINS = Path(pydicom.__file__).parent / "data" / "test_files"


def test_lossless_jpeg_equals_uncompressed_pixels() -> None:
    """Compare versions of one photograph, 100 × 100, that several programs compressed."""
    lossless, plain = (pydicom.dcmread(ORIGINS / f"SC_rgb_{name}.dcm") for name in ("jpeg_gdcm", "rle"))
    assert lossless.file_meta.TransferSyntaxUID == uid.JPEGLosslessSV1
    np.testing.assert_array_equal(shown(lossless), shown(plain))
    lossless.file_meta.TransferSyntaxUID = uid.JPEGLossless
    np.testing.assert_array_equal(shown(lossless), shown(plain))
    lossless.Rows = 50
    with pytest.raises(ValueError, match="must be 50 × 100 as its header says, got 100 × 100"):
        shown(lossless)


def test_a_lossless_jpeg_of_ycbr_is_shown_in_rgb() -> None:
    lossless = pydicom.dcmread(ORIGINS / "SC_rgb_jpeg_gdcm.dcm")
    samples = shown(lossless)
    lossless.PhotometricInterpretation = "YBR_FULL"
    np.testing.assert_array_equal(shown(lossless), convert_color_space(samples, "YBR_FULL", "RGB"))


def test_extended_jpeg_of_8_bits_is_read_and_of_12_refused_by_name() -> None:
    dataset = compressed(SMOOTH, JPEG, "YBR_FULL_422", quality=95)
    dataset.file_meta.TransferSyntaxUID = uid.JPEGExtended12Bit
    assert np.abs(shown(dataset).astype(int) - SMOOTH).max() < 12
    deep = pydicom.dcmread(ORIGINS / "JPGExtended.dcm")
    deep.SOPClassUID = uid.OphthalmicPhotography16BitImageStorage
    with pytest.raises(ValueError, match="must be of 8 bits a sample where it is a JPEG, got 12"):
        shown(deep)


def test_more_pixels_than_the_limit_are_refused_by_the_header(tmp_path: Path) -> None:
    file = DicomPhotograph(saved(tmp_path, photograph(RGB, Rows=9440, Columns=9440)))
    with pytest.raises(ValueError, match=r"must be 1 to 50000000 pixels, got 9440 × 9440\. Scale it down, or raise"):
        file.read()
    small = DicomPhotograph(saved(tmp_path, photograph(RGB)), most_pixels=40 * 60 - 1)
    with pytest.raises(ValueError, match="must be 1 to 2399 pixels, got 40 × 60"):
        small.read()


@pytest.mark.parametrize("syntax", [JPEG, uid.JPEGExtended12Bit])
def test_a_jpeg_frame_that_is_cut_and_ended_again_is_refused(syntax: uid.UID) -> None:
    frame = encoded(SMOOTH, "JPEG")
    dataset = photograph(SMOOTH, "YBR_FULL_422", syntax)
    middle = frame.rindex(b"\xff\xda") + 60
    for damaged in (frame[:middle] + b"\xff\xd9", frame[:middle] + bytes(100) + frame[middle + 100 :]):
        store(dataset, encapsulate([damaged]))
        with pytest.raises(ValueError, match="must be a whole DICOM file, got pixels that cannot be read"):
            shown(dataset)
