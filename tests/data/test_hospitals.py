"""From a folder of photographs to hospitals: all problems are reported at once, or set aside and counted."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from reporters import RecordingReporter

from teledx_fed.config.data import SourceSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import SetAsideReason, Site
from teledx_fed.core.reports import SILENT
from teledx_fed.data.hospitals import _report, collections, hospitals
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.problems import BadData, Problem


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write an APTOS folder: 30 photographs, one of them truncated, a row without a file, and one with a bad grade."""
    folder = tmp_path / "aptos"
    (folder / "train_images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(30):
        disc = np.zeros((64, 64, 3), np.uint8)
        cv2.circle(disc, (32, 32), 30, tuple(rng.integers(60, 250, 3).tolist()), -1)
        disc[20:44, 20:44] = rng.integers(40, 250, (24, 24, 3))
        cv2.imwrite(str(folder / "train_images" / f"eye{number}.png"), disc)
    torn = folder / "train_images" / "eye7.png"
    torn.write_bytes(torn.read_bytes()[:200])
    rows = [f"eye{number},{number % 5}" for number in range(30)]
    (folder / "train.csv").write_text("\n".join(["id_code,diagnosis", *rows, "absent,1", "eye0x,9"]) + "\n")
    return folder


@pytest.fixture
def of(root: Path, tiny_settings: Callable[..., Settings]) -> Callable[..., Settings]:
    def make(**data: object) -> Settings:
        named = {f"data__{name}": value for name, value in data.items()}
        sources = {"clinic": {"layout": "aptos2019", "root": str(root)}}
        return tiny_settings(data_root=str(root), data__hospitals={}, data__sources=sources, **named)

    return make


def test_photographs_of_more_pixels_than_the_limit_are_named(of: Callable[..., Settings], tmp_path: Path) -> None:
    large = tmp_path / "aptos" / "train_images" / "eye3.png"
    cv2.imwrite(str(large), np.zeros((1000, 1001), np.uint8))
    reporter = RecordingReporter()
    collections(of(on_bad="skip", most_megapixels=1).data, reporter)
    assert (
        "eye3.png: must be at most 1000000 pixels, got 1000 × 1001. Scale it down, or raise most_mega"
        in reporter.messages[-1]
    )
    collections(of(on_bad="skip", most_megapixels=2).data, reporter)
    assert "eye3.png: photograph must show a fundus" in reporter.messages[-1]


def test_all_problems_are_reported_at_once(of: Callable[..., Settings], tmp_path: Path) -> None:
    """First those of all hospitals, before any photograph is prepared; then all photographs that cannot be decoded."""
    reporter = RecordingReporter()
    settings = of()
    root = Path(settings.data.sources["clinic"].root)
    (root / "train_images" / "gone.png").symlink_to("nowhere")
    settings.data.sources["ward"] = SourceSettings("folder", str(tmp_path / "absent"))
    settings.data.sources["unit"] = SourceSettings("folder", str(root), file_pattern="(")
    with pytest.raises(BadData) as error:
        hospitals(settings, tmp_path, reporter)
    message = str(error.value)
    for part in ("train.csv, row 32", "train.csv, row 33", "gone.png", "data.sources.ward.root", "unit: file_pattern"):
        assert part in message
    assert reporter.counts == []
    (root / "train_images" / "gone.png").unlink()
    table = root / "train.csv"
    table.write_text(table.read_text().replace("absent,1\n", "").replace("eye0x,9\n", ""))
    with pytest.raises(BadData, match=r"eye7\.png"):
        hospitals(of(), tmp_path, SILENT)


def test_no_photograph_of_a_bad_folder_or_row_goes_missing(of: Callable[..., Settings], tmp_path: Path) -> None:
    """Every file below the root is an example, is set aside by name, or is counted as not taken."""
    settings = of(on_bad="skip")
    photographs = Path(settings.data.sources["clinic"].root) / "train_images"
    (photographs / "unlisted.png").write_bytes((photographs / "eye1.png").read_bytes())
    for number in range(3):
        path = tmp_path / "ward" / "odd" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((photographs / f"eye{number + 8}.png").read_bytes())
    (tmp_path / "ward" / "odd" / "notes.txt").write_text("nothing")
    settings.data.sources["ward"] = SourceSettings("folder", str(tmp_path / "ward"))
    reporter = RecordingReporter()
    sources, _ = collections(settings.data, reporter)
    aside = [Path(aside.name).name for aside in sources["ward"].set_aside]
    assert (sources["ward"].examples, sorted(aside)) == ((), ["0.png", "1.png", "2.png"])
    assert "ward: 1 file is not taken: 1 .txt (not a photograph that this program reads)" in reporter.messages
    assert "clinic: 1 file is not taken: 1 .png (a photograph that no row of the table names)" in reporter.messages
    clinic = sources["clinic"]
    by_name = {aside.name for aside in clinic.set_aside if aside.name.endswith(".png")}
    left = sum(left.count for left in clinic.not_taken)
    assert len(clinic.examples) + len(by_name) + left == len(list(photographs.iterdir()))


def test_a_folder_that_cannot_be_read_is_not_skipped() -> None:
    problem = Problem("train_images", "must be readable, got Permission denied.", skippable=False)
    with pytest.raises(BadData, match="cannot be skipped"):
        _report([problem], "skip", SILENT)


def test_skipping_reports_the_number_and_keeps_all_others(of: Callable[..., Settings], tmp_path: Path) -> None:
    reporter = RecordingReporter()
    site = hospitals(of(on_bad="skip"), tmp_path, reporter)["clinic"]
    shard = site.shard
    assert len([*shard.train, *shard.validation, *shard.test]) == 29
    assert [aside.reason for aside in site.set_aside] == [SetAsideReason.BAD] * 3
    assert "data.on_bad=skip" in reporter.messages[0]


def test_a_second_start_reads_no_photograph_and_finds_the_same(
    of: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(run: str) -> Site:
        return hospitals(of(), tmp_path / run, SILENT)["clinic"]

    for wrong in ("absent,1\n", "eye0x,9\n", "eye7,2\n"):
        table = tmp_path / "aptos" / "train.csv"
        table.write_text(table.read_text().replace(wrong, ""))
    first = start("first")
    monkeypatch.setattr(PhotographFile, "_content", lambda self: pytest.fail(f"{self.name} was read again"))
    second = start("second")
    assert (second.shard, second.set_aside) == (first.shard, first.set_aside)


def test_a_hospital_too_small_to_split_is_named(tiny_settings: Callable[..., Settings], tmp_path: Path) -> None:
    settings = tiny_settings(data__hospitals={"outpost": {"patients": 1, "prevalence": [1.0, 0, 0, 0, 0]}})
    with pytest.raises(ValueError, match="hospital outpost"):
        hospitals(settings, tmp_path, SILENT)
