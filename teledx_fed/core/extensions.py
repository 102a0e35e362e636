"""Find classes and functions that other packages supply by entry point. Only local runs may use them."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from teledx_fed.core.checks import must, one_of
from teledx_fed.core.errors import ConfigurationError

STRATEGIES, AGGREGATIONS, TRANSFORMS = (f"teledx_fed.{group}" for group in ("strategies", "aggregations", "transforms"))
INSTALL = "Choose one of these, or install the package that supplies it."


def names(group: str) -> tuple[str, ...]:
    """Return the names in an entry point group, without importing the packages."""
    return tuple(sorted({point.name for point in entry_points(group=group)}))


def check(setting: str, name: str, built_in: Iterable[str], group: str) -> None:
    """Raise a `ConfigurationError` unless the part is built in or supplied by an installed package."""
    one_of(setting, name, (*built_in, *names(group)), remedy=INSTALL)


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
    try:
        return points[0].load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"entry point {name} of {group} must name an object of its package, got {points[0].value} ({error}). "
            "Correct it in the package."
        ) from error
