import hashlib
import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from dicom_files import J2K, J2K_LOSSLESS, JPEG, PLAIN, compressed, content_of, encoded, photograph, saved, store
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate

from teledx_fed.data.deidentification import deidentified
from teledx_fed.data.dicom import DicomPhotograph, about, described, read_dataset
from teledx_fed.data.dicom_parsing import is_dicom
from teledx_fed.data.dicom_pixels import PHOTOGRAPHS, pixels
from teledx_fed.data.layouts import read
from teledx_fed.records import Eye, Field, Patients
from teledx_fed.settings import SourceSettings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # as the library has it outside of pytest

Picture = NDArray[np.uint8]
RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
SMOOTH = np.ascontiguousarray(cv2.resize(RGB[:4, :6], (60, 40), interpolation=cv2.INTER_CUBIC))
GREY = RGB[..., 0]
DEEP = np.random.default_rng(1).integers(0, 4096, (40, 60), dtype=np.uint16)


def shown(dataset: Dataset) -> Picture:
    return pixels(read_dataset(content_of(dataset), "photograph"), "photograph")


def stacked(grey: NDArray[np.generic]) -> Picture:
    return np.stack([grey.astype(np.uint8)] * 3, axis=-1)


def refusal(content: bytes) -> str:
    with pytest.raises(ValueError, match="or leave it out") as caught:
        pixels(read_dataset(content, "ward/7"), "ward/7")
    return str(caught.value)


# What they show


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize("kind", PHOTOGRAPHS)
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
    """Exported as RGB, a JPEG file mostly is YCbCr all the same, and says so itself."""
    content = encoded(SMOOTH, "JPEG", quality=95, subsampling=subsampling)
    image = shown(compressed(SMOOTH, JPEG, interpretation, quality=95, subsampling=subsampling))
    truth = np.asarray(Image.open(io.BytesIO(content)))
    assert np.abs(image.astype(int) - truth).max() <= 2, "rounding of YCbCr"
    assert np.abs(image.astype(int) - SMOOTH).mean() < 4


def test_jpeg_in_grey() -> None:
    image = shown(compressed(SMOOTH[..., 0], JPEG, "MONOCHROME2", quality=95))
    assert np.abs(image.astype(int) - stacked(SMOOTH[..., 0])).mean() < 3


def test_jpeg_in_fragments() -> None:
    dataset = photograph(SMOOTH, "YBR_FULL_422", JPEG)
    content = encoded(SMOOTH, "JPEG")
    store(dataset, encapsulate([content], fragments_per_frame=3))
    assert np.abs(shown(dataset).astype(int) - np.asarray(Image.open(io.BytesIO(content)))).max() <= 2


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
    """Two brightnesses, and one colour for both."""
    pairs = SMOOTH[:, ::2].repeat(2, axis=1)
    pairs[:, 1::2] = np.clip(pairs[:, 1::2] // 2 + 60, 0, 255)
    full = ybr(pairs)
    full[:, 1::2, 1:] = full[:, ::2, 1:]
    dataset = photograph(full, "YBR_FULL_422")
    store(dataset, np.concatenate([full[:, ::2, :1], full[:, 1::2, :1], full[:, ::2, 1:]], axis=-1).tobytes())
    np.testing.assert_array_equal(shown(dataset), shown(photograph(full, "YBR_FULL")))


@pytest.mark.parametrize("syntax", PLAIN)
def test_grey(syntax: uid.UID) -> None:
    np.testing.assert_array_equal(shown(photograph(GREY, "MONOCHROME2", syntax)), stacked(GREY))
    np.testing.assert_array_equal(shown(photograph(GREY, "MONOCHROME1", syntax)), stacked(255 - GREY))


@pytest.mark.parametrize("syntax", PLAIN)
def test_16_bits_over_their_full_range(syntax: uid.UID) -> None:
    dataset = photograph(DEEP, "MONOCHROME2", syntax, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(shown(dataset), stacked(np.rint(DEEP / 4095 * 255)))


def test_16_bits_below_zero() -> None:
    signed = (DEEP.astype(np.int16) - 2048).astype(np.int16)
    dataset = photograph(signed, "MONOCHROME2", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(shown(dataset), stacked(np.rint(DEEP / 4095 * 255)))


@pytest.mark.parametrize(
    ("window", "black", "white"),
    [
        ({"WindowCenter": 2000, "WindowWidth": 1001}, 1499.5, 2499.5),
        ({"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"}, 1500, 2500),
        ({"WindowCenter": [2000, 9], "WindowWidth": [1001, 9]}, 1499.5, 2499.5),
        ({"WindowCenter": 1000, "WindowWidth": 501, "RescaleSlope": 0.5, "RescaleIntercept": 100}, 1299, 2299),
    ],
)
def test_16_bits_in_a_window(window: dict[str, object], black: float, white: float) -> None:
    truth = 255 * np.clip((DEEP.astype(float) - black) / (white - black), 0, 1)[..., None]
    upright, inverted = (shown(photograph(DEEP, kind, **window)) for kind in ("MONOCHROME2", "MONOCHROME1"))
    assert np.abs(upright - truth).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(inverted, 255 - upright)


def test_a_window_is_as_pydicom_has_it() -> None:
    dataset = photograph(DEEP, "MONOCHROME2", WindowCenter=1500, WindowWidth=1201)
    theirs = pydicom.pixels.apply_windowing(DEEP, dataset) / 65535 * 255
    assert np.abs(shown(dataset)[..., 0] - theirs).max() <= 0.5 + 1e-6


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


# What they say


def said(**values: object) -> object:
    return described(read_dataset(content_of(photograph(RGB, **values)), "x"), "x")


def test_about(tmp_path: Path) -> None:
    facts = about(saved(tmp_path, photograph(RGB, AcquisitionDateTime="20260131101500.250000+0100")))
    assert (facts.eye, facts.field, facts.camera) == (Eye.LEFT, Field.UNKNOWN, "Topcon TRC-NW400")
    assert (facts.patient, facts.study, facts.size) == ("MRN 7", "1.2.3", (40, 60))
    assert facts.acquired == "2026-01-31T10:15:00.250000+01:00"
    assert facts.free_of_text


@pytest.mark.parametrize(
    ("image", "series", "eye"),
    [
        ("L", None, Eye.LEFT),
        ("R", "L", Eye.RIGHT),
        ("L", "B", Eye.LEFT),
        (None, "R", Eye.RIGHT),
        ("U", "L", Eye.LEFT),
        ("", "", Eye.UNKNOWN),
        (None, None, Eye.UNKNOWN),
    ],
)
def test_the_eye_of_the_image_goes_before_that_of_the_series(image: str, series: str, eye: Eye) -> None:
    values = {"ImageLaterality": image, "Laterality": series}
    dataset = photograph(RGB)
    del dataset.ImageLaterality
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    assert described(dataset, "x").eye is eye


@pytest.mark.parametrize("values", [{"ImageLaterality": "B"}, {"ImageLaterality": "U", "Laterality": "B"}])
def test_both_eyes_at_once_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="x must be a photograph of one eye, got laterality B"):
        said(**values)


@pytest.mark.parametrize(
    ("sequence", "value", "field"),
    [
        ("RelativeImagePositionCodeSequence", "111900", Field.MACULA),
        ("RelativeImagePositionCodeSequence", "111901", Field.DISC),
        ("RelativeImagePositionCodeSequence", "111903", Field.UNKNOWN),
        ("AnatomicRegionSequence", "67046006", Field.MACULA),
        ("AnatomicRegionSequence", "81745001", Field.UNKNOWN),
    ],
)
@pytest.mark.parametrize("syntax", PLAIN)
def test_field(sequence: str, value: str, field: Field, syntax: uid.UID) -> None:
    item = Dataset()
    item.CodeValue = value
    dataset = photograph(RGB, syntax=syntax, **{sequence: [item]})
    dataset[sequence].is_undefined_length = syntax == uid.ExplicitVRLittleEndian
    assert described(read_dataset(content_of(dataset), "x"), "x").field is field


@pytest.mark.parametrize(
    ("values", "acquired"),
    [
        ({"AcquisitionDate": "20260131", "AcquisitionTime": "101500"}, "2026-01-31T10:15:00"),
        ({"AcquisitionDate": "20260131", "StudyDate": "20200101"}, "2026-01-31T00:00:00"),
        ({"StudyDate": "20200101", "StudyTime": "09"}, "2020-01-01T09:00:00"),
        ({"StudyDate": ""}, None),
        ({}, None),
    ],
)
def test_acquired(values: dict[str, object], acquired: str | None) -> None:
    assert said(**values).acquired == acquired


@pytest.mark.parametrize(("value", "free"), [("NO", True), ("YES", False), ("", False), (None, False)])
def test_only_what_is_said_to_be_free_of_text_is(value: str | None, free: bool) -> None:
    assert said(BurnedInAnnotation=value).free_of_text is free


def test_nothing_said_is_unknown() -> None:
    facts = said(PatientID=None, Manufacturer=None, ManufacturerModelName=None, StudyInstanceUID=None)
    assert (facts.patient, facts.camera, facts.study) == ("", "unknown", "")


# What is refused


def test_type_by_content() -> None:
    content = content_of(photograph(RGB))
    assert is_dicom(content)
    for other in (b"", content[:131], content[1:], encoded(RGB, "PNG")):
        assert not is_dicom(other)
        assert refusal(other).startswith("ward/7 must be a DICOM file, got no DICM")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"SOPClassUID": uid.CTImageStorage}, "must be a photograph, got CT Image Storage. Export the photograph"),
        ({"SOPClassUID": "1.2.3.4"}, "must be a photograph, got an unknown one"),
        ({"SOPClassUID": uid.OphthalmicTomographyImageStorage}, "got Ophthalmic Tomography Image Storage"),
        ({"NumberOfFrames": 12}, "must be one frame, got 12 frames. Export each as a file"),
        ({"Rows": 60000, "Columns": 60000}, "must be 1 to 89478485 pixels, got 60000 × 60000. Scale it down"),
        ({"Rows": 0}, "must be 1 to 89478485 pixels, got 0 × 60"),
        ({"Rows": None}, "must be a whole DICOM file, got a header that cannot be read"),
        ({"Rows": 400}, "must be a whole DICOM file, got pixels that cannot be read"),
        ({"PixelData": None}, "must be a whole DICOM file, got pixels that cannot be read"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "must be 8 or 16 bits a sample, got 32"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "must be RGB, YBR"),
        ({"PhotometricInterpretation": "HSV"}, "cannot be read|must be RGB, YBR"),
    ],
)
def test_refused(values: dict[str, object], reason: str) -> None:
    message = refusal(content_of(photograph(RGB, **values)))
    assert message.startswith("ward/7 must be")
    assert any(part in message for part in reason.split("|")), message


@pytest.mark.parametrize(
    "values",
    [
        {"WindowCenter": 5, "WindowWidth": 0},
        {"RescaleSlope": 0},
        {"RescaleSlope": "1e200"},
        {"WindowCenter": 5, "WindowWidth": 3, "VOILUTFunction": "SIGMOID"},
        {"VOILUTSequence": [Dataset()]},
        {"ModalityLUTSequence": [Dataset()]},
    ],
)
def test_grey_that_we_cannot_show_is_refused(values: dict[str, object]) -> None:
    assert "ward/7 must be shown" in refusal(content_of(photograph(DEEP, "MONOCHROME2", **values)))


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEGLosslessSV1, uid.DeflatedExplicitVRLittleEndian])
def test_other_transfer_syntaxes_are_refused(syntax: uid.UID) -> None:
    dataset = photograph(RGB)
    if syntax.is_encapsulated:
        store(dataset, encapsulate([b"1234"]))
    dataset.file_meta.TransferSyntaxUID = syntax
    assert f"got transfer syntax {syntax.name}. Export it so" in refusal(content_of(dataset))


def rle() -> Dataset:
    dataset = photograph(RGB)
    dataset.compress(uid.RLELossless, generate_instance_uid=False)
    return dataset


EVERY_WAY: dict[str, Callable[[], Dataset]] = {
    "plain": lambda: photograph(RGB),
    "implicit": lambda: photograph(RGB, syntax=PLAIN[1]),
    "big endian": lambda: photograph(DEEP, "MONOCHROME2", PLAIN[2]),
    "RLE": rle,
    "JPEG": lambda: compressed(SMOOTH, JPEG, "YBR_FULL_422"),
    "JPEG 2000": lambda: compressed(SMOOTH, J2K_LOSSLESS, "RGB"),
}


@pytest.mark.parametrize("way", EVERY_WAY)
def test_truncated_files_are_refused_wherever_they_end(way: str) -> None:
    content = content_of(EVERY_WAY[way]())
    for end in np.linspace(0, len(content) - 12, 60).astype(int):
        assert refusal(content[:end]).startswith("ward/7 must be")


@pytest.mark.parametrize("way", ["JPEG", "JPEG 2000"])
def test_a_copy_that_broke_off_and_was_filled_up_is_refused(way: str) -> None:
    dataset = EVERY_WAY[way]()
    frame = encoded(SMOOTH, "JPEG" if way == "JPEG" else "JPEG2000")
    store(dataset, encapsulate([frame[: len(frame) // 2].ljust(len(frame), b"\0")]))
    assert "must be whole, got no end of image" in refusal(content_of(dataset))


def test_a_frame_of_another_size_than_its_header_says_is_refused() -> None:
    for rows, columns in ((400, 600), (39, 60)):
        dataset = compressed(SMOOTH, JPEG, "YBR_FULL_422")
        dataset.Rows, dataset.Columns = rows, columns
        assert f"must be {rows} × {columns} as its header says, got (40, 60)" in refusal(content_of(dataset))
    one = compressed(SMOOTH[:1, :1, 0].copy(), JPEG, "MONOCHROME2")
    one.Rows = one.Columns = 100
    assert "as its header says" in refusal(content_of(one)), "not one pixel spread over all"


# Whoever wants to harm


def header(*elements: bytes) -> bytes:
    """A file of explicit VR elements as they are."""
    meta = photograph(RGB)
    for keyword in [element.keyword for element in meta]:
        delattr(meta, keyword)
    meta.SOPClassUID, meta.SOPInstanceUID = "1.2", "1.3"
    return content_of(meta) + b"".join(elements)


UNDEFINED = b"\xff\xff\xff\xff"
ITEM = b"\xfe\xff\x00\xe0"
SEQUENCE = b"\x40\x00\x75\x02SQ\0\0"


def test_sequences_without_end_are_refused() -> None:
    deep = header((SEQUENCE + UNDEFINED + ITEM + UNDEFINED) * 50_000)
    assert refusal(deep).startswith("ward/7 must be a whole DICOM file, got a header")
    wide = header(SEQUENCE + UNDEFINED + (ITEM + bytes(4)) * 2_000_000)
    assert refusal(wide).startswith("ward/7 must be a whole DICOM file, got a header")
    many = header(*(struct.pack("<HH2sH", 0x11, element % 65536, b"CS", 0) for element in range(1_000_000)))
    assert refusal(many).startswith("ward/7 must be a whole DICOM file, got a header")
    lying = header(b"\x08\x00\x70\x00UT\0\0\xf0\xff\xff\xffTopcon")
    assert refusal(lying).startswith("ward/7 must be")


def test_a_long_value_is_refused() -> None:
    content = content_of(photograph(RGB, AnatomicRegionSequence=[Dataset()] * 100_000))
    assert "described in values of at most 262144 bytes, got 800000" in refusal(content)


def test_bombs_are_refused() -> None:
    syntax = uid.DeflatedExplicitVRLittleEndian.encode() + b"\0"
    inflating = zlib.compressobj(wbits=-15)
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax)) + syntax
    bomb = bytes(128) + b"DICM" + meta + inflating.compress(bytes(1 << 24)) + inflating.flush()
    assert "got transfer syntax Deflated" in refusal(bomb)
    runs = photograph(RGB, syntax=uid.RLELossless)
    store(runs, encapsulate([struct.pack("<16L", 3, 64, 66, 68, *[0] * 12) + b"\x81\0" * 100_000]))
    assert "must be compressed to less than 7200 bytes, got 200064" in refusal(content_of(runs))


PEAK = """
import sys, resource
from pathlib import Path
from teledx_fed.data.deidentification import deidentified
from teledx_fed.data.dicom import DicomPhotograph
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    DicomPhotograph(Path(sys.argv[1])).read()
except ValueError:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_is_bounded_by_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "wide"
    path.write_bytes(header(SEQUENCE + UNDEFINED + (ITEM + bytes(4)) * 4_000_000))
    told = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 250, "MiB, where a file of 32 MiB would take gigabytes"
    assert told.stderr == ""


def test_nothing_is_warned_or_logged_of_what_stands_in_a_file(tmp_path: Path) -> None:
    path = saved(tmp_path, photograph(RGB))
    path.write_bytes(path.read_bytes().replace(b"MRN 7", b"M\xffN\\7").replace(b"1.2.3.4.5", b"1.Doe.0.5"))
    code = "import sys; from pathlib import Path; from teledx_fed.data.dicom import *\n"
    code += "for ask in (about, lambda file: DicomPhotograph(file).read()): print(len(str(ask(Path(sys.argv[1])))))"
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert told.stderr == ""


def ask_all(content: bytes) -> None:
    """An answer or a `ValueError`."""
    for ask in (
        lambda dataset: described(dataset, "photograph"),
        lambda dataset: pixels(dataset, "photograph"),
        lambda dataset: deidentified(dataset, bytes(16)),
    ):
        try:
            ask(read_dataset(content, "photograph"))
        except ValueError as error:
            refused = str(error)
        else:
            continue
        assert refused.startswith("photograph must")


CONTENTS = {way: content_of(make()) for way, make in EVERY_WAY.items()}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(CONTENTS)),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
)
def test_fuzzed_files_are_read_or_refused(way: str, changes: list[tuple[float, bytes]]) -> None:
    content = bytearray(CONTENTS[way])
    header_end = 1200
    for where, what in changes:
        start = 132 + int(where * min(header_end, len(content) - 132))
        content[start : start + len(what)] = what
    ask_all(bytes(content))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(CONTENTS)), st.binary(max_size=400))
def test_noise_behind_a_preamble_is_read_or_refused(way: str, noise: bytes) -> None:
    ask_all(bytes(128) + b"DICM" + noise)
    ask_all(CONTENTS[way][:330] + noise)


FILES = sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*.dcm"))


def test_files_of_every_origin_are_read_or_refused() -> None:
    for file in FILES:
        ask_all(file.read_bytes())
    assert len(FILES) > 20


# Training


def hospital(root: Path, table: str) -> None:
    saved(root, photograph(RGB, AcquisitionDate="20260131"), "2026/IM1")
    saved(root, photograph(SMOOTH, ImageLaterality="R"), "2026/IM2.dcm")
    saved(root, photograph(DEEP, "MONOCHROME2", PatientID="MRN 8", ImageLaterality=None), "2026/IM3")
    (root / "grades.csv").write_text(table)


def test_training_reads_a_folder(tmp_path: Path) -> None:
    hospital(tmp_path, "file,grade,oedema\n2026/IM1,2,yes\n2026\\im2.DCM,R0,no\n2026/IM3,4,\n")
    collection, problems = read("ward", SourceSettings("dicom", str(tmp_path)), {"R0": 0})
    assert problems == ()
    assert collection.patients is Patients.GIVEN
    assert [(e.grade, e.oedema, e.eye, e.patient) for e in collection.examples] == [
        (2, True, Eye.LEFT, "MRN 7"),
        (0, False, Eye.RIGHT, "MRN 7"),
        (4, None, Eye.UNKNOWN, "MRN 8"),
    ]
    first = collection.examples[0]
    assert (first.camera, first.acquired) == ("Topcon TRC-NW400", "2026-01-31T00:00:00")
    np.testing.assert_array_equal(first.image.read(), RGB)


def test_training_names_every_file_and_row_that_is_wrong(tmp_path: Path) -> None:
    hospital(tmp_path, "file,grade\n2026/IM1,2\n2026/IM2.dcm,9\n2026/IM3,1\n2026/IM4,1\ngrades.csv,1\n2026/IM5,1\n")
    saved(tmp_path, photograph(RGB, PatientID=""), "2026/IM5")
    saved(tmp_path, photograph(RGB, ImageLaterality="B"), "2026/IM3")
    collection, problems = read("ward", SourceSettings("dicom", str(tmp_path)))
    assert len(collection.examples) == 1
    told = {problem.row: str(problem) for problem in problems}
    assert sorted(told) == [3, 4, 5, 6, 7]
    assert "grade must be one of" in told[3]
    assert "must be a photograph of one eye" in told[4]
    assert "2026/IM4 must be readable" in told[5]
    assert "grades.csv must be a DICOM file" in told[6]
    assert "patient of image 2026/IM5 must be named" in told[7]
