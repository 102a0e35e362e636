from pathlib import Path

import numpy as np
import pytest
from photograph_files import PIXELS

from teledx_fed.data.array_photographs import ArrayPhotograph


def test_reads_rows_of_an_archive(tmp_path: Path) -> None:
    grey = PIXELS[None, ..., 0]
    np.savez_compressed(tmp_path / "set.npz", train_images=PIXELS[None], test_images=grey)
    colour, plain = (ArrayPhotograph(tmp_path / "set.npz", key, 0) for key in ("train_images", "test_images"))
    np.testing.assert_array_equal(colour.read(), PIXELS)
    np.testing.assert_array_equal(plain.read(), np.repeat(grey[0, ..., None], 3, axis=2))
    assert colour.digest() != plain.digest()
    assert "train_images" in colour.name


@pytest.mark.parametrize(("key", "index"), [("val_images", 0), ("train_images", 5), ("labels", 0)])
def test_an_array_row_that_is_not_an_image_is_reported(tmp_path: Path, key: str, index: int) -> None:
    np.savez(tmp_path / "set.npz", train_images=PIXELS[None], labels=np.zeros((3, 1)))
    with pytest.raises(ValueError, match=rf"set\.npz/{key}/{index} must be"):
        ArrayPhotograph(tmp_path / "set.npz", key, index).read()


def test_a_truncated_archive_is_reported(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", images=PIXELS[None])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cut\.npz/images/0 must be"):
        ArrayPhotograph(tmp_path / "cut.npz", "images", 0).read()
