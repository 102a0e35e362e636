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
    Concept,
    Condition,
    Element,
    FhirBundle,
    FhirPatient,
    Media,
    NotRead,
    Observation,
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
class IgnoredResource:
    """A resource that was not read. `matters`: it may affect the model's scope."""

    path: str
    what: str
    why: str
    matters: bool


@dataclass(frozen=True)
class BundleContent:
    """The content of a Bundle about one patient's study; `patient` is the hospital's number."""

    photographs: tuple[Media, ...]
    patient: str | None
    record: PatientRecord
    acquired: str | None
    ignored: tuple[IgnoredResource, ...]


def read(content: bytes, today: date) -> BundleContent:
    """Read a Bundle; `NotUnderstood` names the first element that is invalid or contradicts another."""
    with _by_path("Bundle"):
        entries = FhirBundle.model_validate_json(content).entry
    resources, ignored = dict[str, Element](), list[IgnoredResource]()
    for index, entry in enumerate(entries):
        path, kind = f"Bundle.entry[{index}].resource", str(entry.resource.get("resourceType", ""))
        if kind in KINDS:
            with _by_path(path):
                resource = KINDS[kind].model_validate(entry.resource)
            if (reason := _reason_not_read(path, resource, entry.resource)) is None:
                resources[path] = resource
            else:
                ignored.append(IgnoredResource(path, kind, reason, not isinstance(resource, Media)))
        else:
            is_named = kind in HARMLESS_KINDS | OTHER_KINDS
            what = kind if is_named else "a resource of another kind"
            ignored.append(IgnoredResource(path, what, "of a kind that is not read", kind not in HARMLESS_KINDS))
    photographs = tuple(item for item in resources.values() if isinstance(item, Media))
    acquired = min((item.created_date_time for item in photographs if item.created_date_time), default=None)
    patient = _patient(
        resources, {f"Bundle.entry[{index}].resource": entry.full_url for index, entry in enumerate(entries)}
    )
    record, unread = _statements(resources)
    order = [f"Bundle.entry[{index}].resource" for index in range(len(entries))]
    ignored = sorted((*ignored, *unread), key=lambda item: order.index(item.path))
    if patient is not None and patient.birth_date:
        day = today if acquired is None else datetime.fromisoformat(acquired).date()
        record.setdefault("age", _years(patient.birth_date, day))
    record["not_understood"] = tuple(dict.fromkeys(item.what for item in ignored if item.matters))
    return BundleContent(photographs, _number(resources), record_of(record), acquired, tuple(ignored))


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
        if isinstance(resource, FhirPatient):
            try:
                return resource.number
            except DataError as error:
                raise NotUnderstood(f"{path}.identifier", f"{error}.") from error
    return None


def _reason_not_read(path: str, resource: Element, content: object) -> str | None:
    """Return why a resource is not read, or None; raise `NotUnderstood` if a study needs the resource."""
    element = _changes_meaning(content)
    if element is not None and isinstance(resource, FhirPatient | Media):
        raise NotUnderstood(path, f"must have no {element}, because this site cannot tell what it changes.")
    if isinstance(resource, Media) and resource.status in NOT_TAKEN:
        return f"its status is {resource.status}"
    return None if element is None else f"this site cannot tell what its {element} changes"


def _changes_meaning(content: object) -> str | None:
    """Return the first element, at any depth, that may change the meaning of others."""
    if isinstance(content, dict):
        names = (name for name in CHANGES_MEANING if content.get(name))
        return next(names, None) or _changes_meaning(list(content.values()))
    return next(filter(None, map(_changes_meaning, content)), None) if isinstance(content, list) else None


def _patient(resources: Mapping[str, Element], addresses: Mapping[str, str]) -> FhirPatient | None:
    """Return the patient of all other resources; `addresses` are the entries' `fullUrl`s by path."""
    patients = {path: resource for path, resource in resources.items() if isinstance(resource, FhirPatient)}
    others: dict[str, Reference] = {
        path: resource.subject  # type: ignore[attr-defined]
        for path, resource in resources.items()
        if path not in patients
    }
    if len(patients) > 1 or len({resource.reference for resource in others.values()} - {""}) > 1:
        raise NotUnderstood("Bundle.entry.resource", "must be of one patient, got several. Send a Bundle for each.")
    for path_of_patient, patient in patients.items():
        for path, subject in others.items():
            if not _is_of(subject, patient, addresses[path_of_patient]):
                raise NotUnderstood(f"{path}.subject", "must be the Bundle's Patient, got another. Correct it.")
    return next(iter(patients.values()), None)


def _is_of(subject: Reference, patient: FhirPatient, address: str) -> bool:
    """Return whether a subject can be this patient; a Patient without id and `fullUrl` fits any reference."""
    numbers, referred = {name.value for name in patient.identifier}, subject.reference.partition(HISTORY)[0]
    if subject.identifier is not None and numbers and subject.identifier.value not in numbers:
        return False
    names = {address, f"Patient/{patient.id}" if patient.id else ""} - {""}
    if not referred or not names:
        return True
    return any(name == referred or name.endswith(f"/{referred}") or referred.endswith(f"/{name}") for name in names)


def _statements(resources: Mapping[str, BaseModel]) -> tuple[Stated, list[IgnoredResource]]:
    """Merge the statements, taking the worst acuity and raising on other conflicts; list unread resources."""
    record, unread = Stated(), list[IgnoredResource]()
    for path, resource in resources.items():
        if not isinstance(resource, Condition | Procedure | Observation):
            continue
        try:
            statements = resource.states()
        except NotRead as error:
            unread.append(_unread(path, resource, str(error)))
            continue
        for name, value in statements.items():
            if value is None:
                continue
            if name == "acuity":
                value = min(value, record.get(name, value))
            elif record.get(name, value) != value:
                raise NotUnderstood(
                    path, f"must state the same {name} as another resource, got another value. Send the correct one."
                )
            record[name] = value
    return record, unread


def _unread(path: str, resource: Condition | Procedure | Observation, reason: str) -> IgnoredResource:
    """Describe an unread resource; a refuted condition and a harmless code do not matter."""
    code = Concept() if isinstance(resource, Procedure) else resource.code
    codes = [
        f"{SYSTEMS[coding.system]} {coding.code}"
        for coding in code.coding
        if coding.system in SYSTEMS and CODE.fullmatch(coding.code)
    ]
    is_harmless = bool(HARMLESS.intersection([*code.codes(LOINC), *code.codes(SNOMED)]))
    ruled_out = isinstance(resource, Condition) and "refuted" in resource.verification_status.plain
    what = f"{resource.resource_type} {codes[0]}" if codes else f"{resource.resource_type} without a code that is read"
    return IgnoredResource(path, what, reason, not (is_harmless or ruled_out))


def _years(birth: str, day: date) -> float:
    """Return the age in whole years; complete a partial date of birth to its latest day."""
    year, month, born = (int(part) for part in (f"{birth}-12-31" if len(birth) == 4 else f"{birth}-31")[:10].split("-"))
    return day.year - year - ((day.month, day.day) < (month, born))


def _path(start: str, place: tuple[int | str, ...]) -> str:
    """Return a FHIRPath."""
    return "".join((start, *(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)))
