"""Read a patient's photographs and record from a FHIR R4 Bundle (4.0.1).

The result lists each resource that was not read, by its path. If the resource may affect the model's scope, the record
names it, and a clinician reads the study. Elements that change the meaning of others (`modifierExtension`,
`implicitRules`) are never ignored. Names, addresses and other data of a Patient are not read; nothing is fetched.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

from pydantic import BaseModel, ValidationError

from teledx_fed.core.clinical import PatientRecord
from teledx_fed.core.errors import DataError
from teledx_fed.diagnosis.fhir.codes import ICD_10, LOINC, SNOMED
from teledx_fed.diagnosis.fhir.incoming import (
    KINDS,
    Bundle,
    Concept,
    Condition,
    Element,
    Media,
    NotRead,
    Observation,
    Patient,
    Procedure,
    Reference,
    Stated,
)
from teledx_fed.diagnosis.intake import record_of

NOT_TAKEN = {"entered-in-error", "not-done"}
"""Statuses of a Media that is not a photograph of the patient."""
CHANGES_MEANING = ("implicitRules", "modifierExtension")
HISTORY = "/_history/"

SYSTEMS = {SNOMED: "SNOMED CT", LOINC: "LOINC", **dict.fromkeys(ICD_10, "ICD-10")}
"""Systems whose codes a study's page may show; a code of another system may be a name."""
CODE = re.compile(r"[A-Za-z0-9.-]{1,20}")
HARMLESS = {
    *("4548-4", "17856-6", "59261-8", "4549-2"),  # HbA1c
    *("85354-9", "8480-6", "8462-4", "8867-4", "9279-1", "8310-5", "2708-6", "59408-5"),  # vital signs
    *("29463-7", "3141-9", "8302-2", "39156-5"),  # weight, height, body mass index
    *("2339-0", "2345-7", "15074-8", "14749-6"),  # glucose
    *("2093-3", "13457-7", "18262-6", "2085-9", "2571-8"),  # lipids
    *("2160-0", "38483-4", "33914-3", "48642-3", "48643-1", "62238-1", "14959-1", "9318-7"),  # kidney
    *("718-7", "789-8", "777-3", "6690-2", "1742-6", "1920-8", "3016-3", "72166-2"),  # blood, liver, thyroid, smoking
    *("38341003", "59621000", "55822004", "13644009", "414916001", "195967001", "13645005", "40930008"),
    # hypertension, lipids, obesity, asthma, COPD, hypothyroidism
}
"""LOINC and SNOMED CT codes that do not affect the model's scope."""
HARMLESS_KINDS = {
    *("Account", "AllergyIntolerance", "Appointment", "AuditEvent", "CareTeam", "Consent", "Coverage", "Device"),
    *("Encounter", "Endpoint", "FamilyMemberHistory", "HealthcareService", "ImagingStudy", "Immunization", "Location"),
    *("Organization", "Practitioner", "PractitionerRole", "Provenance", "RelatedPerson", "Schedule", "ServiceRequest"),
    *("Slot", "Specimen", "Task"),
}
OTHER_KINDS = {
    *("Binary", "CarePlan", "ClinicalImpression", "Communication", "Composition", "DetectedIssue", "DiagnosticReport"),
    *("DocumentReference", "EpisodeOfCare", "Flag", "Goal", "List", "Medication", "MedicationAdministration"),
    *("MedicationDispense", "MedicationRequest", "MedicationStatement", "QuestionnaireResponse", "RiskAssessment"),
    "VisionPrescription",
}
"""Kinds that may contain, for example, a treatment of an eye."""


class NotUnderstood(DataError):
    """A Bundle is invalid; `path` is the FHIRPath of the wrong element."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path} {message}")
        self.path = path


@dataclass(frozen=True)
class Ignored:
    """A resource that was not read. `matters`: it may affect the model's scope."""

    path: str
    what: str
    why: str
    matters: bool


@dataclass(frozen=True)
class Told:
    """The content of a Bundle about one patient's study; `patient` is the hospital's number."""

    photographs: tuple[Media, ...]
    patient: str | None
    record: PatientRecord
    acquired: str | None
    ignored: tuple[Ignored, ...]


def read(content: bytes, today: date) -> Told:
    """Read a Bundle; `NotUnderstood` names the first element that is invalid or contradicts another."""
    with _by_path("Bundle"):
        entries = Bundle.model_validate_json(content).entry
    resources, ignored = dict[str, Element](), list[Ignored]()
    for at, entry in enumerate(entries):
        path, kind = f"Bundle.entry[{at}].resource", str(entry.resource.get("resourceType", ""))
        if kind in KINDS:
            with _by_path(path):
                resource = KINDS[kind].model_validate(entry.resource)
            if (why := _not_as_it_seems(path, resource, entry.resource)) is None:
                resources[path] = resource
            else:
                ignored.append(Ignored(path, kind, why, not isinstance(resource, Media)))
        else:
            known = kind in HARMLESS_KINDS | OTHER_KINDS
            what = kind if known else "a resource of another kind"
            ignored.append(Ignored(path, what, "of a kind that is not read", kind not in HARMLESS_KINDS))
    photographs = tuple(one for one in resources.values() if isinstance(one, Media))
    acquired = min((one.created_date_time for one in photographs if one.created_date_time), default=None)
    patient = _patient(resources, {f"Bundle.entry[{at}].resource": entry.full_url for at, entry in enumerate(entries)})
    stated, unread = _stated(resources)
    order = [f"Bundle.entry[{at}].resource" for at in range(len(entries))]
    ignored = sorted((*ignored, *unread), key=lambda one: order.index(one.path))
    if patient is not None and patient.birth_date:
        day = today if acquired is None else datetime.fromisoformat(acquired).date()
        stated.setdefault("age", _years(patient.birth_date, day))
    stated["not_understood"] = tuple(dict.fromkeys(one.what for one in ignored if one.matters))
    return Told(photographs, _number(resources), record_of(stated), acquired, tuple(ignored))


@contextmanager
def _by_path(path: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        raise NotUnderstood(_path(path, first["loc"]), f"must be right: {message}.") from error


def _number(resources: Mapping[str, BaseModel]) -> str | None:
    for path, resource in resources.items():
        if isinstance(resource, Patient):
            try:
                return resource.number
            except DataError as error:
                raise NotUnderstood(f"{path}.identifier", f"{error}.") from error
    return None


def _not_as_it_seems(path: str, resource: Element, sent: object) -> str | None:
    """Return why a resource is not read, or None; raise `NotUnderstood` if a study needs the resource."""
    found = _changes_meaning(sent)
    if found is not None and isinstance(resource, Patient | Media):
        raise NotUnderstood(path, f"must hold no {found}, for what it changes is not known here.")
    if isinstance(resource, Media) and resource.status in NOT_TAKEN:
        return f"its status is {resource.status}"
    return None if found is None else f"its {found} is not known here"


def _changes_meaning(sent: object) -> str | None:
    """Return the first element, at any depth, that may change the meaning of others."""
    if isinstance(sent, dict):
        own = (name for name in CHANGES_MEANING if sent.get(name))
        return next(own, None) or _changes_meaning(list(sent.values()))
    return next(filter(None, map(_changes_meaning, sent)), None) if isinstance(sent, list) else None


def _patient(resources: Mapping[str, Element], addresses: Mapping[str, str]) -> Patient | None:
    """Return the patient of all other resources; `addresses` are the entries' `fullUrl`s by path."""
    patients = {path: one for path, one in resources.items() if isinstance(one, Patient)}
    others: dict[str, Reference] = {
        path: one.subject  # type: ignore[attr-defined]
        for path, one in resources.items()
        if path not in patients
    }
    if len(patients) > 1 or len({one.reference for one in others.values()} - {""}) > 1:
        raise NotUnderstood("Bundle.entry.resource", "must be of one patient, got several. Send a Bundle for each.")
    for at, patient in patients.items():
        for path, subject in others.items():
            if not _is_of(subject, patient, addresses[at]):
                raise NotUnderstood(f"{path}.subject", "must be the Bundle's Patient, got another. Correct it.")
    return next(iter(patients.values()), None)


def _is_of(subject: Reference, patient: Patient, address: str) -> bool:
    """Return whether a subject can be this patient; a Patient without id and `fullUrl` fits any reference."""
    numbers, referred = {one.value for one in patient.identifier}, subject.reference.partition(HISTORY)[0]
    if subject.identifier is not None and numbers and subject.identifier.value not in numbers:
        return False
    names = {address, f"Patient/{patient.id}" if patient.id else ""} - {""}
    if not referred or not names:
        return True
    return any(one == referred or one.endswith(f"/{referred}") or referred.endswith(f"/{one}") for one in names)


def _stated(resources: Mapping[str, BaseModel]) -> tuple[Stated, list[Ignored]]:
    """Merge the statements, taking the worst acuity and raising on other conflicts; list unread resources."""
    stated, unread = Stated(), list[Ignored]()
    for path, resource in resources.items():
        if not isinstance(resource, Condition | Procedure | Observation):
            continue
        try:
            said = resource.states()
        except NotRead as error:
            unread.append(_unread(path, resource, str(error)))
            continue
        for name, value in said.items():
            if value is None:
                continue
            if name == "acuity":
                value = min(value, stated.get(name, value))
            elif stated.get(name, value) != value:
                raise NotUnderstood(path, f"must say of {name} what another does, got both. Send the one that is true.")
            stated[name] = value
    return stated, unread


def _unread(path: str, resource: Condition | Procedure | Observation, why: str) -> Ignored:
    """Describe an unread resource; a refuted condition and a harmless code do not matter."""
    code = Concept() if isinstance(resource, Procedure) else resource.code
    shown = [
        f"{SYSTEMS[one.system]} {one.code}" for one in code.coding if one.system in SYSTEMS and CODE.fullmatch(one.code)
    ]
    is_harmless = bool(HARMLESS.intersection([*code.codes(LOINC), *code.codes(SNOMED)]))
    ruled_out = isinstance(resource, Condition) and "refuted" in resource.verification_status.plain
    what = f"{resource.resource_type} {shown[0]}" if shown else f"{resource.resource_type} without a code that is read"
    return Ignored(path, what, why, not (is_harmless or ruled_out))


def _years(birth: str, day: date) -> float:
    """Return the age in whole years; complete a partial date of birth to its latest day."""
    year, month, born = (int(part) for part in (f"{birth}-12-31" if len(birth) == 4 else f"{birth}-31")[:10].split("-"))
    return day.year - year - ((day.month, day.day) < (month, born))


def _path(start: str, place: tuple[int | str, ...]) -> str:
    """Return a FHIRPath."""
    return "".join((start, *(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)))
