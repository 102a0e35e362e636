"""Check that photographs and grades can be read, how many are for training, and how many are set aside."""

import shutil
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from teledx_fed.config.settings import Settings
from teledx_fed.core.checks import one_of
from teledx_fed.core.examples import Collection, Identification, SetAside, SetAsideReason, Site
from teledx_fed.core.files import write_text
from teledx_fed.core.formatting import size
from teledx_fed.core.reports import Reporter
from teledx_fed.data.hospitals import collections, hospitals
from teledx_fed.data.layouts import layout_names, read
from teledx_fed.data.walk import describe_not_taken
from teledx_fed.deployment.common.events import Disk
from teledx_fed.deployment.site import disk_space
from teledx_fed.deployment.site.checks.check import Check, Checks, CheckState, fail, ok, warn, warn_if
from teledx_fed.deployment.site.lineage import excluded, unmatched
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.federation.data_summaries import MOST_UNGRADABLE

SHOWN = 3
NAMING = {
    Identification.GIVEN: "named in the data",
    Identification.PARTLY_GIVEN: "partly named in the data",
    Identification.INFERRED: "inferred from the names of the files",
    Identification.PARTLY_INFERRED: "partly inferred from the names of the files",
    Identification.UNKNOWN: "unknown: each photograph counts as a patient of its own",
}


def checks(directory: SiteDirectory, settings: Settings, reporter: Reporter) -> Generator[Check, None, Site | None]:
    """Yield the checks and return the hospital that would train with `settings`; None if it has no data to train on."""
    site_settings, withdrawn = directory.settings, excluded(directory)
    one_of("data.layout", site_settings.data.layout, layout_names())
    if not site_settings.data.root or not Path(site_settings.data.root).exists():
        missing = f"data.root must be the folder that holds the photographs, got {site_settings.data.root!r}"
        yield fail("data", missing, "Correct it in site.yaml.")
        return None
    settings = replace(settings, data=replace(settings.data, on_bad="skip"))
    listed, _ = read(site_settings.name, site_settings.data.source)
    if unmatched_names := unmatched(withdrawn, listed.examples):
        finding = (
            f"no photograph is of {', '.join(unmatched_names[:SHOWN])}{' and others' * (len(unmatched_names) > SHOWN)}"
        )
        yield warn("excluded", finding, f"Correct {directory.excluded}, unless their photographs are gone.")
    room = _room(directory, len(listed.examples), settings.data.image_size)
    yield room
    if room.state is CheckState.FAIL:
        return None
    sources, _ = collections(settings.data, reporter, withdrawn)
    yield from _collection_checks(directory, sources[site_settings.name])
    if not sources[site_settings.name].examples:
        return None
    with TemporaryDirectory() as folder:  # this split must not decide the split of a run
        key = directory.split_key.read_bytes()
        site = hospitals(settings, Path(folder), reporter, key, withdrawn)[site_settings.name]
    yield ok("split", f"{len(site.shard.train)} photographs to train on, {len(site.shard.validation)} to validate on")
    return site


def _room(directory: SiteDirectory, photographs: int, side: int) -> Check:
    """Check the room for all prepared photographs, less those that are already on the disk."""
    folder = directory.cache if directory.cache.exists() else directory.folder
    needed, limits = disk_space.needed(directory, photographs, side), directory.settings.limits
    usage = shutil.disk_usage(folder)
    finding = f"{size(usage.free)} free at {directory.cache}, {size(needed)} needed for {photographs} photographs"
    if usage.free - needed < limits.disk * disk_space.GB:
        remedy = f"Free space: limits.disk keeps {limits.disk:g} GB free. The cache may be a link to a larger disk."
        return fail("disk", finding, remedy)
    low = Disk(usage.free - needed, usage.total).low
    return warn_if(low, "disk", finding, "Free space: the disk will be almost full.")


def _collection_checks(directory: SiteDirectory, collection: Collection) -> Checks:
    aside = Counter(one.reason for one in collection.set_aside)
    written = _list_set_aside(directory, collection)
    yield from _problems(directory, [one for one in collection.set_aside if one.reason is SetAsideReason.BAD], written)
    yield _files(collection)
    yield _grades(directory, collection)
    yield _patients(directory, collection)
    yield _gradability(len(collection.examples) + len(collection.set_aside), aside, written)
    yield _copies(aside, written)


def _list_set_aside(directory: SiteDirectory, collection: Collection) -> Path:
    file = directory.state / "set-aside.txt"
    aside = [f"{one.reason}: {one.name}: {one.detail}\n" for one in collection.set_aside]
    not_taken = [f"not taken: {one.folder}: {one.count} {one.suffix}: {one.why}\n" for one in collection.not_taken]
    write_text(file, "".join(aside + not_taken))
    return file


def _problems(directory: SiteDirectory, bad: list[SetAside], written: Path) -> Iterator[Check]:
    if not bad:
        yield ok("data", f"{directory.settings.data.root} is read in full, layout {directory.settings.data.layout}")
        return
    first = "; ".join(one.detail if one.name in one.detail else f"{one.name}: {one.detail}" for one in bad[:SHOWN])
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    finding = f"{len(bad)} problems: {first}{more}"
    if directory.settings.data.on_bad == "fail":
        yield fail("data", finding, f"Correct them, or write on_bad: skip in site.yaml; all are listed in {written}.")
    else:
        yield warn("data", finding, f"They are left out; all are listed in {written}.")


def _grades(directory: SiteDirectory, collection: Collection) -> Check:
    counts = Counter(example.grade for example in collection.examples)
    if not counts:
        return fail("grades", "no photograph has a grade to learn from", "Compare data.layout and data.root.")
    listed = ", ".join(f"{grade}: {count}" for grade, count in sorted(counts.items()))
    finding = f"{counts.total()} photographs by ICDR grade {listed}; labels of layout {directory.settings.data.layout}"
    remedy = "With one grade there is nothing to learn: compare data.grading."
    return warn_if(len(counts) == 1, "grades", finding, remedy)


def _patients(directory: SiteDirectory, collection: Collection) -> Check:
    people = len({example.patient for example in collection.examples})
    withdrawn, photographs = len(excluded(directory)), len(collection.examples)
    unnamed = sum(not example.patient_known for example in collection.examples)
    finding = f"{people} with {photographs} photographs, {NAMING[collection.patients]}"
    if 0 < unnamed < photographs:
        finding += f": {photographs - unnamed} photographs name the patient, {unnamed} count as a patient each"
    finding += f"; {withdrawn} excluded" if withdrawn else ""
    remedy = "One eye of a person may train, and the other be tested: name patients if you can (data.file_pattern)."
    return warn_if(unnamed > 0, "patients", finding, remedy)


def _files(collection: Collection) -> Check:
    taken = f"{len(collection.examples)} photographs are used, {len(collection.set_aside)} set aside"
    if not_taken := describe_not_taken(collection.not_taken):
        return warn("files", f"{taken}; {not_taken}", "Convert the photographs among them; other files do no harm.")
    return ok("files", f"{taken}, and there is no other file")


def _gradability(photographs: int, aside: Counter[SetAsideReason], written: Path) -> Check:
    ungradable = aside[SetAsideReason.UNGRADABLE]
    ungraded = aside[SetAsideReason.UNGRADED]
    finding = f"{ungradable} of {photographs} photographs are ungradable, {ungraded} have no grade"
    remedy = f"More than half cannot be used: look at {written}."
    return warn_if(ungradable > MOST_UNGRADABLE * photographs, "gradability", finding, remedy)


def _copies(aside: Counter[SetAsideReason], written: Path) -> Check:
    conflicting = aside[SetAsideReason.CONFLICTING_GRADES]
    finding = f"{aside[SetAsideReason.DUPLICATE]} copies set aside, {conflicting} with copies of another grade"
    return warn_if(conflicting > 0, "copies", finding, f"They are left out: look at {written}.")
