"""Check a person's input. Errors state what must hold, what was found and what to do."""

from collections.abc import Iterable

from teledx_fed.core.errors import ConfigurationError, TeledxError

LARGEST_SEED = 2**32 - 1


def must(
    condition: bool,
    name: str,
    requirement: str,
    got: object,
    remedy: str,
    error: type[TeledxError] = ConfigurationError,
) -> None:
    """Raise `error` with requirement, value and remedy unless the condition holds."""
    if not condition:
        raise error(f"{name} must {requirement}, got {got!r}. {remedy}")


def one_of(
    name: str,
    value: str,
    choices: Iterable[str],
    error: type[TeledxError] = ConfigurationError,
    remedy: str = "Choose one of these.",
) -> None:
    """Raise `error` unless the value is one of `choices`."""
    listed = ", ".join(choices)
    must(value in listed.split(", "), name, f"be one of {listed}", value, remedy, error)


def within(name: str, value: float, low: float, high: float, error: type[TeledxError] = ConfigurationError) -> None:
    """Raise `error` unless `low` ≤ value ≤ `high`; NaN is refused too."""
    must(low <= value <= high, name, f"lie in {low:.10g}…{high:.10g}", value, "Change it to lie there.", error)
