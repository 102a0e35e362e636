"""Schemas for /api/v1/openapi.json of bodies and responses that FastAPI cannot derive."""

from typing import Annotated, Any, Literal

from fastapi import FastAPI, UploadFile
from pydantic import BaseModel, Field, TypeAdapter, WithJsonSchema

from teledx_fed.core.clinical import PatientRecord

WHY = {
    400: "The body cannot be parsed, or Host is not a name of this page.",
    401: "The device's token is missing, unknown or revoked.",
    404: "This device has no such study or upload.",
    409: "The request does not fit the current state; detail states why.",
    411: "No Content-Length.",
    413: "Too large.",
    422: "The request is not valid; detail states why.",
    429: "This device has too many uploads in progress; detail states the limits.",
    507: "This site has no room for photographs now.",
}
"""Why a request is refused, by status."""
COMPONENTS = "#/components/schemas/{model}"
ALWAYS = (400, 401, 422)
WITH_BODY = (*ALWAYS, 411, 413, 507)

BINARY = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
"""A file in the notation of both OpenAPI 3.0 and 3.1: each tool reads one of them."""
Binary = Annotated[UploadFile, WithJsonSchema(BINARY)]


class WrongField(BaseModel):
    """A wrong field; `loc` is its place in the request."""

    loc: list[str | int]
    msg: str
    type: str


class RefusalDetail(BaseModel):
    """Why a request is refused: a sentence, or each wrong field."""

    detail: str | list[WrongField]


class Issue(BaseModel):
    """`expression` is the FHIRPath of what is wrong, or was not read."""

    severity: Literal["error", "warning", "information"]
    code: str
    diagnostics: str
    expression: list[str] = []


class OperationOutcome(BaseModel):
    """FHIR R4 OperationOutcome."""

    resourceType: Literal["OperationOutcome"]
    issue: list[Issue] = Field(min_length=1)


def refused(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": RefusalDetail, "description": WHY[status]} for status in sorted(statuses)}


def refused_in_fhir(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/fhir+json": {"schema": reference("OperationOutcome")}}
    return {status: {"content": content, "description": WHY[status]} for status in sorted(statuses)}


def body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Describe the body of a request that is read without parsing."""
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


def reference(name: str) -> dict[str, str]:
    return {"$ref": COMPONENTS.format(model=name)}


class Described(FastAPI):
    """FastAPI with schemas that it does not generate: for parts of a form, and for other types than JSON."""

    def openapi(self) -> dict[str, Any]:
        description = super().openapi()
        kinds: list[tuple[type, Literal["validation"], TypeAdapter[Any]]] = [
            (kind, "validation", TypeAdapter(kind)) for kind in (OperationOutcome, PatientRecord)
        ]
        _, schemas = TypeAdapter.json_schemas(kinds, ref_template=COMPONENTS)
        description["components"]["schemas"] |= {**schemas["$defs"], "Bundle": BUNDLE}
        return description


BUNDLE = {
    "title": "Bundle",
    "type": "object",
    "description": "FHIR R4, of one patient: Patient, Condition, Procedure, Observation, and Media with content.data.",
    "required": ["resourceType", "type", "entry"],
    "properties": {
        "resourceType": {"type": "string", "const": "Bundle"},
        "type": {"type": "string", "enum": ["collection", "transaction", "batch"]},
        "entry": {
            "type": "array",
            "maxItems": 200,
            "items": {
                "title": "Entry",
                "type": "object",
                "required": ["resource"],
                "properties": {
                    "fullUrl": {"type": "string"},
                    "resource": {
                        "title": "Resource",
                        "type": "object",
                        "required": ["resourceType"],
                        "properties": {"resourceType": {"type": "string"}},
                        "additionalProperties": True,
                    },
                },
            },
        },
    },
}
