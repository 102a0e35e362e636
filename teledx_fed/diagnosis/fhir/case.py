"""FHIR resources of one study: their ids, references and shared elements."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid5

from teledx_fed.core.clinical import Diagnosis, Reading, Study
from teledx_fed.diagnosis.signing import ReportStatus, marks
from teledx_fed.store.identified import ArchiveIdentifiers

Resource = dict[str, Any]

NAMESPACE = UUID("6f4c6c1e-52f8-5c0b-9d4e-0a5a2f7f3c11")
PSEUDONYMS = f"urn:uuid:{uuid5(NAMESPACE, 'pseudonyms')}"
"""The system of patients' identifiers in a report with pseudonyms."""
OBJECTS = f"urn:uuid:{uuid5(NAMESPACE, 'objects')}"
"""The system of our resources' identifiers. Servers would rewrite a value that begins like a `fullUrl`."""
WITHOUT_IDENTIFIER = ("Provenance",)
UNPRINTABLE = re.compile(r"[^\S \t\r\n]|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Case:
    study: Study
    diagnosis: Diagnosis
    reading: Reading | None
    issued: datetime
    status: ReportStatus
    filed: ArchiveIdentifiers | None

    @property
    def study_uid(self) -> str:
        return self.filed.filing.study_uid if self.filed else f"2.25.{uuid_of(self.study.id).int}"

    def id(self, name: str) -> str:
        """Return a resource's id; the model's is the same for all studies."""
        path = f"model/{self.diagnosis.model}" if name == "model" else f"{self.study.id}/{name}"
        return str(uuid5(NAMESPACE, path))

    def reference(self, name: str) -> Resource:
        return {"reference": f"urn:uuid:{self.id(name)}"}

    @property
    def taken(self) -> Resource:
        return {} if self.study.acquired is None else {"effectiveDateTime": date_time(self.study.acquired)}

    def entry(self, name: str, kind: str, lines: Sequence[str], /, **elements: Any) -> Resource:
        """Make a bundle entry, with `lines` and the marks as its text for people."""
        paragraphs = "".join(f"<p>{escape(plain(line))}</p>" for line in (*lines, *marks(self.diagnosis)))
        text = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'}
        if kind not in WITHOUT_IDENTIFIER:
            identifier = {"system": OBJECTS, "value": self.id(name)}
            elements["identifier"] = [*elements.get("identifier", []), identifier]
        resource = {"resourceType": kind, "text": text, **elements}
        return {"fullUrl": f"urn:uuid:{self.id(name)}", "resource": resource, "request": _request(resource)}

    @property
    def notes(self) -> list[Resource]:
        return [{"text": mark} for mark in marks(self.diagnosis)]


def _request(resource: Resource) -> Resource:
    """Make the request: update our resources by identifier; create the patient only if the server has none."""
    kind = resource["resourceType"]
    if kind in WITHOUT_IDENTIFIER:
        return {"method": "POST", "url": kind}
    identifier = resource["identifier"][0 if kind == "Patient" else -1]
    query = f"identifier={quote(identifier['system'], safe=':/')}%7C{quote(identifier['value'], safe=':')}"
    if kind == "Patient":
        return {"method": "POST", "url": kind, "ifNoneExist": query}
    return {"method": "PUT", "url": f"{kind}?{query}"}


def reader_of(reading: Reading) -> Resource:
    return {"display": plain(reading.reader)}


def references(entries: Sequence[Resource]) -> list[Resource]:
    return [{"reference": entry["fullUrl"]} for entry in entries]


def uuid_of(study: str) -> UUID:
    """Return a study's id as a UUID; derive one if the id is not a UUID."""
    try:
        return UUID(study)
    except ValueError:
        return uuid5(NAMESPACE, study)


def instant(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def date_time(acquired: str) -> str:
    """Return a time in FHIR's format; without a time zone, which FHIR requires, only the day."""
    try:
        time = datetime.fromisoformat(acquired)
    except ValueError:
        return acquired[:10]
    return acquired[:10] if time.tzinfo is None else instant(time)


def plain(text: str) -> str:
    """Replace characters that XML and FHIR strings do not allow."""
    return UNPRINTABLE.sub(" ", text).strip() or "–"
