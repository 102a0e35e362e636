"""Names and shapes of the score tables that a site sends after an evaluation."""

from teledx_fed.core.examples import GRADES

BINS = 64
"""Equal bins of scores in 0…1."""

SHAPES = {
    "eyes": (1,),
    "patients": (1,),
    "called": (2, 2),
    "severe_called": (2,),
    "referable_scores": (2, BINS),
    "referable_sums": (2,),
    "referable_sought": (BINS,),
    "vision_threatening_scores": (2, BINS),
    "urgent_sought": (BINS,),
    "confusion": (GRADES, GRADES),
    "grade_scores": (GRADES, 2, BINS),
}
"""Every array that a site may send: `called` is referable × called at the site's own operating point, `confusion` is
grade × predicted grade, `scores` are histograms, (negative, positive) × score, `referable_sums` are sums of squared
error and of score. `sought` are histograms of the eyes that the model should find: by grade alone, if it has no oedema
output. The last four are for five grades: a head with one output does not send them."""

ONE_OUTPUT = {
    name: shape
    for name, shape in SHAPES.items()
    if name not in ("vision_threatening_scores", "urgent_sought", "confusion", "grade_scores")
}
"""The tables of a head without grades."""
