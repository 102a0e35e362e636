"""What was found about a photograph before: a second start of a run reads none of them."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Example
from teledx_fed.core.files import write_text
from teledx_fed.data.photographs import PhotographFile

Find = Callable[[Sequence[str]], Mapping[str, str]]


def recall(file: Path, keys: Iterable[str], find: Find) -> dict[str, str]:
    """All that `file` keeps, by key; what of `keys` it lacks, `find` finds, and it is kept as well."""
    known = _kept(file)
    if missing := [key for key in dict.fromkeys(keys) if key not in known]:
        known |= find(missing)
        write_text(file, json.dumps(known))
    return known


def with_digests(examples: Sequence[Example], file: Path, workers: int) -> tuple[Example, ...]:
    """Examples whose files know their digest, as long as nobody has written to them; others are read again."""
    photographs = [example.image for example in examples if isinstance(example.image, PhotographFile)]
    states = {photograph: photograph.state() for photograph in photographs}
    photograph_of = {state: photograph for photograph, state in states.items()}

    def find(missing: Sequence[str]) -> dict[str, str]:
        with ThreadPoolExecutor(workers) as pool:
            found = pool.map(_digest, (photograph_of[state] for state in missing))
            return {state: digest for state, digest in zip(missing, found, strict=True) if digest}

    known = recall(file, photograph_of, find)
    return tuple(
        replace(example, image=replace(image, known_digest=known.get(states[image])))
        if isinstance(image := example.image, PhotographFile)
        else example
        for example in examples
    )


def _digest(photograph: PhotographFile) -> str | None:
    try:
        return photograph.digest()
    except DataError:  # preparation will name what is wrong with it
        return None


def _kept(file: Path) -> dict[str, str]:
    """Nothing where the file is missing or damaged: it can be found anew."""
    try:
        return dict(json.loads(file.read_text()))
    except (FileNotFoundError, ValueError):
        return {}
