"""Refuse unknown names of settings, and suggest the nearest name."""

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import reduce
from typing import Any, get_args, get_origin, get_type_hints

from teledx_fed.core.errors import ConfigurationError


def check_names(values: Mapping[Any, Any], schema: type) -> None:
    """Raise a `ConfigurationError` for the first name in `values` that the dataclass `schema` does not have."""
    for name in _unknown(values, schema):
        raise ConfigurationError(refusal(name, schema))


def refusal(name: str, schema: type) -> str:
    """Return the error message, always one line: `name` may come over the network."""
    shown = " ".join(name.split())
    nearest = _nearest(name, schema)
    suggestion = f"Did you mean {nearest}? " if nearest else ""
    fault = "got one that does not exist"
    return f"{shown} must be the name of a setting, {fault}. {suggestion}run_simulation.py --help lists all."


def _unknown(values: Mapping[Any, Any], kind: Any, within: str = "") -> Iterator[str]:
    """Yield the dotted names that a dataclass does not have. The keys of a mapping are free."""
    for key, value in values.items():
        inner = _inner(kind, key)
        if inner is None:
            yield f"{within}{key}"
        elif isinstance(value, Mapping) and (is_dataclass(inner) or get_origin(inner) is dict):
            yield from _unknown(value, inner, f"{within}{key}.")


def _inner(kind: Any, key: str) -> Any:
    return get_type_hints(kind).get(key) if is_dataclass(kind) else (*get_args(kind), None, None)[1]


def _names(kind: Any, within: str = "") -> Iterator[str]:
    for name, inner in get_type_hints(kind).items() if is_dataclass(kind) else ():
        yield within + name
        if is_dataclass(inner):
            yield from _names(inner, f"{within}{name}.")


def _nearest(name: str, schema: type) -> str | None:
    """Return a setting with the same last word, else one of similar spelling in the same group, or anywhere."""
    *path, word = name.split(".")
    beside = _by_last_word(_names(reduce(_inner, path, schema), "".join(f"{part}." for part in path)))
    everywhere = _by_last_word(_names(schema))
    near = [names[match] for names in (beside, everywhere) for match in get_close_matches(word, names, 1)]
    return everywhere.get(word) or next(iter(near), None)


def _by_last_word(names: Iterator[str]) -> dict[str, str]:
    """Map each last word to the first name that ends with it."""
    return {name.rpartition(".")[2]: name for name in reversed(list(names))}
