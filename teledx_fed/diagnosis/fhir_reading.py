"""A patient's photographs and record as a FHIR R4 Bundle (4.0.1) sends them.

Nothing that decides whether the model may speak is lost: what is not understood is refused, by its path. Names,
addresses and whatever else a Patient holds are not read; nothing is fetched.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from teledx_fed.clinical import Diabetes, PatientRecord
from teledx_fed.data.dicom import FIELDS
from teledx_fed.diagnosis.fhir import DICOM, DISORDERS, LATERALITY, LOINC, MACULAR_OEDEMA, SNOMED
from teledx_fed.diagnosis.intake import record_of
from teledx_fed.records import Eye
from teledx_fed.records import Field as View

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
OVER = {"inactive", "remission", "resolved"}

KINDS = ("Patient", "Condition", "Procedure", "Observation", "Media")

Stated = dict[str, Any]


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


class _Identifier(_Read):
    value: str = Field(min_length=1, max_length=200)


class _Reference(_Read):
    reference: str = ""


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
    identifier: list[_Identifier] = Field(default=[], max_length=1)
    birth_date: str = Field(default="", pattern=r"^(\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?)?$")


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
        raise ValueError("must have a code that decides whether the model may speak, in SNOMED CT. Leave it out")


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
                raise ValueError(f"must have a value of {', '.join(PREGNANT)}. Correct it")
            return {"pregnant": PREGNANT[answers[0]]}
        if AGE in self.code.codes(LOINC):
            return {"age": self._measured({"a": float})}
        if ACUITY in self.code.codes(SNOMED):
            return {"acuity": self._measured(UNITS)}
        raise ValueError("must be of age, pregnancy status or visual acuity. Leave it out")

    def _measured(self, units: Mapping[str, Callable[[float], float]]) -> float:
        if self.value_quantity is None or self.value_quantity.code not in units:
            raise ValueError(f"must have a valueQuantity whose code is {' or '.join(units)} (UCUM). Correct it")
        return units[self.value_quantity.code](self.value_quantity.value)


class Media(_Read):
    resource_type: Literal["Media"]
    content: _Attachment
    body_site: _Concept = _Concept()
    view: _Concept = _Concept()
    created_date_time: str = Field(default="", pattern=r"^(\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?)?$")
    subject: _Reference = _Reference()

    @property
    def eye(self) -> Eye:
        return next((EYES[code] for code in self.body_site.codes(SNOMED) if code in EYES), Eye.UNKNOWN)

    @property
    def field(self) -> View:
        codes = (*self.view.codes(DICOM), *self.view.codes(SNOMED))
        return next((FIELDS[code] for code in codes if code in FIELDS), View.UNKNOWN)


class _Entry(_Read):
    full_url: str = ""
    resource: Annotated[Patient | Condition | Procedure | Observation | Media, Field(discriminator="resource_type")]


class _Bundle(_Read):
    resource_type: Literal["Bundle"]
    type: Literal["collection", "transaction", "batch"]
    entry: list[_Entry] = Field(max_length=200)


@dataclass(frozen=True)
class Told:
    """What a Bundle says of one patient's study; `patient` is the hospital's own number."""

    photographs: tuple[Media, ...]
    patient: str | None
    record: PatientRecord
    acquired: str | None


def read(content: bytes, today: date) -> Told:
    """A `NotUnderstood` names the first element that is wrong, or says what is not read."""
    try:
        resources = [entry.resource for entry in _Bundle.model_validate_json(content).entry]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise NotUnderstood(
            _path(first["loc"]), f"must be right: {first['msg'].removeprefix('Value error, ')}."
        ) from error
    photographs = tuple(one for one in resources if isinstance(one, Media))
    acquired = min((one.created_date_time for one in photographs if one.created_date_time), default=None)
    patient = _patient(resources)
    stated = _stated(resources)
    if patient is not None and patient.birth_date:
        day = today if acquired is None else datetime.fromisoformat(acquired).date()
        stated.setdefault("age", _years(patient.birth_date, day))
    number = patient.identifier[0].value if patient and patient.identifier else None
    return Told(photographs, number, record_of(stated), acquired)


def _patient(resources: Sequence[BaseModel]) -> Patient | None:
    patients = [one for one in resources if isinstance(one, Patient)]
    others = (one for one in resources if not isinstance(one, Patient))
    subjects = {one.subject.reference for one in others} - {""}  # type: ignore[attr-defined]
    if len(patients) > 1 or len(subjects) > 1:
        raise NotUnderstood("Bundle.entry.resource", "must be of one patient, got several. Send a Bundle for each.")
    return patients[0] if patients else None


def _stated(resources: Sequence[BaseModel]) -> Stated:
    """Of several acuities the worst; else nothing may be stated twice in two ways."""
    stated: Stated = {}
    for at, resource in enumerate(resources):
        path = f"Bundle.entry[{at}].resource"
        if not isinstance(resource, Condition | Procedure | Observation):
            continue
        try:
            said = resource.states()
        except ValueError as error:
            raise NotUnderstood(path, f"{error}.") from error
        for name, value in said.items():
            if value is None:
                continue
            if name == "acuity":
                value = min(value, stated.get(name, value))
            elif stated.get(name, value) != value:
                raise NotUnderstood(path, f"must say of {name} what another does, got both. Send the one that is true.")
            stated[name] = value
    return stated


def _years(birth: str, day: date) -> float:
    """Whole years; of a date that is not whole, the latest that it can be: nobody is taken for older."""
    year, month, born = (int(part) for part in (f"{birth}-12-31" if len(birth) == 4 else f"{birth}-31")[:10].split("-"))
    return day.year - year - ((day.month, day.day) < (month, born))


def _path(place: tuple[int | str, ...]) -> str:
    """FHIRPath; pydantic names the kind of a resource too."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in place if part not in KINDS]
    return "".join(("Bundle", *parts))
