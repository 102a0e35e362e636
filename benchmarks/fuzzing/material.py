"""Inputs to mutate: a synthetic photograph, very large copies that decoders accept, and the clinic's bundle."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.fuzzing.dicom import enlarged, file_of
from benchmarks.fuzzing.formats import encoded
from benchmarks.synthetic import untrained
from teledx_fed.config.data import HospitalSettings
from teledx_fed.config.learning import ModelSettings
from teledx_fed.data.synthetic import hospital

SIDE, TIMES = 192, 48
"""Side of the synthetic photograph, and how often it is repeated in each direction: just below Pillow's limit."""


def write(folder: Path) -> None:
    untrained(ModelSettings(name="test_efficientnet", initial="none"), 64, folder / "bundle")
    drawn = hospital("clinic", HospitalSettings(patients=1), seed=0).examples[0].image.read()
    Image.fromarray(drawn).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / "eye.png")


def write_vast(folder: Path) -> None:
    with Image.open(folder / "eye.png") as small:
        pixels, vast = np.array(small), small.resize((TIMES * SIDE, TIMES * SIDE), Image.Resampling.NEAREST)
    (folder / "vast").mkdir()
    contents = {
        "JPEG": encoded(vast, "JPEG"),
        "PNG": encoded(vast.convert("RGBA"), "PNG", compress_level=1),
        "TIFF": encoded(vast.convert("CMYK"), "TIFF", compression="tiff_adobe_deflate"),
        "BMP": encoded(vast.convert("1"), "BMP"),
        "DICOM": file_of(enlarged(pixels, TIMES)),
    }
    for kind, content in contents.items():
        (folder / "vast" / kind).write_bytes(content)
