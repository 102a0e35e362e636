import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import (
    DEEP,
    J2K_LOSSLESS,
    JPEG,
    PLAIN,
    RGB,
    SMOOTH,
    compressed,
    content_of,
    encoded,
    photograph,
    saved,
    store,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_ls import encode_array
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate

from teledx_fed.data.deidentification import deidentified
from teledx_fed.data.dicom import described, is_dicom, read_dataset
from teledx_fed.data.dicom_pixels import pixels

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # as the library sets it outside pytest

ORIGINS = Path(pydicom.__file__).parent / "data" / "test_files"


def refusal(content: bytes) -> str:
    with pytest.raises(ValueError, match="or leave it out") as caught:
        pixels(read_dataset(content, "ward/7"), "ward/7")
    return str(caught.value)


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
        ({"Rows": 60000, "Columns": 60000}, "must be 1 to 50000000 pixels, got 60000 × 60000. Scale it down"),
        ({"Rows": 0}, "must be 1 to 50000000 pixels, got 0 × 60"),
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


@pytest.mark.parametrize("syntax", [uid.HTJ2K, uid.DeflatedExplicitVRLittleEndian])
def test_other_transfer_syntaxes_are_refused(syntax: uid.UID) -> None:
    dataset = photograph(RGB)
    if syntax.is_encapsulated:
        store(dataset, encapsulate([b"1234"]))
    dataset.file_meta.TransferSyntaxUID = syntax
    assert f"got transfer syntax {syntax.name}. Export it in one of these" in refusal(content_of(dataset))


def rle() -> Dataset:
    dataset = photograph(RGB)
    dataset.compress(uid.RLELossless, generate_instance_uid=False)
    return dataset


def jpeg_ls() -> Dataset:
    dataset = photograph(SMOOTH, syntax=uid.JPEGLSLossless)
    store(dataset, encapsulate([bytes(encode_array(SMOOTH))]))
    return dataset


EVERY_WAY: dict[str, Callable[[], Dataset]] = {
    "plain": lambda: photograph(RGB),
    "implicit": lambda: photograph(RGB, syntax=PLAIN[1]),
    "big endian": lambda: photograph(DEEP, "MONOCHROME2", PLAIN[2]),
    "RLE": rle,
    "JPEG-LS": jpeg_ls,
    "lossless JPEG": lambda: pydicom.dcmread(ORIGINS / "SC_rgb_jpeg_gdcm.dcm"),
    "JPEG": lambda: compressed(SMOOTH, JPEG, "YBR_FULL_422"),
    "JPEG 2000": lambda: compressed(SMOOTH, J2K_LOSSLESS, "RGB"),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", EVERY_WAY)
def test_truncated_files_are_refused_wherever_they_end(way: str) -> None:
    content = content_of(EVERY_WAY[way]())
    for end in np.linspace(0, len(content) - 12, 60).astype(int):
        assert refusal(content[:end]).startswith("ward/7 must be")


@pytest.mark.parametrize("way", ["JPEG", "JPEG 2000"])
def test_a_truncated_copy_with_padding_is_refused(way: str) -> None:
    dataset = EVERY_WAY[way]()
    frame = encoded(SMOOTH, "JPEG" if way == "JPEG" else "JPEG2000")
    store(dataset, encapsulate([frame[: len(frame) // 2].ljust(len(frame), b"\0")]))
    assert "must be whole, got no end of image" in refusal(content_of(dataset))


def test_a_frame_of_another_size_than_its_header_says_is_refused() -> None:
    for rows, columns in ((400, 600), (39, 60)):
        dataset = compressed(SMOOTH, JPEG, "YBR_FULL_422")
        dataset.Rows, dataset.Columns = rows, columns
        assert f"must be {rows} × {columns} as its header says, got 40 × 60" in refusal(content_of(dataset))
    one = compressed(SMOOTH[:1, :1, 0].copy(), JPEG, "MONOCHROME2")
    one.Rows = one.Columns = 100
    assert "as its header says" in refusal(content_of(one)), "not one pixel spread over all"


# Malicious files


def header(*elements: bytes) -> bytes:
    """Return a file of these raw explicit VR elements."""
    meta = photograph(RGB)
    for keyword in [element.keyword for element in meta]:
        delattr(meta, keyword)
    meta.SOPClassUID, meta.SOPInstanceUID = "1.2", "1.3"
    return content_of(meta) + b"".join(elements)


UNDEFINED = b"\xff\xff\xff\xff"
ITEM = b"\xfe\xff\x00\xe0"
SEQUENCE = b"\x40\x00\x75\x02SQ\0\0"


@pytest.mark.slow
def test_sequences_without_end_are_refused() -> None:
    deep = header((SEQUENCE + UNDEFINED + ITEM + UNDEFINED) * 50_000)
    assert refusal(deep).startswith("ward/7 must be a whole DICOM file, got a header")
    wide = header(SEQUENCE + UNDEFINED + (ITEM + bytes(4)) * 2_000_000)
    assert refusal(wide).startswith("ward/7 must be a whole DICOM file, got a header")
    many = header(*(struct.pack("<HH2sH", 0x11, element % 65536, b"CS", 0) for element in range(1_000_000)))
    assert refusal(many).startswith("ward/7 must be a whole DICOM file, got a header")
    lying = header(b"\x08\x00\x70\x00UT\0\0\xf0\xff\xff\xffTopcon")
    assert refusal(lying).startswith("ward/7 must be")


@pytest.mark.slow
def test_a_long_value_is_refused() -> None:
    content = content_of(photograph(RGB, AnatomicRegionSequence=[Dataset()] * 100_000))
    assert "described in values of at most 262144 bytes, got 800000" in refusal(content)


def test_decompression_bombs_are_refused() -> None:
    syntax = uid.DeflatedExplicitVRLittleEndian.encode() + b"\0"
    inflating = zlib.compressobj(wbits=-15)
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax)) + syntax
    bomb = bytes(128) + b"DICM" + meta + inflating.compress(bytes(1 << 24)) + inflating.flush()
    assert "got transfer syntax Deflated" in refusal(bomb)
    runs = photograph(RGB, syntax=uid.RLELossless)
    store(runs, encapsulate([struct.pack("<16L", 3, 64, 66, 68, *[0] * 12) + b"\x81\0" * 100_000]))
    assert "must be compressed to less than 7200 bytes, got 200064" in refusal(content_of(runs))


@pytest.mark.slow
def test_memory_is_bounded_by_the_size_of_the_file() -> None:
    wide = header(SEQUENCE + UNDEFINED + (ITEM + bytes(4)) * 1_000_000)
    tracemalloc.start()
    try:
        assert "got a header" in refusal(wide)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 250 << 20, "where a million items would take 600 MiB"


def test_no_warning_or_log_quotes_a_file(tmp_path: Path) -> None:
    path = saved(tmp_path, photograph(RGB))
    path.write_bytes(path.read_bytes().replace(b"MRN 7", b"M\xffN\\7").replace(b"1.2.3.4.5", b"1.Doe.0.5"))
    code = "import sys; from pathlib import Path; from teledx_fed.data.dicom import *\n"
    code += "for ask in (about, lambda file: DicomPhotograph(file).read()): print(len(str(ask(Path(sys.argv[1])))))"
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert told.stderr == ""


def ask_all(content: bytes) -> None:
    """Check that each function returns, or refuses the file with a `ValueError`."""
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


@pytest.mark.slow
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


FILES = sorted(ORIGINS.rglob("*.dcm"))


def test_files_of_every_origin_are_read_or_refused() -> None:
    for file in FILES:
        ask_all(file.read_bytes())
    assert len(FILES) > 20
