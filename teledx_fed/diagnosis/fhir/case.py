"""One study's FHIR resources: their ids, references and the elements that all of them share."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid5

from teledx_fed.core.clinical import Diagnosis, Reading, Study
from teledx_fed.diagnosis.signing import Status, marks
from teledx_fed.store.identified import Filed

Resource = dict[str, Any]

NAMESPACE = UUID("6f4c6c1e-52f8-5c0b-9d4e-0a5a2f7f3c11")
PSEUDONYMS = f"urn:uuid:{uuid5(NAMESPACE, 'pseudonyms')}"
"""The system of patients' identifiers where a report says the pseudonym alone."""
OBJECTS = f"urn:uuid:{uuid5(NAMESPACE, 'objects')}"
"""The system of our own resources' identifiers. A value that began like a `fullUrl` would be rewritten by servers."""
WITHOUT_IDENTIFIER = ("Provenance",)
UNPRINTABLE = re.compile(r"[^\S \t\r\n]|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Case:
    study: Study
    diagnosis: Diagnosis
    reading: Reading | None
    issued: datetime
    status: Status
    filed: Filed | None

    @property
    def study_uid(self) -> str:
        return self.filed.filing.study_uid if self.filed else f"2.25.{uuid_of(self.study.id).int}"

    def id(self, name: str) -> str:
        """The model's is one for all studies."""
        of = f"model/{self.diagnosis.model}" if name == "model" else f"{self.study.id}/{name}"
        return str(uuid5(NAMESPACE, of))

    def reference(self, name: str) -> Resource:
        return {"reference": f"urn:uuid:{self.id(name)}"}

    @property
    def taken(self) -> Resource:
        return {} if self.study.acquired is None else {"effectiveDateTime": date_time(self.study.acquired)}

    def entry(self, name: str, kind: str, lines: Sequence[str], /, **elements: Any) -> Resource:
        """With `lines` and the marks as what people read."""
        paragraphs = "".join(f"<p>{escape(plain(line))}</p>" for line in (*lines, *marks(self.diagnosis)))
        text = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'}
        if kind not in WITHOUT_IDENTIFIER:
            own = {"system": OBJECTS, "value": self.id(name)}
            elements["identifier"] = [*elements.get("identifier", []), own]
        resource = {"resourceType": kind, "text": text, **elements}
        return {"fullUrl": f"urn:uuid:{self.id(name)}", "resource": resource, "request": _request(resource)}

    @property
    def notes(self) -> list[Resource]:
        return [{"text": mark} for mark in marks(self.diagnosis)]


def _request(resource: Resource) -> Resource:
    """What is ours is updated where a server has it by its identifier. The patient's record is the server's own."""
    kind = resource["resourceType"]
    if kind in WITHOUT_IDENTIFIER:
        return {"method": "POST", "url": kind}
    known = resource["identifier"][0 if kind == "Patient" else -1]
    query = f"identifier={quote(known['system'], safe=':/')}%7C{quote(known['value'], safe=':')}"
    if kind == "Patient":
        return {"method": "POST", "url": kind, "ifNoneExist": query}
    return {"method": "PUT", "url": f"{kind}?{query}"}


def reader_of(reading: Reading) -> Resource:
    return {"display": plain(reading.reader)}


def references(entries: Sequence[Resource]) -> list[Resource]:
    return [{"reference": entry["fullUrl"]} for entry in entries]


def uuid_of(study: str) -> UUID:
    """Its id, where that is one."""
    try:
        return UUID(study)
    except ValueError:
        return uuid5(NAMESPACE, study)


def instant(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def date_time(acquired: str) -> str:
    """The day alone where the time has no zone, as FHIR asks for one."""
    try:
        time = datetime.fromisoformat(acquired)
    except ValueError:
        return acquired[:10]
    return acquired[:10] if time.tzinfo is None else instant(time)


def plain(text: str) -> str:
    """Without what XML and FHIR's strings do not allow."""
    return UNPRINTABLE.sub(" ", text).strip() or "–"
