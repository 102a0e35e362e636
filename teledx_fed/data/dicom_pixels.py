"""Decode the pixels of a DICOM photograph to RGB (PS3.3 C.7.6.3, C.11.2)."""

import struct
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, uid
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, convert_color_space

from teledx_fed.data import jpeg
from teledx_fed.data.dicom_parsing import JPEG_2000, JPEG_LS, JPEGS, LOSSLESS_JPEGS, called, text, whole
from teledx_fed.data.photographs import LARGER, LARGEST_LIMIT, MOST_PIXELS, InvalidPhotograph

PHOTOGRAPHS = {
    uid.OphthalmicPhotography8BitImageStorage,
    uid.OphthalmicPhotography16BitImageStorage,
    uid.WideFieldOphthalmicPhotographyStereographicProjectionImageStorage,
    uid.WideFieldOphthalmicPhotography3DCoordinatesImageStorage,
    uid.VLPhotographicImageStorage,
    uid.SecondaryCaptureImageStorage,
}
PALETTE = tuple(
    f"{colour}PaletteColorLookupTable{part}" for colour in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")
)
KEYWORDS = (
    *("SOPClassUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration"),
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", *PALETTE),
)
END_OF_IMAGE = b"\xff\xd9"
FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""The second bytes of JPEG's SOF markers (ITU-T T.81 B.1.1.3), and of JPEG-LS's (T.87 C.1.1)."""

Samples = NDArray[np.integer]
Pixels = NDArray[np.uint8]


def image_size(dataset: Dataset, name: str, most_pixels: int = LARGEST_LIMIT) -> tuple[int, int]:
    """Return height and width. Refuse other kinds of image, and more than one frame."""
    with whole(name, "a header"):
        kind = text(dataset, "SOPClassUID")
        if kind not in PHOTOGRAPHS:
            raise InvalidPhotograph(name, "a photograph", called(kind), "Export the photograph itself")
        frames = int(dataset.get("NumberOfFrames") or 1)
        height, width = int(dataset.Rows), int(dataset.Columns)
    if frames != 1:
        raise InvalidPhotograph(name, "one frame", f"{frames} frames", "Export each as a file of its own")
    if height < 1 or width < 1 or height * width > most_pixels:
        raise InvalidPhotograph(name, f"1 to {most_pixels} pixels", f"{height} × {width}", LARGER)
    return height, width


def pixels(dataset: Dataset, name: str, most_pixels: int = MOST_PIXELS) -> Pixels:
    """Decode to height × width × 3, RGB; grey levels by their first window, or else over their full range."""
    height, width = image_size(dataset, name, most_pixels)
    with whole(name, "pixels"):
        _check_frame(dataset, name, height, width)
        values, interpretation = _decoded(dataset)
        return _rgb(dataset, name, np.ascontiguousarray(values, values.dtype.newbyteorder("=")), interpretation)


def _decoded(dataset: Dataset) -> tuple[Samples, str]:
    """Return the samples and their photometric interpretation; colours become RGB."""
    if dataset.file_meta.TransferSyntaxUID in LOSSLESS_JPEGS:  # for these pydicom needs a GPL library
        return _lossless(dataset)
    values, decoded = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, index=0)
    return values, str(decoded["photometric_interpretation"])


def _lossless(dataset: Dataset) -> tuple[Samples, str]:
    """Decode with Pillow's libjpeg-turbo, which returns the samples as they are stored."""
    interpretation = text(dataset, "PhotometricInterpretation")
    with Image.open(BytesIO(get_frame(dataset.PixelData, 0, number_of_frames=1)), formats=("JPEG",)) as image:
        values: Samples = np.array(image)
    if interpretation == "YBR_FULL":
        return convert_color_space(values, "YBR_FULL", "RGB"), "RGB"
    return (values.view(np.int8) if dataset.PixelRepresentation else values), interpretation


def _check_frame(dataset: Dataset, name: str, height: int, width: int) -> None:
    """Check before decoding that a compressed frame is complete and has the size in the header."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if dataset.BitsAllocated not in (8, 16):
        raise InvalidPhotograph(name, "8 or 16 bits a sample", dataset.BitsAllocated, "Convert it")
    if not syntax.is_encapsulated:
        return
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    plain = height * width * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
    if syntax == uid.RLELossless and len(frame) > 2 * plain + 1024:  # a run of 2 bytes decodes to at most 128
        raise InvalidPhotograph(name, f"compressed to less than {plain} bytes", len(frame), "Export it again")
    if syntax in JPEGS | JPEG_LS | JPEG_2000:
        if END_OF_IMAGE not in frame[-10:]:  # decoders fill missing parts with grey or black
            raise InvalidPhotograph(name, "whole", "no end of image", "Export it again")
        if syntax in JPEGS and (bits := _frame_header(frame)[0]) != 8:
            raise InvalidPhotograph(
                name, "of 8 bits a sample where it is a JPEG", bits, "Export it uncompressed or as JPEG-LS"
            )
        if (size := _frame_size(frame, syntax)) != (height, width):
            raise InvalidPhotograph(
                name, f"{height} × {width} as its header says", "{} × {}".format(*size), "Export it again"
            )
        if syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
            jpeg.decoded(frame)  # to find damage, which pydicom does not report


def _frame_size(frame: bytes, syntax: uid.UID) -> tuple[int, int]:
    if syntax not in JPEG_2000:
        return _frame_header(frame)[1:]
    with Image.open(BytesIO(frame), formats=("JPEG2000",)) as image:
        return image.height, image.width


def _frame_header(frame: bytes) -> tuple[int, int, int]:
    """Return bits a sample, height and width of a JPEG or JPEG-LS."""
    offset = 2
    while frame[offset + 1] not in FRAME_HEADERS:
        is_fill = frame[offset + 1] == 0xFF
        offset += 1 if is_fill else 2 + int.from_bytes(frame[offset + 2 : offset + 4])
    bits, height, width = struct.unpack_from(">BHH", frame, offset + 4)
    return bits, height, width


def _rgb(dataset: Dataset, name: str, values: Samples, interpretation: str) -> Pixels:
    if interpretation == "RGB":
        return _to_8_bits(values, 0, 2**dataset.BitsStored - 1)
    if interpretation == "PALETTE COLOR" and all(keyword in dataset for keyword in PALETTE):
        colours = apply_color_lut(values, dataset)
        return _to_8_bits(colours, 0, np.iinfo(colours.dtype).max)
    if interpretation in ("MONOCHROME1", "MONOCHROME2"):
        grey = _grey(dataset, name, values)
        return np.stack([grey if interpretation == "MONOCHROME2" else 255 - grey] * 3, axis=-1)
    raise InvalidPhotograph(name, "RGB, YBR, MONOCHROME or PALETTE COLOR", "other colours", "Convert it to RGB")


def _grey(dataset: Dataset, name: str, values: Samples) -> Pixels:
    slope, intercept = (float(dataset.get(f"Rescale{part}", plain)) for part, plain in (("Slope", 1), ("Intercept", 0)))
    lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
    full = sorted(slope * level + intercept for level in (lowest, lowest + 2**dataset.BitsStored - 1))
    low, high = _window(dataset, name) or full
    if not (low < high and np.abs([*full, low, high]).max() < 1e9):
        raise InvalidPhotograph(name, "shown from a darker to a brighter level", f"{low} to {high}", "Export it as RGB")
    return _to_8_bits(values, low, high, slope, intercept)


def _window(dataset: Dataset, name: str) -> tuple[float, float] | None:
    """Return the levels of black and white (PS3.3 C.11.2.1.2); None for the full range."""
    function = text(dataset, "VOILUTFunction") or "LINEAR"
    has_window = "WindowCenter" in dataset and "WindowWidth" in dataset
    is_curve = "VOILUTSequence" in dataset and not has_window
    if "ModalityLUTSequence" in dataset or is_curve or function not in ("LINEAR", "LINEAR_EXACT"):
        raise InvalidPhotograph(name, "shown by a linear window or its full range", "a curve", "Export it as RGB")
    if not has_window:
        return None
    centre, width = (float(np.ravel(dataset[keyword].value)[0]) for keyword in ("WindowCenter", "WindowWidth"))
    centre, width = (centre - 0.5, width - 1) if function == "LINEAR" else (centre, width)
    return centre - width / 2, centre + width / 2


def _to_8_bits(values: Samples, low: float, high: float, slope: float = 1, intercept: float = 0) -> Pixels:
    """Convert to 8 bits, `low` black and `high` white, by a table of all possible values."""
    patterns = np.arange(1 << 8 * values.itemsize).astype(f"u{values.itemsize}")
    levels = (slope * patterns.view(values.dtype).astype(float) + intercept - low) / (high - low)
    table = np.rint(255 * np.clip(levels, 0, 1)).astype(np.uint8)
    return table[values.view(patterns.dtype)]
