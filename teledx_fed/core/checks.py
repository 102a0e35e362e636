"""Checks of settings: what is wrong, what came and what to do, by dotted name."""

from collections.abc import Iterable

LARGEST_SEED = 2**32 - 1


def must(condition: bool, name: str, requirement: str, got: object, remedy: str) -> None:
    if not condition:
        raise ValueError(f"{name} must {requirement}, got {got!r}. {remedy}")


def one_of(name: str, value: str, choices: Iterable[str]) -> None:
    listed = ", ".join(choices)
    must(value in listed.split(", "), name, f"be one of {listed}", value, "Choose one of these.")


def within(name: str, value: float, low: float, high: float) -> None:
    must(low <= value <= high, name, f"lie in {low:.10g}…{high:.10g}", value, "Change it to lie there.")
