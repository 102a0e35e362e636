"""Cache of photographs' digests and of values derived from them, so that a second run reads no photograph."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Example
from teledx_fed.core.files import write_text
from teledx_fed.data.photographs import PhotographFile

Compute = Callable[[Sequence[str]], Mapping[str, str]]


def cached(file: Path, keys: Iterable[str], compute: Compute) -> dict[str, str]:
    """Return the values in `file`, by key. Compute and store those of `keys` that it lacks."""
    values = _read(file)
    if missing := [key for key in dict.fromkeys(keys) if key not in values]:
        values |= compute(missing)
        write_text(file, json.dumps(values))
    return values


def with_digests(examples: Sequence[Example], file: Path, workers: int) -> tuple[Example, ...]:
    """Return the examples with their files' digests. A file that changed since the digest was cached is read again."""
    photographs = [example.image for example in examples if isinstance(example.image, PhotographFile)]
    states = {photograph: photograph.state() for photograph in photographs}
    photograph_of = {state: photograph for photograph, state in states.items()}

    def compute(missing: Sequence[str]) -> dict[str, str]:
        with ThreadPoolExecutor(workers) as pool:
            digests = pool.map(_digest, (photograph_of[state] for state in missing))
            return {state: digest for state, digest in zip(missing, digests, strict=True) if digest}

    digest_of = cached(file, photograph_of, compute)
    return tuple(
        replace(example, image=replace(image, known_digest=digest_of.get(states[image])))
        if isinstance(image := example.image, PhotographFile)
        else example
        for example in examples
    )


def _digest(photograph: PhotographFile) -> str | None:
    try:
        return photograph.digest()
    except DataError:  # preparation reports the file
        return None


def _read(file: Path) -> dict[str, str]:
    """Return no values where the file is missing or damaged: they are computed again."""
    try:
        return dict(json.loads(file.read_text()))
    except (FileNotFoundError, ValueError):
        return {}
