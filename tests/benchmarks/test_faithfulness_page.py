"""The page names the controls that a map beats, and those that it does not."""

import numpy as np

from benchmarks.faithfulness_page import PAGE, page


def test_what_beats_a_control_by_more_than_the_interval_and_what_does_not() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (30, 4))
    control = np.array([0.5, 0.5, 0.5, 0.5]) + noise[::-1]
    ours = np.array([0.3, 0.5, 0.2, 0.8]) + noise  # deletion: less is better; insertion: the same
    measures = {"ours": [tuple(row) for row in ours], "edges": [tuple(row) for row in control]}
    facts: dict[str, object] = {"smooth": 4.0, **{name: name for name in PAGE_FACTS}}
    text = page(measures, ["edges"], {"ours": [3.0, -4.0]}, {("retrained", "ours"): [0.1, 0.1]}, **facts)
    better, _, rest = text.partition("**Not** better")
    better = better.partition("Better by more than the interval")[2]
    missed = rest.partition("## Do the values add up?")[0]
    assert better.count("- ours") == 2
    assert "- ours, deletion: edges" in better
    assert "- ours, energy: edges" in better
    assert "- ours, insertion: edges\n" in missed
    assert "- ours, pointing: edges (worse than it by more than the interval)" in missed
    assert "| ours | 3.54 | 3.95 |" in text
    assert "| retrained | ours | 0.100 (0.100 to 0.100) |" in text


PAGE_FACTS = (
    {part.partition("}")[0].partition(":")[0] for part in PAGE.split("{")[1:]}
    - {"means", "differences", "beaten", "missed", "completeness", "changed", "smooth"}
)  # fmt: skip
