"""Reports of a stored study: PDF, FHIR, and DICOM for the hospital's archive or for other recipients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from uuid import UUID, uuid5

from teledx_fed.core.checks import must
from teledx_fed.core.clinical import Diagnosis, Reading
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Eye
from teledx_fed.data.dicom import Filing
from teledx_fed.data.dicom_writing import ReportFacts, encapsulated_pdf
from teledx_fed.data.maps import overlaid
from teledx_fed.data.photographs import stored_photograph
from teledx_fed.diagnosis import pdf
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.evidence import map_of, sentence_of
from teledx_fed.diagnosis.fhir.export import bundle as fhir_bundle
from teledx_fed.diagnosis.signing import ReportStatus, status
from teledx_fed.store.identified import ArchiveIdentifiers
from teledx_fed.store.values import StoredImage, StoredReading, StoredStudy

RELEASE = version("teledx-fed")
TITLE = "Diabetic retinopathy screening"
INVENTED = "This study did not come over DICOM: its study UID was generated here, the patient's number was typed in."
WITHOUT_NUMBER = "The archive gave this study no patient number, and the report has none either."


@dataclass(frozen=True)
class StudyReport:
    """The report of a study. `readings` are all readings of the study, in order."""

    clinic: Clinic
    stored: StoredStudy
    diagnosis: Diagnosis
    readings: Sequence[StoredReading]

    @property
    def signed(self) -> list[Reading]:
        return [one.reading for one in self.readings if one.signed]

    @property
    def status(self) -> ReportStatus:
        signed = self.signed
        return status(self.stored.study, self.diagnosis, signed[-1] if signed else None, signed[:-1])

    def as_pdf(self, now: datetime, patient: str | None = None) -> bytes:
        """Return the report as PDF; `patient` replaces the pseudonym."""
        signed, study = self.signed, self.stored.study
        labelled = study if patient is None else replace(study, patient=patient)
        guideline = self.clinic.referral.guideline
        last = signed[-1] if signed else None
        return pdf.report(labelled, self.diagnosis, last, self._shown(), now, guideline, RELEASE)

    def as_fhir(self, now: datetime, outside: bool = False) -> Mapping[str, Any]:
        """Return a FHIR bundle for the hospital's record system, or for `outside` with the pseudonym only."""
        signed, filed = self.signed, None if outside else self._known()
        last, patient = signed[-1] if signed else None, None if filed is None else _person(filed.filing)
        page = self.as_pdf(now, patient)
        return fhir_bundle(self.stored.study, self.diagnosis, last, now, RELEASE, signed[:-1], filed, page)

    def for_outside(self, now: datetime) -> bytes:
        """Return DICOM for other recipients: with the pseudonym, and UIDs generated here."""
        return self._dicom(
            "outside", ArchiveIdentifiers(self._invented(self.stored.study.patient or ""), ()), now, None
        )

    def for_archive(self) -> tuple[bytes, ArchiveIdentifiers, tuple[str, ...]]:
        """Return DICOM for the hospital's archive, its identifiers, and remarks on those not from the archive.

        The same reading gives the same object. A `DataError` if the patient's number is missing.
        """
        filed, remarks = self._filed()
        times = [one.signed for one in self.readings if one.signed]
        now = times[-1] if times else datetime.now(UTC)
        return self._dicom("archive", filed, now, _person(filed.filing)), filed, remarks

    def _filed(self) -> tuple[ArchiveIdentifiers, tuple[str, ...]]:
        filed = self._known()
        must(
            filed is not None,
            "the study",
            "have a patient's number for an archive to file its report",
            "none",
            "Use the pseudonymous report.",
            DataError,
        )
        assert filed is not None
        if filed.filing.study_uid == _uid(UUID(self.stored.study.id)):
            return filed, (INVENTED,)
        return filed, () if filed.filing.patient_id else (WITHOUT_NUMBER,)

    def _known(self) -> ArchiveIdentifiers | None:
        """Return the archive's identifiers, else those from the number that was typed in; None without both."""
        study = self.stored.study
        if (filed := self.clinic.identified.archive_identifiers(study.id)) is not None:
            return filed
        if (person := self.clinic.patients.who(study)) is None:
            return None
        filing = replace(self._invented(person.number), issuer=person.issuer, patient_name=person.name or "")
        return ArchiveIdentifiers(filing, ())

    def _invented(self, patient: str) -> Filing:
        study = self.stored.study
        day = (study.acquired or "")[:10].replace("-", "")
        return Filing(patient_id=patient, study_uid=_uid(UUID(study.id)), study_date=day if len(day) == 8 else "")

    def _dicom(self, purpose: str, filed: ArchiveIdentifiers, now: datetime, patient: str | None) -> bytes:
        identity, content = UUID(self.stored.study.id), self.as_pdf(now, patient)
        facts = ReportFacts(
            title=TITLE,
            created=now,
            filing=filed.filing,
            series_uid=_uid(uuid5(identity, f"reports {purpose}")),
            instance_uid=_uid(uuid5(identity, f"report {purpose} {now.isoformat()}")),
            sources=filed.sources,
            verified=self.status in (ReportStatus.FINAL, ReportStatus.AMENDED),
        )
        return encapsulated_pdf(content, facts)

    def _shown(self) -> Mapping[Eye, pdf.ReportPicture]:
        """Return the first photograph of each eye."""
        pictures: dict[Eye, pdf.ReportPicture] = {}
        for image in self.stored.images:
            if image.eye not in pictures:
                pictures[image.eye] = self._picture(image)
        return pictures

    def _picture(self, image: StoredImage) -> pdf.ReportPicture:
        folder = self.clinic.store.folder
        photograph, heat = folder / image.path, folder / map_of(image)
        if not heat.exists():
            return pdf.ReportPicture(stored_photograph(photograph).read())
        sentence = (folder / sentence_of(image)).read_text()
        return pdf.ReportPicture(stored_photograph(photograph).read(), overlaid(photograph, heat), sentence)


def _person(filing: Filing) -> str:
    name = " ".join(filing.patient_name.replace("^", " ").split())
    return ", ".join(filter(None, (name, filing.patient_id))) or "unknown"


def latest(clinic: Clinic, study: str) -> StudyReport:
    """Return the report of the latest suggestion; raise a `DataError` if the study has none."""
    stored, suggestions = clinic.store.study(study), clinic.store.suggestions(study)
    must(bool(suggestions), "study", "have a suggestion to report", "none", "Diagnose it first.", DataError)
    return StudyReport(clinic, stored, suggestions[-1].diagnosis, clinic.store.readings(study))


def _uid(identity: UUID) -> str:
    """Make a UID from a UUID (PS3.5 B.2)."""
    return f"2.25.{identity.int}"
