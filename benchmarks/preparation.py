"""Preparation of photographs compared with Pillow alone, and the first start of a run compared with the second."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from PIL import Image

from benchmarks.measure import alternate, print_result
from benchmarks.synthetic import jpegs
from teledx_fed.config.data import DataSettings, SourceSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Example
from teledx_fed.core.reports import SILENT
from teledx_fed.data.hospitals import hospitals
from teledx_fed.data.image_cache import ImageCache
from teledx_fed.data.photographs import PhotographFile

PATIENTS = 100
SIDE = 1024
REPEATS = 5


@dataclass(frozen=True)
class Clinic:
    """An APTOS folder of synthetic photographs."""

    folder: Path

    def draw(self) -> None:
        examples = jpegs(self.folder / "train_images", PATIENTS, SIDE)
        rows = [f"{example.image.name},{example.grade}\n" for example in examples]
        (self.folder / "train.csv").write_text("id_code,diagnosis\n" + "".join(rows))

    @property
    def photographs(self) -> list[Path]:
        return sorted((self.folder / "train_images").iterdir())

    @cached_property
    def settings(self) -> DataSettings:
        sources = {"clinic": SourceSettings("aptos2019", str(self.folder))}
        return DataSettings(sources=sources, workers=os.cpu_count() or 1)

    def prepare(self) -> None:
        examples = [Example(PhotographFile(path), 0, path.stem) for path in self.photographs]
        ImageCache(self.empty_cache(), self.settings).prepare(examples)

    def prepare_with_pillow(self) -> None:
        """Resize photographs with Pillow, as many at once as ours."""
        with ThreadPoolExecutor(self.settings.workers) as pool:
            list(pool.map(self._resized, self.photographs))

    def _resized(self, path: Path) -> Image.Image:
        size = self.settings.image_size
        with Image.open(path) as image:
            return image.convert("RGB").resize((size, size))

    def start(self, cache: Path) -> None:
        settings = Settings(data_root=str(self.folder), data=replace(self.settings, cache=str(cache)))
        hospitals(settings, self.folder / "run", SILENT)

    def empty_cache(self) -> Path:
        return Path(mkdtemp(dir=self.folder))


def main() -> None:
    with TemporaryDirectory() as folder:
        clinic = Clinic(Path(folder))
        clinic.draw()
        count = len(clinic.photographs)
        preparing = alternate({"ours": clinic.prepare, "pillow": clinic.prepare_with_pillow}, REPEATS)
        kept = clinic.empty_cache()
        starts = {"first": lambda: clinic.start(clinic.empty_cache()), "second": lambda: clinic.start(kept)}
        starting = alternate(starts, REPEATS)
    print_result(
        "preparation",
        {
            "throughput": preparing["pillow"] / preparing["ours"],
            "second_start": starting["first"] / starting["second"],
        },
        at_least={"throughput": 1.5, "second_start": 20},
        sides={f"{side}_images_per_second": count / taken for side, taken in preparing.items()}
        | {f"{side}_start_seconds": taken for side, taken in starting.items()},
    )


if __name__ == "__main__":
    main()
