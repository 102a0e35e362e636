"""From settings to hospitals: read or draw, prepare, set aside what cannot be learned from, deal out, split."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from teledx_fed.data.duplicates import deduplicate
from teledx_fed.data.image_cache import ImageCache
from teledx_fed.data.layouts import read
from teledx_fed.data.partition import assign, split
from teledx_fed.data.problems import BadData, Problem
from teledx_fed.data.synthetic import hospital
from teledx_fed.files import write_text
from teledx_fed.randomness import generator
from teledx_fed.records import Collection, Images, Reason, SetAside, Shard, Site
from teledx_fed.settings import Settings

Advance = Callable[[int, int], None]


def hospitals(settings: Settings, folder: Path, advance: Advance) -> dict[str, Site]:
    """Every hospital of a simulation, by name. `folder` keeps how each was split. `BadData` names all that is wrong."""
    collections, problems = _collections(settings)
    images = ImageCache(Path(settings.data.cache), settings.data)
    photographs = [example for collection in collections.values() for example in collection.examples]
    problems += images.prepare(photographs, advance)
    if problems and settings.data.on_bad == "fail":
        raise BadData(problems)
    usable = {name: _without(collection, problems) for name, collection in collections.items()}
    distinct = {name: deduplicate(collection, images) for name, collection in usable.items()}
    dealt = assign(distinct, settings.partition, settings.seed)
    return {name: _site(name, dealt[name], images, settings, folder) for name in sorted(dealt)}


def _collections(settings: Settings) -> tuple[dict[str, Collection], tuple[Problem, ...]]:
    if settings.data.hospitals:
        drawn = {name: hospital(name, wanted, settings.seed) for name, wanted in settings.data.hospitals.items()}
        return drawn, ()
    found = {
        name: read(name, source, settings.data.grading, settings.data.file_pattern)
        for name, source in settings.data.sources.items()
    }
    collections = {name: collection for name, (collection, _) in found.items()}
    return collections, tuple(problem for _, problems in found.values() for problem in problems)


def _without(collection: Collection, problems: Sequence[Problem]) -> Collection:
    bad = {problem.file: problem.message for problem in problems}
    return replace(
        collection,
        examples=tuple(example for example in collection.examples if example.image.name not in bad),
        set_aside=(
            *collection.set_aside,
            *(
                SetAside(example.image.name, Reason.BAD, bad[example.image.name])
                for example in collection.examples
                if example.image.name in bad
            ),
        ),
    )


def _site(name: str, collection: Collection, images: Images, settings: Settings, folder: Path) -> Site:
    stored = folder / "splits" / f"{name}.json"
    earlier = json.loads(stored.read_text()) if stored.exists() else None
    key = generator(settings.seed, name, purpose="split").bytes(32)
    shard, now = split(collection.examples, settings.partition, key, earlier)
    write_text(stored, json.dumps(now))
    return Site(name, shard, images, collection.patients, collection.set_aside)


def pooled(sites: Mapping[str, Site], name: str) -> Site:
    """All data in one place: what a federation does without."""
    shards = [site.shard for site in sites.values()]
    shard = Shard(
        train=tuple(example for shard in shards for example in shard.train),
        validation=tuple(example for shard in shards for example in shard.validation),
        test=(),
    )
    return Site(name, shard, next(iter(sites.values())).images)
