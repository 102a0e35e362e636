"""Measure which photographs the quality gate refuses, and how often the optic disc gives the right eye.

`python -m benchmarks.quality_gate RUN [DATA]`: RUN is the folder of a run with `experiment=real_hospitals`; its
bundles grade accepted and refused photographs. DATA is a folder with the four real sites, by default ../shared/data.
It rewrites docs/results/quality.md.
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
"""Sites, with the layout of each."""
SPOILT = 50
"""Photographs per site that are spoilt."""
REFERABLE = 2
LIMITS = QualityLimits()


@dataclass(frozen=True)
class Seen:
    """A photograph. `spoilt` is the fault that was added, None in an unchanged one, and `level` its degree.

    `suggested` is the likeliest grade by the site's own bundle, which was trained on some of the photographs.
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
    """Return the 95 % interval of a share (Wilson 1927)."""
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
    """Measure a photograph, and the first ones also with each degree of each fault."""
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
    """Return how often the model's grade is wrong, and how often its referral is."""
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


TEXT = """# What the quality gate refuses, and what the optic disc shows

`faults` (`teledx_fed/data/quality.py`) assesses a photograph in about 30 ms before the model grades it. We set its
limits on these same sites, after viewing the 50 worst photographs by each measure. It should refuse photographs in
which little is visible, and accept nearly all that graders graded. So the shares below are optimistic. They are
percentages with 95 % intervals (Wilson).

A photograph is too dark if its brightest channel has a mean below 45 of 255, its green channel a mean below 22, or
more than 35 % of its pixels a luminance of 24 or less. At these levels some eyes can be graded after brightening,
and some cannot. A retake costs less than a wrong grade. If the model detects disease in a refused photograph, the
patient is still referred.

```sh
python run_simulation.py experiment=real_hospitals data_root=../shared/data folder=runs/gate
python -m benchmarks.quality_gate runs/gate ../shared/data
```

On {machine}.

## Untouched photographs

All photographs of each site. Each has a grade, so either the refusal or the grade is wrong: graders graded every
EyePACS photograph, also black, overexposed and blurred ones.

| site | photographs | refused, % | for which faults |
|---|---|---|---|
{untouched}

By true grade, over all sites and at the most difficult one. If the gate refused more diseased eyes, it would hide
disease.

| grade | photographs | refused, % | EyePACS alone, % |
|---|---|---|---|
{grades}

How often the federated model of these four hospitals gives a grade other than the label, and the opposite referral
decision. It was trained on some of these photographs, both refused and accepted. On the few refused ones it makes no
more errors than on the others: the gate's limits come from viewing photographs, not from this table.

| site | passed: grade, % | passed: referral, % | refused: grade, % | refused: referral, % |
|---|---|---|---|---|
{agreement}

Among the 50 worst by each measure, the gate still accepts five EyePACS photographs of lids, lashes or dense haze.
They are as sharp as hazy photographs of other sites in which lesions are visible. It also accepts overexposed ones
with visible vessels.

## Degraded photographs

**These degradations are artificial**: computed on {spoilt} photographs of each site, not taken with a camera out of
focus or through a cataract. They show the effect of the limits, not how many bad photographs of a clinic the gate
refuses. The last column is the share refused for the fault that was introduced, possibly with others.

| made | refused, % | aptos2019 | eyepacs | messidor2_a | messidor2_b | that fault, % |
|---|---|---|---|---|---|---|
{levels}

![Degraded photographs refused against good ones refused, for each limit](quality.png)

Each curve varies one limit without the others; the dot is the chosen limit. Horizontal: unchanged photographs
refused, at the site with the largest share; this axis ends at 10 %. Vertical: degraded photographs refused, all
sites together.

## Pictures of something else

A face, buildings, a flower, a logo, a page of text, cards, noise and black frames, each also inside a round black
border. Red-free and monochrome photographs also count as no fundus.

{pictures}

## The optic disc

{discs}"""


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT.parent / "shared" / "data")
