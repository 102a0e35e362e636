"""From settings to hospitals: read or draw, prepare, set aside what cannot be learned from, deal out, split."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from teledx_fed.checks import must
from teledx_fed.data.duplicates import deduplicate
from teledx_fed.data.image_cache import ImageCache
from teledx_fed.data.layouts import read
from teledx_fed.data.partition import assign, cross_fit, split
from teledx_fed.data.problems import BadData, Problem
from teledx_fed.data.recollection import with_digests
from teledx_fed.data.synthetic import hospital
from teledx_fed.data_settings import DataSettings, SourceSettings
from teledx_fed.files import write_text
from teledx_fed.randomness import generator
from teledx_fed.records import Collection, Example, Images, Reason, SetAside, Shard, Site
from teledx_fed.settings import Settings

Advance = Callable[[int, int], None]
Say = Callable[[str], None]


def hospitals(
    settings: Settings,
    folder: Path,
    advance: Advance,
    say: Say,
    key: bytes | None = None,
    without: frozenset[str] = frozenset(),
) -> dict[str, Site]:
    """Every hospital of a simulation, by name. `folder` keeps how each was split. `BadData` names all that is wrong.

    A real hospital has a secret `key` that its split follows from; in a simulation it comes from the seed. Patients
    `without` whom it goes on, as the hospital's own files name them, are left out before anything is read of them.
    """
    distinct, images = collections(settings, advance, say, without)
    dealt = assign(distinct, settings.partition, settings.data.seed)
    return {name: _site(name, dealt[name], images, settings, folder, key) for name in sorted(dealt)}


def collections(
    settings: Settings, advance: Advance, say: Say, without: frozenset[str] = frozenset()
) -> tuple[dict[str, Collection], ImageCache]:
    """What can be learned from, by source, prepared. `BadData` names all that is wrong."""
    sources = {name: (_left(collection, without), found) for name, (collection, found) in _sources(settings).items()}
    images = ImageCache(Path(settings.data.cache), settings.data)
    photographs = [example for collection, _ in sources.values() for example in collection.examples]
    torn = images.prepare(photographs, advance)
    problems = [*(problem for _, found in sources.values() for problem in found), *torn]
    if problems and settings.data.on_bad == "fail":
        raise BadData(problems)
    if problems:
        listed = "; ".join(str(problem) for problem in problems[:3])
        say(f"{len(problems)} problems in the data are set aside (data.on_bad=skip), the first of them: {listed}")
    usable = {name: _usable(collection, found, torn) for name, (collection, found) in sources.items()}
    return {name: deduplicate(collection, images) for name, collection in usable.items()}, images


def _sources(settings: Settings) -> dict[str, tuple[Collection, tuple[Problem, ...]]]:
    must(
        bool(settings.data.sources or settings.data.hospitals),
        "data",
        "name sources on disk or hospitals to draw",
        None,
        "Choose some with data=NAME (see conf/data).",
    )
    data = settings.data
    if data.hospitals:
        return {name: (hospital(name, drawn, data.seed), ()) for name, drawn in data.hospitals.items()}
    return {name: _read(name, source, data) for name, source in data.sources.items()}


def _read(name: str, source: SourceSettings, settings: DataSettings) -> tuple[Collection, tuple[Problem, ...]]:
    collection, problems = read(name, source, settings.grading, settings.file_pattern)
    digests = Path(settings.cache) / "digests" / f"{name}.json"
    return replace(collection, examples=with_digests(collection.examples, digests, settings.workers)), problems


def _left(collection: Collection, without: frozenset[str]) -> Collection:
    return replace(collection, examples=tuple(e for e in collection.examples if e.patient not in without))


def _usable(collection: Collection, unread: Sequence[Problem], torn: Sequence[Problem]) -> Collection:
    """Without what could not be read or decoded, each row or photograph set aside once."""
    broken = {problem.file: problem.message for problem in torn}
    whole = tuple(example for example in collection.examples if example.image.name not in broken)
    bad = {(problem.file, problem.row): problem for problem in unread}
    aside = [
        *(SetAside(problem.file, Reason.BAD, str(problem)) for problem in bad.values()),
        *(
            SetAside(example.image.name, Reason.BAD, broken[example.image.name])
            for example in collection.examples
            if example.image.name in broken
        ),
    ]
    return replace(collection, examples=whole, set_aside=(*collection.set_aside, *aside))


def _site(
    name: str, collection: Collection, images: Images, settings: Settings, folder: Path, key: bytes | None
) -> Site:
    key = key or generator(settings.seed, name, purpose="split").bytes(32)
    try:
        shard = _shard(collection.examples, settings, folder / "splits" / f"{name}.json", key)
    except ValueError as error:
        raise ValueError(f"hospital {name}: {error}") from error
    return Site(name, shard, images, collection.patients, collection.set_aside)


def _shard(examples: Sequence[Example], settings: Settings, stored: Path, key: bytes) -> Shard:
    evaluation = settings.evaluation
    if evaluation.fold is not None:
        return cross_fit(examples, settings.partition, evaluation.folds, evaluation.fold, key)
    earlier = json.loads(stored.read_text()) if stored.exists() else None
    shard, now = split(examples, settings.partition, key, earlier)
    write_text(stored, json.dumps(now))
    return shard


def pooled(sites: Mapping[str, Site], name: str) -> Site:
    """All data in one place: what a federation does without."""
    shards = [site.shard for site in sites.values()]
    shard = Shard(
        train=tuple(example for shard in shards for example in shard.train),
        validation=tuple(example for shard in shards for example in shard.validation),
        test=(),
    )
    return Site(name, shard, next(iter(sites.values())).images)
