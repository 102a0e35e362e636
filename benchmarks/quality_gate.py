"""Measure which photographs the quality gate refuses, and how often the optic disc gives the right eye.

`python -m benchmarks.quality_gate RUN [DATA]`: RUN is the folder of a run with `experiment=real_hospitals`; its
bundles grade accepted and refused photographs. DATA is a folder with the four real sites, by default ../shared/data.
It rewrites docs/results/quality.md.
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import cv2

from benchmarks.laterality import laterality
from benchmarks.quality_page import SITES, SPOILT, Assessment, page, percent
from benchmarks.quality_plot import draw
from benchmarks.spoiling import LEVELS
from teledx_fed.config.data import SourceSettings
from teledx_fed.core.examples import Example
from teledx_fed.core.files import write_text
from teledx_fed.core.randomness import generator
from teledx_fed.data import layouts
from teledx_fed.data.disc import Disc, optic_disc
from teledx_fed.data.preprocessing import prepare_photograph
from teledx_fed.data.quality import signs
from teledx_fed.model.bundle import Bundle

ROOT = Path(__file__).parents[1]
PAGE, PLOT = (ROOT / "docs" / "results" / name for name in ("quality.md", "quality.png"))


@cache
def opened(folder: Path) -> Bundle:
    return Bundle(folder, threads=1)


def suggested(example: Example, bundle: Bundle) -> int | None:
    preparation = bundle.manifest.preparation
    try:
        prepared = prepare_photograph(example.image, preparation.image_size, preparation.ben_graham, preparation.clahe)
    except ValueError:
        return None  # all black
    return int(bundle(prepared[None]).logits[0].argmax())


def assess(site: str, run: Path, number: int, example: Example) -> tuple[list[Assessment], Disc | None]:
    """Measure a photograph, and the first ones also with each degree of each fault."""
    cv2.setNumThreads(1)
    image = example.image.read()
    grade = suggested(example, opened(run / "bundles" / site))
    assessments = [Assessment(site, example.grade, None, "", signs(image), grade)]
    if number < SPOILT:
        for fault, levels in LEVELS.items():
            assessments += [
                Assessment(site, example.grade, fault, level, signs(spoil(image))) for level, spoil in levels.items()
            ]
    return assessments, optic_disc(image)


def examples(data: Path, site: str) -> list[Example]:
    collection, _ = layouts.read(site, SourceSettings(SITES[site], str(data / site)))
    order = generator(0, site, purpose="quality gate").permutation(len(collection.examples))
    return [collection.examples[place] for place in order]


def main(run: Path, data: Path) -> None:
    assessments: list[Assessment] = []
    discs: dict[str, list[tuple[Example, Disc | None]]] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for site in SITES:
            chosen = examples(data, site)
            results = list(pool.map(partial(assess, site, run), range(len(chosen)), chosen, chunksize=4))
            assessments += [each for several, _ in results for each in several]
            discs[site] = [(example, disc) for example, (_, disc) in zip(chosen, results, strict=True)]
            print(f"{site}: {len(chosen)} photographs", flush=True)
    draw(PLOT, [(each.site, each.spoilt, each.level, each.signs) for each in assessments if each.signs])
    write_text(PAGE, page(assessments, laterality(discs, percent)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT.parent / "shared" / "data")
