"""Models of the FHIR R4 resources that the clinic reads, and what each states about a patient."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from teledx_fed.core.clinical import Diabetes
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Eye
from teledx_fed.core.examples import Field as View
from teledx_fed.data.dicom import FIELDS
from teledx_fed.diagnosis.fhir.codes import DICOM, DISORDERS, LATERALITY, LOINC, MACULAR_OEDEMA, SNOMED

EYES = {
    **{code: eye for eye, code in LATERALITY.items()},
    "18944008": Eye.RIGHT,
    "362502000": Eye.RIGHT,
    "8966001": Eye.LEFT,
    "362503005": Eye.LEFT,
}
"""SNOMED CT codes: right and left; structure of, and entire, right and left eye."""
DIABETES = {"46635009": Diabetes.TYPE_1, "44054006": Diabetes.TYPE_2, "73211009": Diabetes.OTHER}
PREGNANCY = "77386006"
RETINOPATHY = {"4855003", MACULAR_OEDEMA, *filter(None, DISORDERS)}
SYMPTOMS = {"63102001", "397540003"}
"""SNOMED CT codes: visual disturbance, visual impairment."""
ACUITY, AGE, PREGNANCY_STATUS = "363983007", "30525-0", "82810-3"
PREGNANT = {"LA15173-0": True, "LA26683-5": False, "LA4489-6": None}
UNITS: Mapping[str, Callable[[float], float]] = {"1": float, "{logMAR}": lambda value: 10**-value}
"""Conversion of visual acuity to decimal, by UCUM unit."""
MEDICAL_RECORD = "MR"
OVER = {"inactive", "remission", "resolved"}


Stated = dict[str, Any]


class NotRead(DataError):
    """A resource of a supported kind has no content that the clinic reads."""


class Element(BaseModel):
    """A FHIR element. Its models ignore elements that they do not name."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True)


class _Coding(Element):
    system: str = ""
    code: str = ""


class Concept(Element):
    coding: list[_Coding] = []

    def codes(self, system: str) -> list[str]:
        return [coding.code for coding in self.coding if coding.system == system]

    @property
    def plain(self) -> set[str]:
        return {coding.code for coding in self.coding}


class _Quantity(Element):
    value: float
    code: str = ""
    comparator: str = ""


class _Identifier(Element):
    type: Concept = Concept()
    value: str = Field(min_length=1, max_length=200)


class Reference(Element):
    reference: str = ""
    identifier: _Identifier | None = None


def _decoded(text: object) -> bytes:
    """Decode base64, in which FHIR allows spaces."""
    if not isinstance(text, str):
        raise DataError("must be base64")
    try:
        return base64.b64decode(re.sub(r"\s", "", text), validate=True)
    except binascii.Error as error:
        raise DataError(f"must be base64: {error}") from error


def _nothing(url: object) -> None:
    raise DataError("must be left out: photographs are sent in content.data, and none is fetched")


class _Attachment(Element):
    url: Annotated[None, BeforeValidator(_nothing)] = None
    data: Annotated[bytes, BeforeValidator(_decoded)]


class FhirPatient(Element):
    resource_type: Literal["Patient"]
    id: str = ""
    identifier: list[_Identifier] = []
    birth_date: str = Field(default="", pattern=r"^(\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?)?$")

    @property
    def number(self) -> str | None:
        """The hospital's number of the patient. Raise a `DataError` if several qualify."""
        numbers = [
            identifier for identifier in self.identifier if MEDICAL_RECORD in identifier.type.plain
        ] or self.identifier
        if len(numbers) > 1:
            raise DataError(
                f"must be one, or one of type {MEDICAL_RECORD}, got {len(numbers)}. Say which is the hospital's"
            )
        return numbers[0].value if numbers else None


class Condition(Element):
    resource_type: Literal["Condition"]
    code: Concept
    clinical_status: Concept = Concept()
    verification_status: Concept = Concept()
    subject: Reference = Reference()

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
        raise NotRead("no code that is read here")


class Procedure(Element):
    """A procedure; the clinic takes each one for an earlier treatment of an eye."""

    resource_type: Literal["Procedure"]
    status: str
    subject: Reference = Reference()

    def states(self) -> Stated:
        return {} if self.status == "entered-in-error" else {"treated": self.status != "not-done"}


class Observation(Element):
    resource_type: Literal["Observation"]
    status: str
    code: Concept
    value_quantity: _Quantity | None = None
    value_codeable_concept: Concept = Concept()
    subject: Reference = Reference()

    def states(self) -> Stated:
        if self.status in ("entered-in-error", "cancelled"):
            return {}
        if PREGNANCY_STATUS in self.code.codes(LOINC):
            answers = self.value_codeable_concept.codes(LOINC)
            if not answers or answers[0] not in PREGNANT:
                raise NotRead(f"no value of {', '.join(PREGNANT)}")
            return {"pregnant": PREGNANT[answers[0]]}
        if AGE in self.code.codes(LOINC):
            return {"age": self._measured({"a": float})}
        if ACUITY in self.code.codes(SNOMED):
            return {"acuity": self._measured(UNITS)}
        raise NotRead("not of age, pregnancy status or visual acuity")

    def _measured(self, units: Mapping[str, Callable[[float], float]]) -> float:
        quantity = self.value_quantity
        if quantity is None or quantity.comparator or quantity.code not in units:
            raise NotRead(f"no valueQuantity without comparator whose code is {' or '.join(units)} (UCUM)")
        try:
            return units[quantity.code](quantity.value)
        except OverflowError as error:
            raise NotRead("a valueQuantity that is too large") from error


def _is_day(text: str) -> str:
    if text:
        datetime.fromisoformat(text)
    return text


class Media(Element):
    resource_type: Literal["Media"]
    status: str = ""
    content: _Attachment
    body_site: Concept = Concept()
    view: Concept = Concept()
    created_date_time: Annotated[str, AfterValidator(_is_day)] = Field(
        default="", pattern=r"^(\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?)?$"
    )
    subject: Reference = Reference()

    @property
    def eye(self) -> Eye:
        """The eye of the body site; unknown if it names both."""
        eyes = {EYES[code] for code in self.body_site.codes(SNOMED) if code in EYES}
        return eyes.pop() if len(eyes) == 1 else Eye.UNKNOWN

    @property
    def field(self) -> View:
        codes = (*self.view.codes(DICOM), *self.view.codes(SNOMED))
        return next((FIELDS[code] for code in codes if code in FIELDS), View.UNKNOWN)


KINDS: Mapping[str, type[Element]] = {
    "Patient": FhirPatient,
    "Condition": Condition,
    "Procedure": Procedure,
    "Observation": Observation,
    "Media": Media,
}


class FhirEntry(Element):
    resource: dict[str, Any]
    full_url: str = ""


class FhirBundle(Element):
    resource_type: Literal["Bundle"]
    type: Literal["collection", "transaction", "batch"]
    entry: list[FhirEntry] = Field(max_length=200)
