"""Summary of its data that a site sends before training: counts in cells, none of which reveals a patient.

Every count but one is rounded down to a multiple of `cell`: a small count left blank could be computed from a total.
Rounded tables can still reveal counts if their totals differ, since the difference lies in the cells of the lower
total. So all tables of photographs are lowered to one total. Together they are then also the tables of a hospital with
up to `cell - 1` more photographs, in any cells.

The exception is the number of photographs, rounded up: the server later accepts no larger count from this site. Updates
state their exact number of examples in any case.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.examples import GRADES, Example, Identification, SetAsideReason, Site
from teledx_fed.core.reports import Counts
from teledx_fed.core.updates import Tables

Floats = NDArray[np.float64]

MAKERS = ("canon", "centervue", "kowa", "nidek", "nikon", "optomed", "optos", "optovue", "phelcom", "topcon", "zeiss")
"""Makers of cameras. The camera's name in a file may contain any other text."""
OTHER, UNKNOWN = "other", "unknown"

SIDES = (0, 128, 224, 384, 512, 768, 1024, 2048)
"""The lower limits of the bins of a photograph's smaller side, in pixels."""

CELLS: Mapping[str, tuple[str, ...]] = {
    "grades": tuple(str(grade) for grade in range(GRADES)),
    "oedema": ("no", "yes", "unknown"),
    "cameras": (*MAKERS, OTHER, UNKNOWN),
    "sides": (*(f"{low}–{high - 1}" for low, high in pairwise(SIDES)), f"{SIDES[-1]}–"),
    "patients": tuple(Identification),
    "set_aside": tuple(SetAsideReason),
    "declared": ("at most",),
}
"""The cells of each table. All patients are in the one cell for how they are identified; `declared` is the number of
photographs."""

SHAPES = {name: (len(cells),) for name, cells in CELLS.items()}


def summary(site: Site, cell: int) -> Tables:
    """Compute every table of CELLS over the shard. A cell of photographs of fewer than `cell` patients is 0."""
    shard = site.shard
    examples = shard.examples
    tables = {name: _photographs(examples, name, cell_of, cell) for name, cell_of in CELL_OF.items()}
    people = len({(example.source, example.patient) for example in examples})
    rounded = suppressed(
        tables
        | {
            "patients": _counted([tuple(Identification).index(site.patients)] * people, "patients"),
            "set_aside": _counted([tuple(SetAsideReason).index(aside.reason) for aside in site.set_aside], "set_aside"),
        },
        cell,
    )
    return {**rounded, "declared": np.array([rounded_up(len(examples), cell)], np.float64)}


def rounded_up(photographs: int, cell: int) -> int:
    """Return the smallest multiple of `cell` that is at least `photographs`."""
    return -(-photographs // cell) * cell


def suppressed(counts: Tables, cell: int) -> Tables:
    """Round the counts down, then lower photographs to one total, and patients to at most that total."""
    rounded = {name: np.asarray(count // cell * cell) for name, count in counts.items()}
    total = min(rounded[name].sum() for name in CELL_OF)
    return {name: count if name == "set_aside" else _lowered(count, total, cell) for name, count in rounded.items()}


def inconsistency(tables: Tables, most_photographs: int) -> str | None:
    """Return the reason why these counts, which are whole and not negative, cannot be a summary, or None."""
    total, photographs = tables["grades"].sum(), tables["declared"].sum()
    if max(table.sum() for table in tables.values()) > most_photographs:
        return f"tables must count at most {most_photographs} photographs"
    if total > photographs:
        return f"tables must count at most the {photographs:g} photographs that the site declares, got {total:g}"
    if any(tables[name].sum() != total for name in CELL_OF):
        return "tables of photographs must add up to one total"
    if np.count_nonzero(tables["patients"]) > 1 or tables["patients"].sum() > total:
        return "tables of patients must identify them in one way, and count no more than photographs"
    return None


def by_cell(tables: Tables) -> Counts:
    """Return counts by label: `{"oedema": {"no": 120, …}, …}`."""
    return {
        name: {label: int(count) for label, count in zip(labels, tables[name], strict=True)}
        for name, labels in CELLS.items()
    }


def _photographs(
    examples: Sequence[Example], name: str, cell_of: Callable[[Example], int], min_patients: int
) -> Floats:
    cells = [cell_of(example) for example in examples]
    patients = {(cell, example.source, example.patient) for cell, example in zip(cells, examples, strict=True)}
    enough = _counted([cell for cell, _, _ in patients], name) >= min_patients
    return _counted(cells, name) * enough


def _counted(cells: Sequence[int], name: str) -> Floats:
    return np.bincount(np.array(cells, np.int64), minlength=len(CELLS[name])).astype(np.float64)


def _lowered(counts: Floats, total: float, cell: int) -> Floats:
    """Lower the sum to at most `total`, taking from the largest counts."""
    lowered = counts.copy()
    while lowered.sum() > total:
        lowered[lowered.argmax()] -= cell
    return lowered


def _oedema(example: Example) -> int:
    return {False: 0, True: 1, None: 2}[example.oedema]


def maker_of(camera: str) -> str:
    """Return one of `MAKERS`, `other` or `unknown`."""
    name = camera.casefold()
    return UNKNOWN if name == UNKNOWN else next((maker for maker in MAKERS if maker in name), OTHER)


def _camera(example: Example) -> int:
    return CELLS["cameras"].index(maker_of(example.camera))


def _side(example: Example) -> int:
    return bisect_right(SIDES, min(example.image.size())) - 1


CELL_OF: Mapping[str, Callable[[Example], int]] = {
    "grades": lambda example: example.grade,
    "oedema": _oedema,
    "cameras": _camera,
    "sides": _side,
}
"""The cell of a photograph, in each table that counts every photograph once."""
