"""Identifiers in every field that can contain one, for tests that search for them in all that is stored or sent."""

import io

import cv2
import numpy as np
import pydicom
from dicom_files import photograph
from numpy.typing import NDArray
from pydicom import Dataset, config
from pydicom.datadict import DicomDictionary, RepeatersDictionary
from pydicom.dataelem import DataElement

from teledx_fed.data import dicom_pixels

TEXT, DIGITS, DATE = "XQCANARYZJ", "7131771317713177", "19370413"
VALUES = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"), TEXT),
    **dict.fromkeys(("DS", "IS"), DIGITS),
    **dict.fromkeys(("DA", "DT"), DATE),
    "AS": "097Y",
    "TM": "230713",
    "UI": f"1.2.{DIGITS}",
    **dict.fromkeys(("OB", "OW", "UN", "OB or OW"), TEXT.encode()),
}
"""Identifiers by value representation, for those that can contain text."""
CANARIES = [TEXT.encode(), TEXT.encode("utf-16-le"), DIGITS.encode(), DATE.encode(), b"097Y", b"230713"]
STRUCTURE = {*dicom_pixels.KEYWORDS, "SpecificCharacterSet"}
"""Elements that keep their values: with others, the file is not a photograph."""


def planted(dataset: Dataset, tag: int, vr: str) -> None:
    if vr in VALUES:
        vr, value = vr.split(" or ", maxsplit=1)[0], VALUES[vr]
        dataset[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)


def plant_everywhere(dataset: Dataset) -> Dataset:
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 > 2 and keyword not in STRUCTURE:
            planted(dataset, tag, vr)
    for mask, (vr, *_) in RepeatersDictionary.items():
        planted(dataset, int(mask.replace("x", "0"), 16), vr)
    private = dataset.private_block(0x0099, TEXT, create=True)
    private.add_new(1, "LO", TEXT)
    private.add_new(2, "UN", TEXT.encode())
    return dataset


def full_of_identifiers(pixels: NDArray[np.uint8]) -> Dataset:
    """Plant identifiers in every element that can contain text, in items of sequences, and in the file's meta data."""
    image = pixels.copy()
    cv2.putText(image, "DOE", (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    dataset = plant_everywhere(photograph(image))
    for keyword in (
        "BurnedInAnnotation",
        "PatientIdentityRemoved",
        "WindowCenterWidthExplanation",
        "PixelPaddingValue",
    ):
        planted(dataset, pydicom.tag.Tag(keyword), "LO")
    item = plant_everywhere(Dataset())
    item.CodeValue = "111900"
    for keyword in ("RelativeImagePositionCodeSequence", "AnatomicRegionSequence", "ReferencedStudySequence"):
        setattr(dataset, keyword, [item])
    dataset.file_meta.SourceApplicationEntityTitle = TEXT
    dataset.file_meta.ImplementationVersionName = TEXT
    dataset.file_meta.PrivateInformationCreatorUID = f"1.2.{DIGITS}"
    dataset.file_meta.PrivateInformation = TEXT.encode()
    return dataset


def file_full_of_identifiers(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    dataset = full_of_identifiers(pixels)
    dataset.preamble = TEXT.encode().ljust(128, b"\0")
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
