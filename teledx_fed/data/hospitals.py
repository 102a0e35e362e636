"""Make hospitals from settings: read or draw photographs, prepare them, set invalid ones aside, partition and split."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from teledx_fed.config.data import DataSettings, PartitionSettings
from teledx_fed.config.run import EvaluationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.checks import must
from teledx_fed.core.errors import ConfigurationError, TeledxError
from teledx_fed.core.examples import (
    Collection,
    Example,
    Identification,
    Images,
    SetAside,
    SetAsideReason,
    Shard,
    Site,
)
from teledx_fed.core.files import write_text
from teledx_fed.core.randomness import generator
from teledx_fed.core.reports import Reporter
from teledx_fed.data.dicom import DicomPhotograph
from teledx_fed.data.digest_cache import with_digests
from teledx_fed.data.duplicates import deduplicate
from teledx_fed.data.image_cache import ImageCache
from teledx_fed.data.layouts import read
from teledx_fed.data.partition import assign
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.problems import BadData, Problem, amount
from teledx_fed.data.shared_patients import count_shared, keep_at_one_source
from teledx_fed.data.split import cross_fit, split
from teledx_fed.data.synthetic import hospital
from teledx_fed.data.tables import spelling, spellings
from teledx_fed.data.walk import describe_not_taken


def hospitals(
    settings: Settings,
    folder: Path,
    reporter: Reporter,
    key: bytes | None = None,
    without: frozenset[str] = frozenset(),
) -> dict[str, Site]:
    """Make every hospital of a simulation, by name. Its split is stored in `folder`. Raise `BadData` with all problems.

    The split of a real hospital follows from its secret `key`, that of a simulated one from the seed. Patients in
    `without`, named as in the hospital's files, are left out before their photographs are read.
    """
    distinct, images = collections(settings.data, reporter, without)
    sites = assign(distinct, settings.partition, settings.data.seed)
    return {name: _site(name, sites[name], images, settings, folder, key) for name in sorted(sites)}


def collections(
    data: DataSettings, reporter: Reporter, without: frozenset[str] = frozenset()
) -> tuple[dict[str, Collection], ImageCache]:
    """Read and prepare every source. Raise `BadData` with all problems."""
    listed = _listed(data, reporter)
    collections = {name: _without_patients(collection, without) for name, collection in listed.items()}
    collections = {name: _with_digests(name, collection, data) for name, collection in collections.items()}
    images = ImageCache(Path(data.cache), data)
    undecodable = images.prepare(
        [example for collection in collections.values() for example in collection.examples], reporter
    )
    _report(undecodable, data.on_bad, reporter)
    decodable = {name: _decodable(collection, undecodable) for name, collection in collections.items()}
    unique = {name: deduplicate(collection, images) for name, collection in decodable.items()}
    distinct = keep_at_one_source(unique, images)
    if counts := count_shared({name: collection.set_aside for name, collection in distinct.items()}):
        listed_pairs = "; ".join(f"{pair}: {count} photographs set aside" for pair, count in counts.items())
        reporter.message(
            f"Some people have photographs at two hospitals; each stays at one: {listed_pairs}. See set_aside.csv."
        )
    return distinct, images


def _listed(data: DataSettings, reporter: Reporter) -> dict[str, Collection]:
    """List every source by its table and file names. No photograph is read while these have problems."""
    must(
        bool(data.sources or data.hospitals),
        "data",
        "name sources on disk or synthetic hospitals",
        None,
        "Choose some with data=NAME (see conf/data), or describe your own: hospitals=FILE (docs/researcher.md).",
    )
    if data.hospitals:
        return {name: hospital(name, synthetic, data.seed) for name, synthetic in data.hospitals.items()}
    sources = {name: _read(name, data) for name in data.sources}
    _report([problem for _, problems in sources.values() for problem in problems], data.on_bad, reporter)
    for name, (collection, _) in sources.items():
        if not_taken := describe_not_taken(collection.not_taken):
            reporter.message(f"{name}: {not_taken}")
    return {name: _with_bad_set_aside(collection, problems) for name, (collection, problems) in sources.items()}


def _read(name: str, data: DataSettings) -> tuple[Collection, Sequence[Problem]]:
    """Read one source. An error becomes a problem, so that the next source is read too."""
    try:
        collection, problems = read(name, data.source(name))
    except TeledxError as error:
        return Collection((), Identification.UNKNOWN), [Problem(name, str(error), skippable=False)]
    return _limited(collection, round(1e6 * data.most_megapixels)), problems


def _limited(collection: Collection, most_pixels: int) -> Collection:
    files = (PhotographFile, DicomPhotograph)
    examples = (
        replace(example, image=replace(example.image, most_pixels=most_pixels))
        if isinstance(example.image, files)
        else example
        for example in collection.examples
    )
    return replace(collection, examples=tuple(examples))


def _report(problems: Sequence[Problem], on_bad: str, reporter: Reporter) -> None:
    """Raise `BadData`, unless the settings allow skipping and all problems can be skipped."""
    if problems and (on_bad == "fail" or not all(problem.skippable for problem in problems)):
        raise BadData(problems)
    if problems:
        first = "; ".join(str(problem) for problem in problems[:3])
        reporter.message(f"{amount(problems)} in the data set aside (data.on_bad=skip), the first of them: {first}")


def _with_digests(name: str, collection: Collection, data: DataSettings) -> Collection:
    digests = Path(data.cache) / "digests" / f"{name}.json"
    return replace(collection, examples=with_digests(collection.examples, digests, data.workers))


def _without_patients(collection: Collection, without: frozenset[str]) -> Collection:
    names = spellings(without)
    return replace(collection, examples=tuple(e for e in collection.examples if spelling(e.patient) not in names))


def _with_bad_set_aside(collection: Collection, problems: Sequence[Problem]) -> Collection:
    """Set aside each photograph with a problem, and each row without a photograph, once."""
    bad: dict[tuple[str, int | None], SetAside] = {}
    for problem in problems:
        for name in problem.photographs:
            bad.setdefault((name, None), SetAside(name, SetAsideReason.BAD, str(problem)))
        if not problem.photographs:
            bad.setdefault((problem.file, problem.row), SetAside(problem.file, SetAsideReason.BAD, str(problem)))
    return replace(collection, set_aside=(*collection.set_aside, *bad.values()))


def _decodable(collection: Collection, undecodable: Sequence[Problem]) -> Collection:
    """Set aside photographs that could not be decoded."""
    broken = {problem.file: problem.message for problem in undecodable}
    names = [example.image.name for example in collection.examples]
    return replace(
        collection,
        examples=tuple(example for example in collection.examples if example.image.name not in broken),
        set_aside=(
            *collection.set_aside,
            *(SetAside(name, SetAsideReason.BAD, broken[name]) for name in names if name in broken),
        ),
    )


def _site(
    name: str, collection: Collection, images: Images, settings: Settings, folder: Path, key: bytes | None
) -> Site:
    key = key or generator(settings.seed, name, purpose="split").bytes(32)
    try:
        stored = folder / "splits" / f"{name}.json"
        shard = _shard(collection.examples, settings.partition, settings.evaluation, stored, key)
    except ConfigurationError as error:
        raise ConfigurationError(f"hospital {name}: {error}") from error
    return Site(name, shard, images, collection.patients, collection.set_aside, collection.not_taken)


def _shard(
    examples: Sequence[Example], partition: PartitionSettings, evaluation: EvaluationSettings, stored: Path, key: bytes
) -> Shard:
    if evaluation.fold is not None:
        return cross_fit(examples, partition, evaluation.folds, evaluation.fold, key)
    earlier = json.loads(stored.read_text()) if stored.exists() else None
    shard, state = split(examples, partition, key, earlier)
    write_text(stored, json.dumps(state))
    return shard


def pooled(sites: Mapping[str, Site], name: str) -> Site:
    """Pool the data of all sites in one site, for the centralised baseline."""
    shards = [site.shard for site in sites.values()]
    shard = Shard(
        train=tuple(example for shard in shards for example in shard.train),
        validation=tuple(example for shard in shards for example in shard.validation),
        test=(),
    )
    return Site(name, shard, next(iter(sites.values())).images)
