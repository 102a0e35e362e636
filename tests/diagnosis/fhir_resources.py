"""FHIR R4 resources as a portal sends them."""

import base64
from typing import Any

SNOMED, LOINC = "http://snomed.info/sct", "http://loinc.org"
Resource = dict[str, Any]


def concept(code: str, system: str = SNOMED) -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def condition(code: str, verification: str = "confirmed", clinical: str = "active") -> Resource:
    return {
        "resourceType": "Condition",
        "code": concept(code),
        "verificationStatus": concept(verification),
        "clinicalStatus": concept(clinical),
    }


def measured(code: Resource, value: float, unit: str) -> Resource:
    quantity = {"value": value, "code": unit}
    return {"resourceType": "Observation", "status": "final", "code": code, "valueQuantity": quantity}


def media(content: bytes, side: str, **elements: Any) -> Resource:
    data = base64.b64encode(content).decode()
    return {
        "resourceType": "Media",
        "status": "completed",
        "bodySite": concept(side),
        "content": {"data": data},
        **elements,
    }


def bundle(*resources: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}


FINE = {"resourceType": "Procedure", "status": "completed"}
HBA1C = measured(concept("4548-4", LOINC), 7.1, "%")
