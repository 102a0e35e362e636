"""Patient numbers, their pseudonyms, and the archive's identifiers of studies."""

from collections.abc import Sequence

from teledx_fed.core.checks import must
from teledx_fed.core.clinical import Study
from teledx_fed.core.errors import DataError
from teledx_fed.data.deidentification import pseudonym, pseudonymous_uid
from teledx_fed.data.dicom import DicomHeader, PhotographUids
from teledx_fed.store.identified import ArchiveIdentifiers, IdentifiedStore, Identity
from teledx_fed.store.values import StoredStudy

LONGEST_NUMBER = 64
"""Characters of a patient's number in DICOM (PS3.5 6.2, LO)."""


class PatientRegister:
    """Pseudonyms of patients; only the identified store holds the numbers behind them."""

    def __init__(self, identified: IdentifiedStore, key: bytes) -> None:
        """`key` is the secret key of the pseudonyms."""
        self.identified, self._key = identified, key

    def pseudonym_of(self, number: str, issuer: str = "") -> str:
        """Return the pseudonym of a number and its issuer: two issuers may give one number to two people."""
        return pseudonym(self._key, f"{issuer}\0{number}" if issuer else number)

    def instance(self, uid: str) -> str:
        """Return the pseudonym of a SOPInstanceUID."""
        return pseudonymous_uid(self._key, uid)

    def register(self, number: str, issuer: str = "") -> str:
        """Return the pseudonym of a number, and store both in the identified store."""
        patient = self.pseudonym_of(number, issuer)
        self.identified.register(Identity(patient, number, issuer=issuer))
        return patient

    def of_files(self, headers: Sequence[DicomHeader]) -> str | None:
        """Return the pseudonym of the patient in DICOM headers, if any; raise a `DataError` for several."""
        number = self.named(headers)
        return None if number is None else self.pseudonym_of(*number)

    def named(self, headers: Sequence[DicomHeader]) -> tuple[str, str] | None:
        """Return number and issuer of the patient in DICOM headers; raise a `DataError` for several."""
        numbers = {header.filing.patient_id for header in headers} - {""}
        issuers = {header.filing.issuer for header in headers if header.filing.patient_id} - {""}
        readable = all(len(text) <= LONGEST_NUMBER and text.isprintable() for text in numbers | issuers)
        must(
            readable,
            "PatientID",
            f"be at most {LONGEST_NUMBER} printable characters",
            "others",
            "Correct it.",
            DataError,
        )
        several = max(len(numbers), len(issuers))
        must(several <= 1, "study.images", "be of one patient", several, "Send a study for each.", DataError)
        return (min(numbers), min(issuers, default="")) if numbers else None

    def number(self, stated: str | None, headers: Sequence[DicomHeader]) -> tuple[str, str] | None:
        """Return number and issuer; raise a `DataError` if the sender and the files state different numbers."""
        in_files = self.named(headers)
        must(
            None in (stated, in_files) or stated == in_files[0],  # type: ignore[index]
            "study.patient",
            "have the number that the DICOM files state",
            "another",
            "Correct the number, or send the right files.",
            DataError,
        )
        return in_files or (None if stated is None else (stated, ""))

    def check_belongs(self, stored: StoredStudy, header: DicomHeader) -> None:
        """Raise a `DataError` if a DICOM file and the study are of different patients."""
        must(
            self.of_files([header]) in (None, stored.study.patient),
            "PatientID",
            "be that of the study's earlier photographs",
            "another",
            "Correct it in the archive.",
            DataError,
        )

    def who(self, study: Study) -> Identity | None:
        """Return the identity of a study's patient, for the clinicians who treat them."""
        return None if study.patient is None else self.identified.identity(study.patient)

    def file(self, study: str, headers: Sequence[DicomHeader]) -> None:
        """Store the archive's identifiers of a study's photographs in the identified store."""
        for header in headers:
            sources = (PhotographUids(header.instance, header.series, header.kind),) if header.instance else ()
            self.identified.add_archive_identifiers(study, ArchiveIdentifiers(header.filing, sources))
