"""Conversion of values to JSON and back, with a digest of the exact bytes."""

import hashlib
from typing import TypeVar

from pydantic import TypeAdapter

from teledx_fed.core.clinical import Diagnosis, Fault, Gap, PatientRecord, Reading
from teledx_fed.core.errors import DataError, IntegrityError

DIAGNOSES = TypeAdapter(Diagnosis)
READINGS = TypeAdapter(Reading)
RECORDS = TypeAdapter(PatientRecord)
FAULTS = TypeAdapter(tuple[Fault, ...])
DOUBTS = TypeAdapter(tuple[Gap, ...])

Value = TypeVar("Value")


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def diagnosis_digest(diagnosis: Diagnosis) -> str:
    """Return the digest by which a reading refers to a suggestion."""
    return digest_of(to_json(DIAGNOSES, diagnosis))


def to_json(adapter: TypeAdapter[Value], value: Value) -> str:
    """Return JSON; raise a `DataError` if it would not read back as the same value, such as for NaN."""
    text = adapter.dump_json(value).decode()
    if adapter.validate_json(text) != value:
        raise DataError(f"{type(value).__name__} must hold plain numbers and words, got {value!r}. Compute it again.")
    return text


def read_json(adapter: TypeAdapter[Value], text: str, digest: str) -> Value:
    """Read JSON; raise an `IntegrityError` if its digest differs, because somebody changed the text."""
    if digest_of(text) != digest:
        raise IntegrityError(f"the stored text must have the digest {digest}, got another text. Restore a backup.")
    return adapter.validate_json(text)
