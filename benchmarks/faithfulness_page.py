"""Write the results of benchmarks.faithfulness as docs/results/faithfulness.md."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.randomness import generator
from teledx_fed.evaluation.intervals import Estimate, estimate, multiplicities

REPLICATES = 2000
MEASURES = {"deletion": -1, "insertion": 1, "pointing": 1, "energy": 1}
"""1 where a higher value is better, else -1."""

Floats = NDArray[np.float64]
Comparison = tuple[str, str, str]
"""Names of a map, a measure and a control."""

PAGE = """# Do the maps show what the model uses?

The model of `{trained}`: EfficientNet-B0 frozen from ImageNet weights, a head trained by four synthetic hospitals,
224 px. It predicts {count} photographs of synthetic eyes that it was not trained on: four cameras in turn, one
photograph for each patient, grade 2 or more, and referred by the model ({grades}). 95 % intervals by bootstrap over
photographs.

```sh
python -m benchmarks.faithfulness
```

On {machine}.
Median time per photograph, one thread, other work on the machine: {seconds}.

![The first of the photographs: unchanged, with its lesions, the maps and the edges](faithfulness.png)

*The first of the photographs; blue marks what contributes to referable disease.*

## How well

Deletion: the mean probability of referable disease while the pixels are blurred, those with the highest map values
first; lower is better. Insertion: the same while they appear from a blur; higher is better (Petsiuk et al., RISE).
Pointing: the share of photographs whose highest map value is in a lesion, or within {near} of 224 pixels of one.
Energy: the share of the positive map values that lies there; for a random map it is about the share of the area.
Integrated Gradients and SHAP are smoothed over {smooth:g} pixels before ranking, and so is the fine random map. The
coarse random map has the 7 × 7 cells of the heat map. Edges are Sobel's, without the rim of the disc. Integrated
Gradients start from the same blur with which deletion ends, which favours them in deletion. A cell of the heat map
is 32 pixels wide: it shows a region, and cannot point at lesions of a few pixels.

| map | deletion ↓ | insertion ↑ | pointing ↑ | energy ↑ |
|---|---|---|---|---|
{means}

How much better a map is than a control, photograph by photograph; positive is better in every column:

| map | than | deletion | insertion | pointing | energy |
|---|---|---|---|---|---|
{differences}

Better by more than the interval:

{beaten}

**Not** better by more than the interval:

{missed}

## Do the values add up?

The sum of a map minus the value that it should have: the log-odds of the photograph minus that of its blur
(Integrated Gradients, {steps} steps), or minus the mean over {background} blurs of the photograph (SHAP, {samples}
samples), in log-odds.

| map | root mean square | 95 % within |
|---|---|---|
{completeness}

## Do they change with the model?

Rank correlation, within the disc, between a map and the map of a model with new random weights (Adebayo et al.), on the
first {randomised}; 1 means that the map does not depend on the model.

| weights | map | rank correlation |
|---|---|---|
{changed}
"""


def page(
    measures: Mapping[str, Sequence[tuple[float, ...]]],
    controls: Sequence[str],
    gaps: Mapping[str, Sequence[float]],
    correlations: Mapping[tuple[str, str], Sequence[float]],
    **facts: object,
) -> str:
    """Return the page. `measures` are by map and photograph, in the order of MEASURES; `facts` fill the template."""
    columns = {name: dict(zip(MEASURES, np.array(rows).T, strict=True)) for name, rows in measures.items()}
    differences: list[str] = []
    beaten: list[Comparison] = []
    missed: list[Comparison] = []
    for name in (name for name in columns if name not in controls):
        for other in controls:
            gains = {m: interval(sign * (columns[name][m] - columns[other][m])) for m, sign in MEASURES.items()}
            differences.append(row(f"{name} | {other}", map(text, gains.values())))
            for measure, gain in gains.items():
                than = f"{other} (worse than it by more than the interval)" if gain.high < 0 else other
                (beaten if gain.low > 0 else missed).append((name, measure, than))
    return PAGE.format(
        means="\n".join(
            row(name, (text(interval(v)) for v in by_measure.values())) for name, by_measure in columns.items()
        ),
        differences="\n".join(differences),
        beaten=listed(beaten),
        missed=listed(missed),
        completeness="\n".join(row(name, spread(np.array(values))) for name, values in gaps.items()),
        changed="\n".join(
            row(f"{weights} | {name}", [text(interval(np.array(values)))])
            for (weights, name), values in correlations.items()
        ),
        **facts,
    )


def interval(values: Floats) -> Estimate:
    """Return the interval of the mean, by bootstrap over photographs, each of another patient."""
    drawn = multiplicities(np.arange(values.size), REPLICATES, generator(0, purpose="bootstrap"))
    mean = estimate(np.concatenate([[values.mean()], drawn @ values / values.size]))
    assert mean is not None
    return mean


def spread(gaps: Floats) -> tuple[str, str]:
    return f"{np.sqrt(np.mean(np.square(gaps))):.2f}", f"{np.percentile(np.abs(gaps), 95):.2f}"


def listed(comparisons: Sequence[Comparison]) -> str:
    """List the controls by map and measure."""
    others: dict[tuple[str, str], list[str]] = {}
    for name, measure, other in comparisons:
        others.setdefault((name, measure), []).append(other)
    return "\n".join(f"- {', '.join(of)}: {'; '.join(names)}" for of, names in others.items()) or "- none"


def row(name: str, columns: Iterable[str]) -> str:
    return f"| {' | '.join((name, *columns))} |"


def text(value: Estimate) -> str:
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"
