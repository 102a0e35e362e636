"""A patient's photographs and record as a FHIR R4 Bundle (4.0.1) sends them.

What is not read is listed by its path. Where it may decide whether the model may speak, it stays in the record, and a
person reads the study. What changes the meaning of an element and is not known here (`modifierExtension`,
`implicitRules`) is never passed over. Names, addresses and whatever else a Patient holds are not read; nothing is
fetched.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from teledx_fed.core.clinical import Diabetes, PatientRecord
from teledx_fed.core.examples import Eye
from teledx_fed.core.examples import Field as View
from teledx_fed.data.dicom import FIELDS
from teledx_fed.diagnosis.fhir_codes import DICOM, DISORDERS, ICD_10, LATERALITY, LOINC, MACULAR_OEDEMA, SNOMED
from teledx_fed.diagnosis.intake import record_of

EYES = {
    **{code: eye for eye, code in LATERALITY.items()},
    "18944008": Eye.RIGHT,
    "362502000": Eye.RIGHT,
    "8966001": Eye.LEFT,
    "362503005": Eye.LEFT,
}
"""SNOMED CT: right and left; structure of, and entire, right and left eye."""
DIABETES = {"46635009": Diabetes.TYPE_1, "44054006": Diabetes.TYPE_2, "73211009": Diabetes.OTHER}
PREGNANCY = "77386006"
RETINOPATHY = {"4855003", MACULAR_OEDEMA, *filter(None, DISORDERS)}
SYMPTOMS = {"63102001", "397540003"}
"""Visual disturbance, visual impairment."""
ACUITY, AGE, PREGNANCY_STATUS = "363983007", "30525-0", "82810-3"
PREGNANT = {"LA15173-0": True, "LA26683-5": False, "LA4489-6": None}
UNITS: Mapping[str, Callable[[float], float]] = {"1": float, "{logMAR}": lambda value: 10**-value}
"""UCUM, of visual acuity; as a decimal."""
MEDICAL_RECORD = "MR"
OVER = {"inactive", "remission", "resolved"}
NOT_TAKEN = {"entered-in-error", "not-done"}
"""Status of a Media that is no photograph of the patient."""
CHANGES_MEANING = ("implicitRules", "modifierExtension")
HISTORY = "/_history/"

SYSTEMS = {SNOMED: "SNOMED CT", LOINC: "LOINC", **dict.fromkeys(ICD_10, "ICD-10")}
"""Of codes that a study's page may show; another system's code might be a name."""
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
"""Of LOINC and SNOMED CT: they say nothing of whether the model may speak."""
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
"""They may say that an eye was treated, or something like it."""

Stated = dict[str, Any]


class _Unread(ValueError):
    """Of a resource that is of a kind that we read, and says nothing that we do."""


class NotUnderstood(ValueError):
    """Of a Bundle, with the FHIRPath of what is wrong."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path} {message}")
        self.path = path


class _Read(BaseModel):
    """Elements that are not named here are not read."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True)


class _Coding(_Read):
    system: str = ""
    code: str = ""


class _Concept(_Read):
    coding: list[_Coding] = []

    def codes(self, system: str) -> list[str]:
        return [one.code for one in self.coding if one.system == system]

    @property
    def plain(self) -> set[str]:
        return {one.code for one in self.coding}


class _Quantity(_Read):
    value: float
    code: str = ""
    comparator: str = ""


class _Identifier(_Read):
    type: _Concept = _Concept()
    value: str = Field(min_length=1, max_length=200)


class _Reference(_Read):
    reference: str = ""
    identifier: _Identifier | None = None


def _decoded(text: object) -> bytes:
    """FHIR lets spaces stand in it."""
    if not isinstance(text, str):
        raise ValueError("must be base64")
    try:
        return base64.b64decode(re.sub(r"\s", "", text), validate=True)
    except binascii.Error as error:
        raise ValueError(f"must be base64: {error}") from error


def _nothing(url: object) -> None:
    raise ValueError("must be left out: photographs are sent in content.data, and none is fetched")


class _Attachment(_Read):
    url: Annotated[None, BeforeValidator(_nothing)] = None
    data: Annotated[bytes, BeforeValidator(_decoded)]


class Patient(_Read):
    resource_type: Literal["Patient"]
    id: str = ""
    identifier: list[_Identifier] = []
    birth_date: str = Field(default="", pattern=r"^(\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?)?$")

    @property
    def number(self) -> str | None:
        """The hospital's own, of several. A `ValueError` where it is not said which that is."""
        own = [one for one in self.identifier if MEDICAL_RECORD in one.type.plain] or self.identifier
        if len(own) > 1:
            raise ValueError(
                f"must be one, or one of type {MEDICAL_RECORD}, got {len(own)}. Say which is the hospital's"
            )
        return own[0].value if own else None


class Condition(_Read):
    resource_type: Literal["Condition"]
    code: _Concept
    clinical_status: _Concept = _Concept()
    verification_status: _Concept = _Concept()
    subject: _Reference = _Reference()

    def states(self) -> Stated:
        if "entered-in-error" in self.verification_status.plain:
            return {}
        is_so, is_over = "refuted" not in self.verification_status.plain, bool(OVER & self.clinical_status.plain)
        codes = self.code.codes(SNOMED)
        if kind := next((DIABETES[code] for code in codes if code in DIABETES), None):
            return {"diabetes": kind if is_so else Diabetes.NONE}
        if PREGNANCY in codes:
            return {"pregnant": is_so and not is_over}
        if RETINOPATHY.intersection(codes):
            return {"known_retinopathy": is_so}
        if SYMPTOMS.intersection(codes):
            return {"symptoms": is_so and not is_over}
        raise _Unread("no code that is read here")


class Procedure(_Read):
    """Of an eye, whichever it was: earlier treatment."""

    resource_type: Literal["Procedure"]
    status: str
    subject: _Reference = _Reference()

    def states(self) -> Stated:
        return {} if self.status == "entered-in-error" else {"treated": self.status != "not-done"}


class Observation(_Read):
    resource_type: Literal["Observation"]
    status: str
    code: _Concept
    value_quantity: _Quantity | None = None
    value_codeable_concept: _Concept = _Concept()
    subject: _Reference = _Reference()

    def states(self) -> Stated:
        if self.status in ("entered-in-error", "cancelled"):
            return {}
        if PREGNANCY_STATUS in self.code.codes(LOINC):
            answers = self.value_codeable_concept.codes(LOINC)
            if not answers or answers[0] not in PREGNANT:
                raise _Unread(f"no value of {', '.join(PREGNANT)}")
            return {"pregnant": PREGNANT[answers[0]]}
        if AGE in self.code.codes(LOINC):
            return {"age": self._measured({"a": float})}
        if ACUITY in self.code.codes(SNOMED):
            return {"acuity": self._measured(UNITS)}
        raise _Unread("not of age, pregnancy status or visual acuity")

    def _measured(self, units: Mapping[str, Callable[[float], float]]) -> float:
        quantity = self.value_quantity
        if quantity is None or quantity.comparator or quantity.code not in units:
            raise _Unread(f"no valueQuantity without comparator whose code is {' or '.join(units)} (UCUM)")
        try:
            return units[quantity.code](quantity.value)
        except OverflowError as error:
            raise _Unread("a valueQuantity that is out of all measure") from error


def _is_day(text: str) -> str:
    if text:
        datetime.fromisoformat(text)
    return text


class Media(_Read):
    resource_type: Literal["Media"]
    status: str = ""
    content: _Attachment
    body_site: _Concept = _Concept()
    view: _Concept = _Concept()
    created_date_time: Annotated[str, AfterValidator(_is_day)] = Field(
        default="", pattern=r"^(\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?)?$"
    )
    subject: _Reference = _Reference()

    @property
    def eye(self) -> Eye:
        """Unknown where two are named."""
        named = {EYES[code] for code in self.body_site.codes(SNOMED) if code in EYES}
        return named.pop() if len(named) == 1 else Eye.UNKNOWN

    @property
    def field(self) -> View:
        codes = (*self.view.codes(DICOM), *self.view.codes(SNOMED))
        return next((FIELDS[code] for code in codes if code in FIELDS), View.UNKNOWN)


KINDS: Mapping[str, type[_Read]] = {
    "Patient": Patient,
    "Condition": Condition,
    "Procedure": Procedure,
    "Observation": Observation,
    "Media": Media,
}


class _Entry(_Read):
    resource: dict[str, Any]
    full_url: str = ""


class _Bundle(_Read):
    resource_type: Literal["Bundle"]
    type: Literal["collection", "transaction", "batch"]
    entry: list[_Entry] = Field(max_length=200)


@dataclass(frozen=True)
class Ignored:
    """A resource that was not read. `matters`: it may decide whether the model may speak."""

    path: str
    what: str
    why: str
    matters: bool


@dataclass(frozen=True)
class Told:
    """What a Bundle says of one patient's study; `patient` is the hospital's own number."""

    photographs: tuple[Media, ...]
    patient: str | None
    record: PatientRecord
    acquired: str | None
    ignored: tuple[Ignored, ...]


def read(content: bytes, today: date) -> Told:
    """A `NotUnderstood` names the first element that is not as FHIR has it, or that contradicts another."""
    with _by_path("Bundle"):
        entries = _Bundle.model_validate_json(content).entry
    resources, ignored = dict[str, _Read](), list[Ignored]()
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
            except ValueError as error:
                raise NotUnderstood(f"{path}.identifier", f"{error}.") from error
    return None


def _not_as_it_seems(path: str, resource: _Read, sent: object) -> str | None:
    """Why it is not read. A `NotUnderstood` where a study cannot do without it."""
    found = _changes_meaning(sent)
    if found is not None and isinstance(resource, Patient | Media):
        raise NotUnderstood(path, f"must hold no {found}, for what it changes is not known here.")
    if isinstance(resource, Media) and resource.status in NOT_TAKEN:
        return f"its status is {resource.status}"
    return None if found is None else f"its {found} is not known here"


def _changes_meaning(sent: object) -> str | None:
    """The first element, however deep, that may turn what others say into something else."""
    if isinstance(sent, dict):
        own = (name for name in CHANGES_MEANING if sent.get(name))
        return next(own, None) or _changes_meaning(list(sent.values()))
    return next(filter(None, map(_changes_meaning, sent)), None) if isinstance(sent, list) else None


def _patient(resources: Mapping[str, _Read], addresses: Mapping[str, str]) -> Patient | None:
    """Of whom all others are; `addresses` are the entries' own, by path."""
    patients = {path: one for path, one in resources.items() if isinstance(one, Patient)}
    others: dict[str, _Reference] = {
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


def _is_of(subject: _Reference, patient: Patient, address: str) -> bool:
    """Whether it can be this patient's; a Patient with neither id nor address can be anybody's that is referred to."""
    numbers, referred = {one.value for one in patient.identifier}, subject.reference.partition(HISTORY)[0]
    if subject.identifier is not None and numbers and subject.identifier.value not in numbers:
        return False
    names = {address, f"Patient/{patient.id}" if patient.id else ""} - {""}
    if not referred or not names:
        return True
    return any(one == referred or one.endswith(f"/{referred}") or referred.endswith(f"/{one}") for one in names)


def _stated(resources: Mapping[str, BaseModel]) -> tuple[Stated, list[Ignored]]:
    """Of several acuities the worst; else nothing may be stated twice in two ways. And what was not read."""
    stated, unread = Stated(), list[Ignored]()
    for path, resource in resources.items():
        if not isinstance(resource, Condition | Procedure | Observation):
            continue
        try:
            said = resource.states()
        except _Unread as error:
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
    """A condition that somebody ruled out does not matter, nor does a measurement that says nothing of the eyes."""
    code = _Concept() if isinstance(resource, Procedure) else resource.code
    shown = [
        f"{SYSTEMS[one.system]} {one.code}" for one in code.coding if one.system in SYSTEMS and CODE.fullmatch(one.code)
    ]
    is_harmless = bool(HARMLESS.intersection([*code.codes(LOINC), *code.codes(SNOMED)]))
    ruled_out = isinstance(resource, Condition) and "refuted" in resource.verification_status.plain
    what = f"{resource.resource_type} {shown[0]}" if shown else f"{resource.resource_type} without a code that is read"
    return Ignored(path, what, why, not (is_harmless or ruled_out))


def _years(birth: str, day: date) -> float:
    """Whole years; of a date that is not whole, the latest that it can be: nobody is taken for older."""
    year, month, born = (int(part) for part in (f"{birth}-12-31" if len(birth) == 4 else f"{birth}-31")[:10].split("-"))
    return day.year - year - ((day.month, day.day) < (month, born))


def _path(start: str, place: tuple[int | str, ...]) -> str:
    """FHIRPath."""
    return "".join((start, *(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)))
