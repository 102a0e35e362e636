"""Which photographs the quality gate refuses, and what the optic disc says.

`python -m benchmarks.quality_gate RUN [DATA]`: RUN is the folder of a run with `experiment=real_hospitals`, whose
bundles grade what passes and what is refused. DATA is a folder with the four real sites, ../shared/data where none is
named. docs/results/quality.md is written anew.
"""

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2

from benchmarks.laterality import laterality
from benchmarks.measure import machine
from benchmarks.quality_plot import draw
from benchmarks.spoiling import LEVELS, other_pictures
from teledx_fed.config.data import SourceSettings
from teledx_fed.core.clinical import Fault
from teledx_fed.core.examples import GRADES, Example
from teledx_fed.core.files import write_text
from teledx_fed.core.randomness import generator
from teledx_fed.data import layouts
from teledx_fed.data.disc import Disc, optic_disc
from teledx_fed.data.preprocessing import prepare_photograph
from teledx_fed.data.quality import QualityLimits, Signs, faults, faults_of, signs
from teledx_fed.model.bundle import Bundle

ROOT = Path(__file__).parents[1]
PAGE, PLOT = (ROOT / "docs" / "results" / name for name in ("quality.md", "quality.png"))
SITES = {"aptos2019": "aptos2019", "eyepacs": "eyepacs", "messidor2_a": "messidor2", "messidor2_b": "messidor2"}
"""And the layout of each."""
SPOILT = 50
"""Photographs a site."""
REFERABLE = 2
LIMITS = QualityLimits()


@dataclass(frozen=True)
class Seen:
    """`spoilt` is the fault that was made, None in an untouched photograph, and `level` how it was made.

    `suggested` is the likeliest grade by the site's own bundle, whose training has seen part of the photographs.
    """

    site: str
    grade: int
    spoilt: Fault | None
    level: str
    signs: Signs | None
    suggested: int | None = None

    @property
    def refused(self) -> bool:
        return bool(faults_of(self.signs, LIMITS))


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z, share = 1.96, hits / of
    middle, half = share + z * z / (2 * of), z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, (middle - half) / (1 + z * z / of)), min(1.0, (middle + half) / (1 + z * z / of))


def percent(hits: int, of: int) -> str:
    if of == 0:
        return "–"
    low, high = wilson(hits, of)
    return f"{100 * hits / of:.1f} ({100 * low:.1f}–{100 * high:.1f})"


@cache
def opened(folder: Path) -> Bundle:
    return Bundle(folder, threads=1)


def suggested(example: Example, bundle: Bundle) -> int | None:
    asked = bundle.manifest.preparation
    try:
        prepared = prepare_photograph(example.image, asked.image_size, asked.ben_graham, asked.clahe)
    except ValueError:
        return None  # all black
    return int(bundle(prepared[None]).logits[0].argmax())


def look(site: str, run: Path, number: int, example: Example) -> tuple[list[Seen], Disc | None]:
    """At a photograph as it is and, of the first ones, at each degree of each fault."""
    cv2.setNumThreads(1)
    image = example.image.read()
    grade = suggested(example, opened(run / "bundles" / site))
    seen = [Seen(site, example.grade, None, "", signs(image), grade)]
    if number < SPOILT:
        for fault, levels in LEVELS.items():
            seen += [Seen(site, example.grade, fault, level, signs(spoil(image))) for level, spoil in levels.items()]
    return seen, optic_disc(image)


def examples(data: Path, site: str) -> list[Example]:
    collection, _ = layouts.read(site, SourceSettings(SITES[site], str(data / site)))
    order = generator(0, site, purpose="quality gate").permutation(len(collection.examples))
    return [collection.examples[place] for place in order]


def main(run: Path, data: Path) -> None:
    seen: list[Seen] = []
    discs: dict[str, list[tuple[Example, Disc | None]]] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for site in SITES:
            chosen = examples(data, site)
            looked = list(pool.map(partial(look, site, run), range(len(chosen)), chosen, chunksize=4))
            seen += [one for several, _ in looked for one in several]
            discs[site] = [(example, disc) for example, (_, disc) in zip(chosen, looked, strict=True)]
            print(f"{site}: {len(chosen)} photographs", flush=True)
    draw(PLOT, [(one.site, one.spoilt, one.level, one.signs) for one in seen if one.signs])
    write_text(PAGE, page(seen, laterality(discs, percent)))


def page(seen: Sequence[Seen], of_discs: str) -> str:
    untouched = [one for one in seen if one.spoilt is None]
    return TEXT.format(
        machine=machine(),
        untouched="\n".join(_untouched(untouched)),
        grades="\n".join(_by_grade(untouched)),
        agreement="\n".join(_agreement(untouched)),
        levels="\n".join(_by_level([one for one in seen if one.spoilt is not None])),
        pictures=_pictures(),
        spoilt=SPOILT,
        discs=of_discs,
    )


def _refused(seen: Sequence[Seen]) -> str:
    return percent(sum(one.refused for one in seen), len(seen))


def _untouched(seen: Sequence[Seen]) -> Iterator[str]:
    for site in SITES:
        here = [one for one in seen if one.site == site]
        why = [fault for one in here for fault in faults_of(one.signs, LIMITS)]
        named = ", ".join(f"{fault} {why.count(fault)}" for fault in Fault if fault in why)
        yield f"| {site} | {len(here):,} | {_refused(here)} | {named or '–'} |"


def _by_grade(seen: Sequence[Seen]) -> Iterator[str]:
    for grade in range(GRADES):
        everywhere = [one for one in seen if one.grade == grade]
        hardest = [one for one in everywhere if one.site == "eyepacs"]
        yield f"| {grade} | {len(everywhere):,} | {_refused(everywhere)} | {_refused(hardest)} |"


def _agreement(seen: Sequence[Seen]) -> Iterator[str]:
    for site in SITES:
        parts = [[one for one in seen if one.site == site and one.refused is refused] for refused in (False, True)]
        graded = [[one for one in part if one.suggested is not None] for part in parts]
        cells = [cell for part in graded for cell in _wrong(part)]
        yield f"| {site} | {' | '.join(cells)} |"


def _wrong(seen: Sequence[Seen]) -> tuple[str, str]:
    """How often the model names another grade, and takes the other side of referral."""
    grades = sum(one.suggested != one.grade for one in seen)
    sides = sum(((one.suggested or 0) >= REFERABLE) != (one.grade >= REFERABLE) for one in seen)
    return percent(grades, len(seen)), percent(sides, len(seen))


def _by_level(seen: Sequence[Seen]) -> Iterator[str]:
    for fault, levels in LEVELS.items():
        for level in levels:
            here = [one for one in seen if one.spoilt is fault and one.level == level]
            by_site = (_rate([one for one in here if one.site == site]) for site in SITES)
            named = sum(fault in faults_of(one.signs, LIMITS) for one in here)
            yield f"| {level} | {_refused(here)} | {' | '.join(by_site)} | {100 * named / len(here):.0f} |"


def _rate(seen: Sequence[Seen]) -> str:
    return f"{100 * sum(one.refused for one in seen) / len(seen):.0f}"


def _pictures() -> str:
    found: Mapping[str, Any] = {name: faults(picture) for name, picture in other_pictures().items()}
    passed = [name for name, why in found.items() if not why]
    otherwise = [name for name, why in found.items() if why and why != (Fault.NOT_A_FUNDUS,)]
    return (
        f"Of {len(found)} such pictures {len(found) - len(passed)} are refused"
        f" (not: {', '.join(passed) or 'none'}), {len(found) - len(passed) - len(otherwise)} of them as no fundus;"
        f" for another reason: {', '.join(otherwise) or 'none'}."
    )


TEXT = """# What the quality gate refuses, and what the disc tells

`faults` (`teledx_fed/data/quality.py`) looks at a photograph before the model does, in some 30 ms. Its limits were set
on these same sites, by looking at the 50 worst of all photographs by each measure: nothing should pass in which little
can be seen, and nearly all that graders graded should. So the shares below flatter. They are percentages with 95 %
intervals (Wilson).

A photograph is too dark where its brightest channel has a mean below 45 of 255, its green one below 22, or more than
35 % of it have a luminance of 24 or less. At these levels lie eyes that can be graded once they are brightened, and
eyes that cannot: a retake costs less than a grade that noise decided. Disease that the model sees in a refused
photograph still refers.

```sh
python run_simulation.py experiment=real_hospitals data_root=../shared/data folder=runs/gate
python -m benchmarks.quality_gate runs/gate ../shared/data
```

On {machine}.

## Untouched photographs

All of each site. Somebody graded each of them, so each refusal is one too many, or a grade too many: EyePACS was graded
as it came, and has black, burnt-out and blurred photographs.

| site | photographs | refused, % | for which faults |
|---|---|---|---|
{untouched}

By true grade, of all sites and of the hardest. A gate that refused more of the diseased would hide disease.

| grade | photographs | refused, % | EyePACS alone, % |
|---|---|---|---|
{grades}

How often the model of a federation of these four hospitals names another grade than the label, and takes the other side
of referral. It was trained on part of them, of the refused as well as of the others. On these few it errs no more than
on the others: the gate rests on what can be seen in a photograph, not on this table.

| site | passed: grade, % | passed: referral, % | refused: grade, % | refused: referral, % |
|---|---|---|---|---|
{agreement}

Still let through, as far as the 50 worst by each measure show: five EyePACS photographs of lids, lashes or dense haze,
whose sharpness and lines are those of hazy photographs elsewhere in which lesions are seen, and overexposed ones whose
vessels show.

## Degraded photographs

**These degradations are artificial**: computed on {spoilt} photographs of each site, not taken with a camera out of
focus or through a cataract. They tell where the limits lie, not how many bad photographs of a clinic are caught.
The last column is the share that is refused for the very fault that was made, perhaps among others.

| made | refused, % | aptos2019 | eyepacs | messidor2_a | messidor2_b | that fault, % |
|---|---|---|---|---|---|---|
{levels}

![Caught against refused by mistake, as each limit moves](quality.png)

Each curve moves one limit and leaves the others out; the dot is where the limit stands. Across: untouched photographs
refused at the site that suffers most. Up: degraded ones caught, all sites together. The axis across ends at 10 %.

## Pictures of something else

A face, buildings, a flower, a logo, a page of text, cards, noise and black frames, each also with a round black border
drawn over it. Red-free and monochrome photographs count as no fundus, too.

{pictures}

## The optic disc

{discs}"""


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT.parent / "shared" / "data")
