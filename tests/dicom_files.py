"""DICOM photographs like those of cameras, for tests."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmwrite, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

from teledx_fed.data.dicom import read_dataset
from teledx_fed.data.dicom_pixels import pixels as decoded_pixels

OPHTHALMIC = uid.OphthalmicPhotography8BitImageStorage
JPEG, J2K_LOSSLESS, J2K = uid.JPEGBaseline8Bit, uid.JPEG2000Lossless, uid.JPEG2000
PLAIN = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian)

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
SMOOTH = np.ascontiguousarray(cv2.resize(RGB[:4, :6], (60, 40), interpolation=cv2.INTER_CUBIC))
GREY = RGB[..., 0]
DEEP = np.random.default_rng(1).integers(0, 4096, (40, 60), dtype=np.uint16)
"""Pixels, 40 × 60: noise, a smooth image that JPEG preserves well, one channel, and 12 bits of 16."""


def photograph(
    pixels: NDArray[np.unsignedinteger | np.signedinteger],
    interpretation: str = "RGB",
    syntax: uid.UID = uid.ExplicitVRLittleEndian,
    **values: object,
) -> Dataset:
    """Make a data set of pixels, height × width (× 3), stored unchanged; `values` by keyword, None to leave one out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = OPHTHALMIC, "1.2.3.4.5"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.PatientID, dataset.PatientName, dataset.Modality = "MRN 7", "Doe^Jane", "OP"
    dataset.Manufacturer, dataset.ManufacturerModelName = "Topcon", "TRC-NW400"
    dataset.ImageLaterality, dataset.BurnedInAnnotation = "L", "NO"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3 if pixels.ndim == 3 else 1, interpretation
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    bits = 8 * pixels.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    store(dataset, pixels.astype(pixels.dtype.newbyteorder("<" if syntax.is_little_endian else ">")).tobytes())
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    for keyword in (keyword for keyword, value in values.items() if value is None):
        delattr(dataset, keyword)
    return dataset


def store(dataset: Dataset, content: bytes) -> None:
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 else "OB"


def compressed(pixels: NDArray[np.uint8], syntax: uid.UID, interpretation: str, **options: object) -> Dataset:
    """Make a data set of pixels (height, width, 3) that Pillow encodes."""
    dataset = photograph(pixels, interpretation, syntax)
    store(dataset, encapsulate([encoded(pixels, "JPEG" if syntax == JPEG else "JPEG2000", **options)]))
    return dataset


def encoded(pixels: NDArray[np.uint8], file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, file_format, **({"no_jp2": True} if file_format == "JPEG2000" else {}), **options
    )
    return buffer.getvalue()


def content_of(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def saved(folder: Path, dataset: Dataset, name: str = "photograph") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content_of(dataset))
    return path


def shown(dataset: Dataset) -> NDArray[np.uint8]:
    """Return the pixels that the program reads from a data set, height × width × 3."""
    return decoded_pixels(read_dataset(content_of(dataset), "photograph"), "photograph")


def refusal(content: bytes) -> str:
    """Return the message with which the program refuses a file."""
    with pytest.raises(ValueError, match="or leave it out") as caught:
        decoded_pixels(read_dataset(content, "ward/7"), "ward/7")
    return str(caught.value)


def stacked(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return grey levels as RGB."""
    return np.stack([grey.astype(np.uint8)] * 3, axis=-1)
