"""Records of the patients used in each round and of patients who withdrew; they never leave the hospital."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from teledx_fed.core.checks import must
from teledx_fed.core.errors import ConfigurationError, DataError
from teledx_fed.core.examples import Example
from teledx_fed.core.files import make_folder, write_text
from teledx_fed.data.encodings import composed, decode
from teledx_fed.data.layouts import read
from teledx_fed.data.tables import spelling, spellings
from teledx_fed.deployment.site.settings import SiteDirectory


def record(directory: SiteDirectory, run: str, round: int, day: date, train: Sequence[Example]) -> None:
    """Record the patients of a round of training; each set of patients is stored once."""
    patients = "\n".join(sorted({example.patient.removeprefix(f"{example.source}/") for example in train}))
    digest = hashlib.sha256(patients.encode()).hexdigest()
    if not (shard := _shard(directory, digest)).exists():
        write_text(shard, patients)
    folder = directory.run(run)
    make_folder(folder)
    with (folder / "lineage.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"run": run, "round": round, "day": day.isoformat(), "shard": digest}) + "\n")


def rounds_on(directory: SiteDirectory, day: date) -> int:
    return sum(entry["day"] == day.isoformat() for entry in _entries(directory))


def rounds_of(directory: SiteDirectory, patient: str) -> list[tuple[str, int]]:
    """Return the run and number of each round that trained on the patient."""
    shards = {entry["shard"] for entry in _entries(directory)}
    named = spellings([patient])
    patients = {digest: set(map(spelling, _shard(directory, digest).read_text().split("\n"))) for digest in shards}
    return sorted({(entry["run"], entry["round"]) for entry in _entries(directory) if named & patients[entry["shard"]]})


def excluded(directory: SiteDirectory) -> frozenset[str]:
    """Read excluded.txt, in any encoding that a table may have. A `ConfigurationError` if it is not text."""
    if not directory.excluded.exists():
        return frozenset()
    try:
        text = decode(directory.excluded.read_bytes()).content
    except DataError as error:
        raise ConfigurationError(f"{directory.excluded} {error}") from error
    return frozenset(name for line in text.splitlines() if (name := composed(line).strip()))


def unmatched(names: Iterable[str], examples: Sequence[Example]) -> list[str]:
    """Return the excluded `names` that match the patient of no photograph."""
    patients = {spelling(example.patient) for example in examples}
    return sorted(name for name in names if not spellings([name]) & patients)


def exclude(directory: SiteDirectory, patient: str) -> int:
    """Exclude a patient from the next message on, delete their prepared photographs, and return how many they have.

    A `ConfigurationError` if the hospital's data have no such patient.
    """
    collection, _ = read(directory.settings.name, directory.settings.data.source)
    named = spellings([patient])
    images = [example.image for example in collection.examples if spelling(example.patient) in named]
    must(bool(images), "PATIENT", "be in the hospital's data", patient, "Write it as in the hospital's files.")
    write_text(directory.excluded, "".join(f"{name}\n" for name in sorted({*excluded(directory), patient})))
    for image in images:
        for prepared in directory.cache.rglob(f"{image.digest()}.npy"):
            prepared.unlink()
    return len(images)


def _entries(directory: SiteDirectory) -> Iterator[dict[str, Any]]:
    for file in sorted(directory.state.glob("runs/*/lineage.jsonl")):
        yield from (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())


def _shard(directory: SiteDirectory, digest: str) -> Path:
    return directory.state / "shards" / f"{digest}.txt"
