"""Find classes and functions that other packages supply by entry point. Only local runs may use them."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from teledx_fed.core.checks import must

STRATEGIES, AGGREGATIONS, TRANSFORMS = (f"teledx_fed.{group}" for group in ("strategies", "aggregations", "transforms"))


def names(group: str) -> tuple[str, ...]:
    """Return the names in an entry point group, without importing the packages."""
    return tuple(sorted({point.name for point in entry_points(group=group)}))


def load(group: str, name: str) -> Any:
    """Import the object of the entry point `name`. Raise a `ConfigurationError` if there is none, or more than one."""
    points: list[EntryPoint] = list(entry_points(group=group, name=name))
    must(
        len({point.value for point in points}) == 1,
        name,
        f"be one entry point of the group {group}",
        [point.value for point in points],
        "Install the one package that supplies it.",
    )
    return points[0].load()
