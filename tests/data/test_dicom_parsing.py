import subprocess
import sys
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
    refusal,
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


def test_the_file_type_follows_from_the_content() -> None:
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
def test_unsuitable_files_are_refused(values: dict[str, object], reason: str) -> None:
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
def test_grey_levels_that_cannot_be_shown_are_refused(values: dict[str, object]) -> None:
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
@pytest.mark.parametrize("syntax", EVERY_WAY)
def test_truncated_files_are_refused_wherever_they_end(syntax: str) -> None:
    content = content_of(EVERY_WAY[syntax]())
    for end in np.linspace(0, len(content) - 12, 60).astype(int):
        assert refusal(content[:end]).startswith("ward/7 must be")


@pytest.mark.parametrize("syntax", ["JPEG", "JPEG 2000"])
def test_a_truncated_copy_with_padding_is_refused(syntax: str) -> None:
    dataset = EVERY_WAY[syntax]()
    frame = encoded(SMOOTH, "JPEG" if syntax == "JPEG" else "JPEG2000")
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


def test_no_warning_or_log_quotes_a_file(tmp_path: Path) -> None:
    path = saved(tmp_path, photograph(RGB))
    path.write_bytes(path.read_bytes().replace(b"MRN 7", b"M\xffN\\7").replace(b"1.2.3.4.5", b"1.Doe.0.5"))
    code = "import sys; from pathlib import Path; from teledx_fed.data.dicom import *\n"
    code += "file = Path(sys.argv[1]); print(len(str(read_header(file))), DicomPhotograph(file).read().shape)"
    process = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert process.stderr == ""


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


CONTENTS = {syntax: content_of(make()) for syntax, make in EVERY_WAY.items()}


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(CONTENTS)),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
)
def test_fuzzed_files_are_read_or_refused(syntax: str, changes: list[tuple[float, bytes]]) -> None:
    content = bytearray(CONTENTS[syntax])
    header_end = 1200
    for where, what in changes:
        start = 132 + int(where * min(header_end, len(content) - 132))
        content[start : start + len(what)] = what
    ask_all(bytes(content))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(CONTENTS)), st.binary(max_size=400))
def test_random_bytes_after_a_preamble_are_read_or_refused(syntax: str, noise: bytes) -> None:
    ask_all(bytes(128) + b"DICM" + noise)
    ask_all(CONTENTS[syntax][:330] + noise)


FILES = sorted(ORIGINS.rglob("*.dcm"))


def test_files_of_every_origin_are_read_or_refused() -> None:
    for file in FILES:
        ask_all(file.read_bytes())
    assert len(FILES) > 20
