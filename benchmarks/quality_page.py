"""Write the results of benchmarks.quality_gate as docs/results/quality.md."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.measure import machine
from benchmarks.spoiling import LEVELS, other_pictures
from teledx_fed.core.clinical import Fault
from teledx_fed.core.examples import GRADES
from teledx_fed.data.quality import QualityLimits, Signs, faults, faults_of

SITES = {"aptos2019": "aptos2019", "eyepacs": "eyepacs", "messidor2_a": "messidor2", "messidor2_b": "messidor2"}
"""Sites, with the layout of each."""
SPOILT = 50
"""Photographs per site that are spoilt."""
REFERABLE = 2
LIMITS = QualityLimits()


@dataclass(frozen=True)
class Assessment:
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


def page(assessments: Sequence[Assessment], of_discs: str) -> str:
    untouched = [each for each in assessments if each.spoilt is None]
    return TEXT.format(
        machine=machine(),
        untouched="\n".join(_untouched(untouched)),
        grades="\n".join(_by_grade(untouched)),
        agreement="\n".join(_agreement(untouched)),
        levels="\n".join(_by_level([each for each in assessments if each.spoilt is not None])),
        pictures=_pictures(),
        spoilt=SPOILT,
        discs=of_discs,
    )


def _refused(assessments: Sequence[Assessment]) -> str:
    return percent(sum(each.refused for each in assessments), len(assessments))


def _untouched(assessments: Sequence[Assessment]) -> Iterator[str]:
    for site in SITES:
        here = [each for each in assessments if each.site == site]
        why = [fault for each in here for fault in faults_of(each.signs, LIMITS)]
        named = ", ".join(f"{fault} {why.count(fault)}" for fault in Fault if fault in why)
        yield f"| {site} | {len(here):,} | {_refused(here)} | {named or '–'} |"


def _by_grade(assessments: Sequence[Assessment]) -> Iterator[str]:
    for grade in range(GRADES):
        everywhere = [each for each in assessments if each.grade == grade]
        hardest = [each for each in everywhere if each.site == "eyepacs"]
        yield f"| {grade} | {len(everywhere):,} | {_refused(everywhere)} | {_refused(hardest)} |"


def _agreement(assessments: Sequence[Assessment]) -> Iterator[str]:
    for site in SITES:
        parts = [
            [each for each in assessments if each.site == site and each.refused is refused] for refused in (False, True)
        ]
        graded = [[each for each in part if each.suggested is not None] for part in parts]
        cells = [cell for part in graded for cell in _wrong(part)]
        yield f"| {site} | {' | '.join(cells)} |"


def _wrong(assessments: Sequence[Assessment]) -> tuple[str, str]:
    """Return how often the model's grade is wrong, and how often its referral is."""
    grades = sum(each.suggested != each.grade for each in assessments)
    sides = sum(((each.suggested or 0) >= REFERABLE) != (each.grade >= REFERABLE) for each in assessments)
    return percent(grades, len(assessments)), percent(sides, len(assessments))


def _by_level(assessments: Sequence[Assessment]) -> Iterator[str]:
    for fault, levels in LEVELS.items():
        for level in levels:
            here = [each for each in assessments if each.spoilt is fault and each.level == level]
            by_site = (_rate([each for each in here if each.site == site]) for site in SITES)
            named = sum(fault in faults_of(each.signs, LIMITS) for each in here)
            yield f"| {level} | {_refused(here)} | {' | '.join(by_site)} | {100 * named / len(here):.0f} |"


def _rate(assessments: Sequence[Assessment]) -> str:
    return f"{100 * sum(each.refused for each in assessments) / len(assessments):.0f}"


def _pictures() -> str:
    by_picture = {name: faults(picture) for name, picture in other_pictures().items()}
    passed = [name for name, why in by_picture.items() if not why]
    otherwise = [name for name, why in by_picture.items() if why and why != (Fault.NOT_A_FUNDUS,)]
    return (
        f"Of {len(by_picture)} such pictures {len(by_picture) - len(passed)} are refused"
        f" (not: {', '.join(passed) or 'none'}), {len(by_picture) - len(passed) - len(otherwise)} of them as no fundus;"
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
