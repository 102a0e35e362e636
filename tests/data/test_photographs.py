import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photograph_files import PIXELS, encoded, stored
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from teledx_fed.data.photographs import PhotographFile

JPEG = encoded(Image.fromarray(PIXELS), "JPEG")


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
def test_a_written_photograph_is_read_unchanged(tmp_path: Path, file_format: str) -> None:
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


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    photograph = stored(tmp_path, encoded(Image.fromarray(PIXELS), "PNG", exif=exif))
    np.testing.assert_array_equal(photograph.read(), np.rot90(PIXELS, -1))


@pytest.mark.parametrize(("side", "size"), [(21, None), (20, (20, 30)), (11, (20, 30)), (10, (10, 15)), (1, (5, 8))])
def test_a_reduced_jpeg_is_at_least_as_large_as_requested(
    tmp_path: Path, side: int, size: tuple[int, int] | None
) -> None:
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


def pages(*sizes: int) -> bytes:
    first, *others = (Image.fromarray(np.full((size, size, 3), size, np.uint8)) for size in sizes)
    return encoded(first, "TIFF", save_all=True, append_images=others)


@pytest.mark.parametrize("sizes", [(20, 100), (100, 20), (30, 100, 50), (100,)])
def test_a_thumbnail_in_a_tiff_is_not_the_photograph(tmp_path: Path, sizes: tuple[int, ...]) -> None:
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


def test_damaged_metadata_do_not_hide_the_pixels_or_print_a_warning(tmp_path: Path) -> None:
    damaged = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\xff\xff\xff\xff" * 20
    path = stored(tmp_path, encoded(Image.fromarray(PIXELS), "JPEG", exif=damaged)).path
    # in another process, since pytest sets its own filters
    code = (
        "from pathlib import Path; from teledx_fed.data.photographs import PhotographFile;"
        f"print(PhotographFile(Path({str(path)!r})).read().shape)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout.strip(), ran.stderr) == ("(40, 60, 3)", "")


def test_reads_real_photographs(real_data: Path) -> None:
    for pattern in ("aptos2019/train_images/*.jpg", "eyepacs/train/*.jpeg", "messidor2_a/IMAGES/*.jpg"):
        image = PhotographFile(sorted(real_data.glob(pattern))[0]).read()
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        red, _, blue = image.reshape(-1, 3).mean(axis=0)
        assert red > blue, "a fundus is red: the channels are RGB"
