"""Table of readiness: whether each site, and the federation, can start to train."""

from collections.abc import Sequence

from teledx_fed.core.examples import SetAsideReason
from teledx_fed.core.reports import Counts, Readiness

HEADER = ("site", "", "patients", "photographs", "grades 0–4", "oedema", "ungradable", "cameras")
GAP = "  "


def table(readiness: Sequence[Readiness]) -> str:
    """Return a row for each site, with reasons below. Sites round counts down: they are lower bounds."""
    rows = [HEADER, *(_row(one) for one in readiness)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    reasons = [(), *(one.reasons for one in readiness)]
    return "\n".join(
        line
        for row, below in zip(rows, reasons, strict=True)
        for line in (_padded(row, widths), *(f"{GAP}{reason}" for reason in below))
    )


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(one: Readiness) -> tuple[str, ...]:
    figures = _figures(one.counts) if one.counts else ("",) * (len(HEADER) - 2)
    return (one.name, "go" if one.go else "no-go", *figures)


def _figures(counts: Counts) -> tuple[str, ...]:
    grades, oedema = counts["grades"], counts["oedema"]
    return (
        str(sum(counts["patients"].values())),
        str(sum(grades.values())),
        " / ".join(map(str, grades.values())),
        f"{oedema['yes']} of {oedema['yes'] + oedema['no']}",
        str(counts["set_aside"][SetAsideReason.UNGRADABLE]),
        ", ".join(f"{maker} {count}" for maker, count in counts["cameras"].items() if count),
    )
