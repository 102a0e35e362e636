"""Codes in FHIR resources that we write and read, with the display of their code system."""

from typing import Any

from teledx_fed.core.examples import Eye

LOINC, SNOMED, DICOM = "http://loinc.org", "http://snomed.info/sct", "http://dicom.nema.org/resources/ontology/DCM"
HL7, UCUM, URI = "http://terminology.hl7.org/CodeSystem", "http://unitsofmeasure.org", "urn:ietf:rfc:3986"
ICD_10 = ("http://hl7.org/fhir/sid/icd-10", "http://hl7.org/fhir/sid/icd-10-cm")
SEVERITY = {Eye.LEFT: "71490-7", Eye.RIGHT: "71491-5"}
ANSWERS = ("LA18643-9", "LA18644-7", "LA18645-4", "LA18646-2", "LA18648-8")
"""LOINC answer list LL2117-1, by ICDR grade."""
DISORDERS = (None, "312903003", "312904009", "312905005", "59276001")
"""SNOMED CT codes, by ICDR grade; no code fits grade 0 exactly."""
MACULAR_OEDEMA = "312912001"
LATERALITY = {Eye.LEFT: "7771000", Eye.RIGHT: "24028007"}
BODY_SITES = {Eye.LEFT: "8966001", Eye.RIGHT: "18944008", Eye.UNKNOWN: "81745001"}
IMAGING_STUDY, PHOTOGRAPHY = "18748-4", "OP"
DISPLAYS = {
    "71490-7": "Left eye Diabetic retinopathy severity level by Ophthalmoscopy",
    "71491-5": "Right eye Diabetic retinopathy severity level by Ophthalmoscopy",
    "LA18643-9": "No apparent retinopathy",
    "LA18644-7": "Mild non-proliferative retinopathy",
    "LA18645-4": "Moderate non-proliferative retinopathy",
    "LA18646-2": "Severe non-proliferative retinopathy",
    "LA18648-8": "Proliferative retinopathy",
    "312903003": "Mild nonproliferative diabetic retinopathy",
    "312904009": "Moderate nonproliferative diabetic retinopathy",
    "312905005": "Severe nonproliferative diabetic retinopathy",
    "59276001": "Proliferative diabetic retinopathy",
    "312912001": "Diabetic macular edema",
    "8966001": "Left eye structure",
    "18944008": "Right eye structure",
    "81745001": "Structure of eye proper",
    "18748-4": "Diagnostic imaging study",
    "OP": "Ophthalmic Photography",
    "imaging": "Imaging",
    "IMG": "Diagnostic Imaging",
    "unknown": "Unknown",
    "author": "Author",
    "MR": "Medical record number",
    "ACSN": "Accession ID",
}


def coding(system: str, code: str) -> dict[str, Any]:
    return {"system": system, "code": code, "display": DISPLAYS[code]}


def concept(system: str, code: str, text: str | None = None) -> dict[str, Any]:
    return {"coding": [coding(system, code)], **({} if text is None else {"text": text})}
