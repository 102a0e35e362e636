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
from teledx_fed.deployment.site.checks.check import Check, Checks, State, fail, ok, warn
from teledx_fed.deployment.site.lineage import excluded, unmatched
from teledx_fed.deployment.site.settings import SiteDirectory

SHOWN = 3
MOST_UNGRADABLE = 0.5
KNOWN = {
    Identification.GIVEN: "as the data name them",
    Identification.PARTLY_GIVEN: "partly as the data name them",
    Identification.INFERRED: "inferred from the names of the files",
    Identification.PARTLY_INFERRED: "partly inferred from the names of the files",
    Identification.UNKNOWN: "unknown: each photograph counts as a patient of its own",
}


def checks(home: SiteDirectory, settings: Settings, reporter: Reporter) -> Generator[Check, None, Site | None]:
    """Yield the checks and return the hospital that would train with `settings`; None if it has no data to train on."""
    own, without = home.settings, excluded(home)
    one_of("data.layout", own.data.layout, layout_names())
    if not own.data.root or not Path(own.data.root).exists():
        missing = f"data.root must be the folder that holds the photographs, got {own.data.root!r}"
        yield fail("data", missing, "Correct it in site.yaml.")
        return None
    settings = replace(settings, data=replace(settings.data, on_bad="skip"))
    listed, _ = read(own.name, own.data.source)
    if nobody := unmatched(without, listed.examples):
        found = f"no photograph names {', '.join(nobody[:SHOWN])}{' and others' * (len(nobody) > SHOWN)}"
        yield warn("excluded", found, f"Correct {home.excluded}, unless their photographs are gone.")
    room = _room(home, len(listed.examples), settings.data.image_size)
    yield room
    if room.state is State.FAIL:
        return None
    sources, _ = collections(settings.data, reporter, without)
    yield from _told(home, sources[own.name])
    if not sources[own.name].examples:
        return None
    with TemporaryDirectory() as folder:  # this split must not decide the split of a run
        key = home.split_key.read_bytes()
        site = hospitals(settings, Path(folder), reporter, key, without)[own.name]
    yield ok("split", f"{len(site.shard.train)} photographs to train on, {len(site.shard.validation)} to validate on")
    return site


def _room(home: SiteDirectory, photographs: int, side: int) -> Check:
    """Check the room for all prepared photographs, less those that are already on the disk."""
    folder = home.cache if home.cache.exists() else home.folder
    needed, limits = disk_space.needed(home, photographs, side), home.settings.limits
    usage = shutil.disk_usage(folder)
    found = f"{size(usage.free)} free where {home.cache} lies, {size(needed)} needed for {photographs} photographs"
    if usage.free - needed < limits.disk * disk_space.GB:
        remedy = f"Make room: limits.disk keeps {limits.disk:g} GB free. The cache may be a link to a larger disk."
        return fail("disk", found, remedy)
    if Disk(usage.free - needed, usage.total).low:
        return warn("disk", found, "Make room: that leaves the disk almost full.")
    return ok("disk", found)


def _told(home: SiteDirectory, collection: Collection) -> Checks:
    aside = Counter(one.reason for one in collection.set_aside)
    written = _written(home, collection)
    yield from _problems(home, [one for one in collection.set_aside if one.reason is SetAsideReason.BAD], written)
    yield _files(collection)
    yield _grades(home, collection)
    yield _patients(home, collection)
    yield _gradability(len(collection.examples) + len(collection.set_aside), aside, written)
    yield _copies(aside, written)


def _written(home: SiteDirectory, collection: Collection) -> Path:
    file = home.state / "set-aside.txt"
    aside = [f"{one.reason}: {one.name}: {one.detail}\n" for one in collection.set_aside]
    left = [f"not taken: {one.folder}: {one.count} {one.suffix}: {one.why}\n" for one in collection.not_taken]
    write_text(file, "".join(aside + left))
    return file


def _problems(home: SiteDirectory, bad: list[SetAside], written: Path) -> Iterator[Check]:
    if not bad:
        yield ok("data", f"{home.settings.data.root} is read in full, layout {home.settings.data.layout}")
        return
    first = "; ".join(one.detail if one.name in one.detail else f"{one.name}: {one.detail}" for one in bad[:SHOWN])
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    found = f"{len(bad)} problems: {first}{more}"
    if home.settings.data.on_bad == "fail":
        yield fail("data", found, f"Correct them, or write on_bad: skip in site.yaml; all are listed in {written}.")
    else:
        yield warn("data", found, f"They are left out; all are listed in {written}.")


def _grades(home: SiteDirectory, collection: Collection) -> Check:
    counts = Counter(example.grade for example in collection.examples)
    if not counts:
        return fail("grades", "no photograph has a grade to learn from", "Compare data.layout and data.root.")
    listed = ", ".join(f"{grade}: {count}" for grade, count in sorted(counts.items()))
    found = f"{counts.total()} photographs by ICDR grade {listed}; labels of layout {home.settings.data.layout}"
    if len(counts) == 1:
        return warn("grades", found, "With one grade there is nothing to tell apart: compare data.grading.")
    return ok("grades", found)


def _patients(home: SiteDirectory, collection: Collection) -> Check:
    people = len({example.patient for example in collection.examples})
    withdrawn, photographs = len(excluded(home)), len(collection.examples)
    alone = sum(not example.patient_known for example in collection.examples)
    found = f"{people} with {photographs} photographs, {KNOWN[collection.patients]}"
    if 0 < alone < photographs:
        found += f": {photographs - alone} photographs say who the patient is, {alone} count as a patient each"
    found += f"; {withdrawn} excluded" if withdrawn else ""
    if alone:
        remedy = "Two eyes of one person may be trained and tested on: name patients where you can (data.file_pattern)."
        return warn("patients", found, remedy)
    return ok("patients", found)


def _files(collection: Collection) -> Check:
    taken = f"{len(collection.examples)} photographs are taken, {len(collection.set_aside)} set aside"
    if left := describe_not_taken(collection.not_taken):
        return warn("files", f"{taken}; {left}", "Convert what is a photograph; what is none does no harm.")
    return ok("files", f"{taken}, and no other file lies there")


def _gradability(photographs: int, aside: Counter[SetAsideReason], written: Path) -> Check:
    ungradable = aside[SetAsideReason.UNGRADABLE]
    found = f"{ungradable} of {photographs} photographs are ungradable, {aside[SetAsideReason.UNGRADED]} have no grade"
    if ungradable > MOST_UNGRADABLE * photographs:
        return warn("gradability", found, f"More than half cannot be used: look at {written}.")
    return ok("gradability", found)


def _copies(aside: Counter[SetAsideReason], written: Path) -> Check:
    conflicting = aside[SetAsideReason.CONFLICTING_GRADES]
    found = f"{aside[SetAsideReason.DUPLICATE]} copies set aside, {conflicting} whose copies have another grade"
    if conflicting:
        return warn("copies", found, f"They are left out: look at {written}.")
    return ok("copies", found)
