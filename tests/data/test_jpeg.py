import io
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photograph_files import PIXELS, encoded, stored
from PIL import Image

from teledx_fed.data import jpeg

SMOOTH = Image.fromarray(cv2.resize(PIXELS, (400, 300), interpolation=cv2.INTER_CUBIC))
JPEGS = {
    "baseline": encoded(SMOOTH, "JPEG", quality=92),
    "progressive": encoded(SMOOTH, "JPEG", progressive=True),
    "restarts": encoded(SMOOTH, "JPEG", restart_marker_rows=1),
    "grey": encoded(SMOOTH.convert("L"), "JPEG"),
    "inks": encoded(SMOOTH.convert("CMYK"), "JPEG"),
    "optimised": encoded(SMOOTH, "JPEG", optimize=True, subsampling=0),
}
END = b"\xff\xd9"
kinds = st.sampled_from(sorted(JPEGS))


def decoded_by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("RGB"))


TRAILERS: dict[str, Callable[[bytes], bytes]] = {
    "motion photo": lambda jpeg: b"\x00\x00\x00\x18ftypmp42" + np.random.default_rng(1).bytes(20_000),
    "padding": lambda jpeg: bytes(4096),
    "second photograph": lambda jpeg: jpeg[: len(jpeg) // 2],
    "phone": lambda jpeg: b"\x00\x00\x01\x0aImage_UTC_Data1700000000000SEFH\x6b\x00\x00\x00SEFT",
    "scan": lambda jpeg: b"\xff\xda\xff\xd8\xff\xe1",
}


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("kind", JPEGS)
def test_bytes_after_the_end_of_a_whole_jpeg_are_ignored(tmp_path: Path, kind: str, trailer: str) -> None:
    whole = JPEGS[kind]
    read = stored(tmp_path, whole + TRAILERS[trailer](whole)).read()
    np.testing.assert_array_equal(read, decoded_by_pillow(whole))


@pytest.mark.slow
@settings(max_examples=60)
@given(kinds, st.floats(0.02, 0.95), st.sampled_from([END, b"", bytes(999) + END]))
def test_a_jpeg_that_is_cut_is_refused_however_it_is_ended(kind: str, share: float, end: bytes) -> None:
    whole = JPEGS[kind]
    first = whole.index(b"\xff\xda") + 14
    with pytest.raises(ValueError, match=r"."):
        jpeg.decoded(whole[: first + int(share * (len(whole) - first))] + end, "CMYK" if kind == "inks" else "RGB")


@settings(max_examples=60)
@given(kinds, st.floats(0.1, 0.8), st.integers(2000, 5000), st.integers(0, 2**32 - 1) | st.none())
def test_a_jpeg_with_a_hole_is_refused(kind: str, start: float, length: int, seed: int | None) -> None:
    """The hole has 2,000 bytes or more: fewer may change nothing."""
    whole = JPEGS[kind]
    first = whole.index(b"\xff\xda") + 14
    at = first + int(start * (len(whole) - first))
    length = min(length, len(whole) - at - 2)
    hole = bytes(length) if seed is None else np.random.default_rng(seed).bytes(length)
    with pytest.raises(ValueError, match=r"."):
        jpeg.decoded(whole[:at] + hole + whole[at + length :], "CMYK" if kind == "inks" else "RGB")


def test_a_progressive_jpeg_without_one_of_its_scans_is_refused() -> None:
    whole = JPEGS["progressive"]
    scans = [at for at in range(len(whole)) if whole.startswith(b"\xff\xda", at)]
    assert len(scans) > 3
    for scan in scans[1:]:
        with pytest.raises(ValueError, match="scans of the image are missing"):
            jpeg.decoded(whole[:scan] + END)


def test_a_jpeg_of_fewer_lines_than_its_header_says_is_refused() -> None:
    whole = bytearray(JPEGS["baseline"])
    height = whole.index(b"\xff\xc0") + 5
    for lines in (299 * 2, 150):
        struct.pack_into(">H", whole, height, lines)
        with pytest.raises(ValueError, match="Corrupt JPEG data"):
            jpeg.decoded(bytes(whole))


def test_invalid_scan_parameters_of_some_phones_are_accepted() -> None:
    odd = bytearray(JPEGS["baseline"])
    scan = odd.index(b"\xff\xda") + 2
    end = scan + struct.unpack_from(">H", odd, scan)[0]
    odd[end - 3 : end] = bytes(3)
    np.testing.assert_array_equal(jpeg.decoded(bytes(odd)), jpeg.decoded(JPEGS["baseline"]))


def test_the_first_photograph_of_several_in_a_jpeg_is_read(tmp_path: Path) -> None:
    several = encoded(SMOOTH, "MPO", save_all=True, append_images=[SMOOTH.resize((800, 600))], quality=92)
    assert stored(tmp_path, several).read().shape == (300, 400, 3)


def test_a_jpeg_of_endless_scans_is_refused_before_they_are_decoded(tmp_path: Path) -> None:
    """Each scan of a few bytes needs a pass over the whole image."""
    content = encoded(Image.fromarray(PIXELS), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    with pytest.raises(ValueError, match="more than 100 scans"):
        stored(tmp_path, content[:last] + content[last:-2] * 100 + content[-2:]).read()
