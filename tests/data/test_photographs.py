import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from teledx_fed.data import jpeg
from teledx_fed.data.array_photographs import ArrayPhotograph
from teledx_fed.data.photographs import PhotographFile

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


JPEG = encoded(Image.fromarray(PIXELS), "JPEG")


def stored(folder: Path, content: bytes, name: str = "photograph") -> PhotographFile:
    (folder / name).write_bytes(content)
    return PhotographFile(folder / name)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, more: bytes = b"") -> bytes:
    """Return a PNG file whose header states `width` × `height` pixels, with few pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def png_without_end() -> bytes:
    return encoded(Image.fromarray(PIXELS), "PNG")[:-12]


def bmp_of_colours(count: int) -> bytes:
    content = bytearray(encoded(Image.fromarray(PIXELS).convert("P"), "BMP"))
    struct.pack_into("<I", content, 46, count)
    return bytes(content)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP"])
def test_reads_what_was_written(tmp_path: Path, file_format: str) -> None:
    photograph = stored(tmp_path, encoded(Image.fromarray(PIXELS), file_format))
    np.testing.assert_array_equal(photograph.read(), PIXELS)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "BMP"])
def test_the_size_comes_from_the_header(tmp_path: Path, file_format: str) -> None:
    content = encoded(Image.fromarray(PIXELS), file_format)
    assert stored(tmp_path, content).size() == (40, 60)
    if file_format == "JPEG":
        assert stored(tmp_path, content[:-100]).size() == (40, 60)


def test_a_photograph_without_a_readable_size_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"away\.png must be readable"):
        PhotographFile(tmp_path / "away.png").size()
    with pytest.raises(ValueError, match="photograph must be a JPEG"):
        stored(tmp_path, b"no image").size()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_usual_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    read = stored(tmp_path, encoded(image, "PNG")).read()
    np.testing.assert_array_equal(read, np.asarray(image.convert("RGB")))


def test_turns_a_photograph_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    photograph = stored(tmp_path, encoded(Image.fromarray(PIXELS), "PNG", exif=exif))
    np.testing.assert_array_equal(photograph.read(), np.rot90(PIXELS, -1))


@pytest.mark.parametrize(("side", "size"), [(21, None), (20, (20, 30)), (11, (20, 30)), (10, (10, 15)), (1, (5, 8))])
def test_a_jpeg_is_reduced_to_no_less_than_asked(tmp_path: Path, side: int, size: tuple[int, int] | None) -> None:
    photograph = stored(tmp_path, JPEG)
    reduced = photograph.reduced(side)
    assert (reduced.shape[:2] if reduced is not None else None) == size


def test_a_reduced_photograph_is_upright_and_refused_as_the_whole_one(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth = Image.fromarray(np.linspace(0, 255, 40 * 60 * 3).reshape(40, 60, 3).astype(np.uint8))
    reduced = stored(tmp_path, encoded(smooth, "JPEG", exif=exif)).reduced(20)
    assert reduced is not None
    assert reduced.shape == (30, 20, 3)
    assert np.abs(reduced - np.rot90(smooth.reduce(2), -1).astype(float)).mean() < 3
    with pytest.raises(ValueError, match="must be whole"):
        stored(tmp_path, JPEG[:-2]).reduced(20)
    assert stored(tmp_path, encoded(smooth, "PNG")).reduced(20) is None


def test_a_files_state_changes_when_it_is_written(tmp_path: Path) -> None:
    photograph = stored(tmp_path, JPEG)
    before = photograph.state()
    assert photograph.state() == before
    stored(tmp_path, JPEG[:-3] + b"?" + JPEG[-2:])
    assert photograph.state() != before
    assert "No such file" in PhotographFile(tmp_path / "gone.png").state()


def test_equal_content_has_equal_digests(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(PIXELS), "PNG")
    first, copy = stored(tmp_path, content, "a.png"), stored(tmp_path, content, "b.png")
    other = stored(tmp_path, encoded(Image.fromarray(PIXELS[::-1]), "PNG"), "c.png")
    assert first.digest() == copy.digest() != other.digest()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "an empty file"),
        (b"id_code,diagnosis\n", "must be a JPEG, PNG, TIFF, BMP, WEBP file"),
        (encoded(Image.fromarray(PIXELS), "GIF"), "must be a JPEG, PNG, TIFF, BMP, WEBP file"),
        (JPEG[: len(JPEG) // 2], "must be whole"),
        (JPEG[:-2], "must be whole"),
        (JPEG[:900] + bytes(len(JPEG) - 900), "must be whole"),  # a copy that stopped after the file was allocated
        (encoded(Image.fromarray(PIXELS), "PNG")[:3000], "must be whole"),
        (encoded(Image.fromarray(PIXELS), "TIFF")[:-100], "must be whole"),
        (
            png(9_440, 9_440),
            "must be at most 50000000 pixels, got 9440 × 9440. Scale it down, or raise most_megapixels",
        ),
        (png(10_000, 10_000), "must be at most 50000000 pixels"),
        (png(60_000, 60_000), "must be at most 50000000 pixels"),
        (png_without_end(), "must be whole"),
        (png(60, 40, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**21)))), "must be whole"),
        (png(60, 40, chunk(b"acTL", b"")), "must be whole"),
        (bmp_of_colours(300), "must be whole"),
        (encoded(Image.fromarray(PIXELS[..., 0].astype(np.uint16)), "PNG"), "must be 8 bits a channel"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(tmp_path: Path, content: bytes, complaint: str) -> None:
    photograph = stored(tmp_path, content)
    with pytest.raises(ValueError, match=complaint) as raised:
        photograph.read()
    assert str(raised.value).startswith(f"{photograph.name} must")


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


def test_parameters_that_some_phones_write_into_a_scan_are_no_damage() -> None:
    odd = bytearray(JPEGS["baseline"])
    scan = odd.index(b"\xff\xda") + 2
    end = scan + struct.unpack_from(">H", odd, scan)[0]
    odd[end - 3 : end] = bytes(3)
    np.testing.assert_array_equal(jpeg.decoded(bytes(odd)), jpeg.decoded(JPEGS["baseline"]))


def test_the_first_photograph_of_several_in_a_jpeg_is_read(tmp_path: Path) -> None:
    several = encoded(SMOOTH, "MPO", save_all=True, append_images=[SMOOTH.resize((800, 600))], quality=92)
    assert stored(tmp_path, several).read().shape == (300, 400, 3)


def pages(*sizes: int) -> bytes:
    first, *others = (Image.fromarray(np.full((size, size, 3), size, np.uint8)) for size in sizes)
    return encoded(first, "TIFF", save_all=True, append_images=others)


@pytest.mark.parametrize("sizes", [(20, 100), (100, 20), (30, 100, 50), (100,)])
def test_the_photograph_of_a_tiff_is_no_thumbnail(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    photograph = stored(tmp_path, pages(*sizes))
    assert photograph.size() == (100, 100)
    np.testing.assert_array_equal(photograph.read(), np.full((100, 100, 3), 100, np.uint8))


def test_a_tiff_of_several_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be one photograph, got 2 pages of like sizes"):
        stored(tmp_path, pages(100, 90)).read()


def test_a_tiff_of_endless_pages_is_refused_before_they_are_read(tmp_path: Path, monkeypatch) -> None:
    """A page of 100 bytes takes a quarter of a millisecond, and a file can have half a million pages."""
    turned: list[int] = []
    seek = TiffImageFile.seek
    monkeypatch.setattr(TiffImageFile, "seek", lambda image, page: (turned.append(page), seek(image, page))[1])
    several = [Image.new("L", (4, 4))] * 200
    file = stored(tmp_path, encoded(Image.new("L", (64, 64)), "TIFF", save_all=True, append_images=several))
    with pytest.raises(ValueError, match="at most 16 pages"):
        file.read()
    assert max(turned) <= 16


def test_a_jpeg_of_endless_scans_is_refused_before_they_are_decoded(tmp_path: Path) -> None:
    """Each scan of a few bytes needs a pass over the whole image."""
    content = encoded(Image.fromarray(PIXELS), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    with pytest.raises(ValueError, match="more than 100 scans"):
        stored(tmp_path, content[:last] + content[last:-2] * 100 + content[-2:]).read()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "BMP"])
def test_more_pixels_than_the_limit_are_refused_by_the_header(tmp_path: Path, file_format: str) -> None:
    content = encoded(Image.fromarray(PIXELS), file_format)
    photograph = replace(stored(tmp_path, content), most_pixels=60 * 40 - 1)
    for look in (photograph.size, photograph.read, lambda: photograph.reduced(5)):
        with pytest.raises(ValueError, match=r"photograph must be at most 2399 pixels, got 40 × 60\. Scale it down"):
            look()
    assert replace(photograph, most_pixels=60 * 40).read().shape == (40, 60, 3)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    for look in (PhotographFile(tmp_path / "gone.png").read, PhotographFile(tmp_path / "gone.png").digest):
        with pytest.raises(ValueError, match=r"gone\.png must be readable, got No such file"):
            look()


def test_damaged_metadata_neither_hides_the_pixels_nor_prints_a_warning(tmp_path: Path) -> None:
    damaged = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\xff\xff\xff\xff" * 20
    path = stored(tmp_path, encoded(Image.fromarray(PIXELS), "JPEG", exif=damaged)).path
    # in another process, since pytest sets its own filters
    code = (
        "from pathlib import Path; from teledx_fed.data.photographs import PhotographFile;"
        f"print(PhotographFile(Path({str(path)!r})).read().shape)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout.strip(), ran.stderr) == ("(40, 60, 3)", "")


def test_reads_rows_of_an_archive(tmp_path: Path) -> None:
    grey = PIXELS[None, ..., 0]
    np.savez_compressed(tmp_path / "set.npz", train_images=PIXELS[None], test_images=grey)
    colour, plain = (ArrayPhotograph(tmp_path / "set.npz", key, 0) for key in ("train_images", "test_images"))
    np.testing.assert_array_equal(colour.read(), PIXELS)
    np.testing.assert_array_equal(plain.read(), np.repeat(grey[0, ..., None], 3, axis=2))
    assert colour.digest() != plain.digest()
    assert "train_images" in colour.name


@pytest.mark.parametrize(("key", "index"), [("val_images", 0), ("train_images", 5), ("labels", 0)])
def test_a_row_that_is_no_image_is_reported(tmp_path: Path, key: str, index: int) -> None:
    np.savez(tmp_path / "set.npz", train_images=PIXELS[None], labels=np.zeros((3, 1)))
    with pytest.raises(ValueError, match=rf"set\.npz/{key}/{index} must be"):
        ArrayPhotograph(tmp_path / "set.npz", key, index).read()


def test_a_truncated_archive_is_reported(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", images=PIXELS[None])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cut\.npz/images/0 must be"):
        ArrayPhotograph(tmp_path / "cut.npz", "images", 0).read()


def test_reads_real_photographs(real_data: Path) -> None:
    for pattern in ("aptos2019/train_images/*.jpg", "eyepacs/train/*.jpeg", "messidor2_a/IMAGES/*.jpg"):
        image = PhotographFile(sorted(real_data.glob(pattern))[0]).read()
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        red, _, blue = image.reshape(-1, 3).mean(axis=0)
        assert red > blue, "a fundus is red: the channels are RGB"
