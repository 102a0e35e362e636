"""The clinic of a hospital: receive studies, suggest a diagnosis, add later photographs."""

from collections.abc import Sequence
from datetime import timedelta
from threading import Lock

from teledx_fed.core.checks import must
from teledx_fed.core.clinical import Fault, Gap
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Eye
from teledx_fed.data.comparison import alike_in_both_eyes
from teledx_fed.data.dicom import DicomAbout
from teledx_fed.data.photographs import MOST_PIXELS
from teledx_fed.diagnosis.diagnose import judged
from teledx_fed.diagnosis.evidence import Evidence
from teledx_fed.diagnosis.intake import PhotographUpload, StudyUpload
from teledx_fed.diagnosis.patients import Patients
from teledx_fed.diagnosis.photograph_store import KeptPhotograph, PhotographStore, check_count
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.model.bundle import Bundle
from teledx_fed.store.identified import IdentifiedStore
from teledx_fed.store.store import Store
from teledx_fed.store.values import Arrival, StoredImage, StoredStudy


class Clinic:
    """The studies of one hospital and the model that suggests their diagnoses."""

    def __init__(
        self,
        store: Store,
        identified: IdentifiedStore,
        bundle: Bundle,
        referral: ReferralSettings,
        key: bytes,
        threads: int,
        most_pixels: int = MOST_PIXELS,
    ) -> None:
        """`key` turns patient numbers into pseudonyms; only `identified` holds the numbers."""
        self.store, self.identified, self.bundle, self.referral = store, identified, bundle, referral
        self.patients = Patients(identified, key)
        self.photographs = PhotographStore(store.folder, bundle, self.patients.instance, threads, most_pixels)
        self._gathering = Lock()

    def receive(self, upload: StudyUpload, link: str | None = None) -> StoredStudy:
        """Store and diagnose a study; store nothing if a photograph is refused or anything else fails."""
        with self.photographs.study_folder() as folder:
            kept = self._keep(upload.photographs, folder)
            stored = self._add(upload, kept, link)
        if not stored.images[0].path.startswith(folder):
            self.photographs.remove(folder)  # the study was stored earlier
        self.patients.file(stored.study.id, _headers(kept))
        return stored

    def gather(self, upload: StudyUpload) -> StoredStudy:
        """Receive a study that arrives in parts: add the photographs if the source has sent this key before."""
        with self._gathering:
            stored = self.find_study(upload.source, upload.key)
            return self.receive(upload) if stored is None else self.grow(stored.study.id, upload.photographs)

    def grow(self, study: str, uploads: Sequence[PhotographUpload]) -> StoredStudy:
        """Add photographs to a study and judge it again; skip those that it already has, also recompressed."""
        with self.photographs.study_folder() as folder:
            grown, fresh = self._grow(study, self._keep(uploads, folder))
        if not fresh:
            self.photographs.remove(folder)
        self.patients.file(study, _headers(fresh))
        return grown

    def find_study(self, source: str, key: str) -> StoredStudy | None:
        """Return the study that this source sent under this key."""
        return self.store.find(source, self.patients.pseudonym_of(key))

    def link(self, label: str, lifetime: timedelta, number: str | None = None) -> str:
        """Create a link that accepts one study, of the patient with that number if stated; return its token."""
        token, _ = self.store.access.add_link(label, lifetime, self.patients.register(number) if number else None)
        return token

    def explain(self, stored: StoredStudy, kind: Evidence) -> None:
        """Compute this kind of map for each photograph that has a heat map; the first time takes seconds."""
        for path in self.photographs.explain(stored, kind):
            self.store.add_derivative(stored.study.id, path)

    def close(self) -> None:
        self.photographs.close()
        self.store.close()
        self.identified.close()

    def _add(self, upload: StudyUpload, kept: Sequence[KeptPhotograph], link: str | None) -> StoredStudy:
        number = self.patients.number(upload.patient, _headers(kept))
        patient = self._patient_of(link) if number is None else self.patients.register(*number)
        kept = self._with_doubts(kept, patient)
        arrival = Arrival(
            key=self.patients.pseudonym_of(upload.key),  # a sender's key may contain a patient's name
            source=upload.source,
            images=tuple(each.image for each in kept),
            patient=patient,
            record=upload.record,
            acquired=upload.acquired,
        )
        diagnosis = judged([each.result for each in kept], upload.record, self.bundle, self.referral)
        return self.store.add_study(arrival, link, diagnosis, _derivatives(kept))

    def _grow(self, study: str, kept: Sequence[KeptPhotograph]) -> tuple[StoredStudy, list[KeptPhotograph]]:
        """Add the photographs that the study does not have; return the study and these photographs."""
        before = self.store.study(study)
        fresh = [each for each in kept if not self._has(before, each)]
        check_count(len(before.images) + len(fresh))
        if not fresh:
            return before, []
        fresh = self._with_doubts(fresh, before.study.patient, before.images)
        earlier = [one.result() for one in self.photographs.results(before)]
        results = [*earlier, *(each.result for each in fresh)]
        diagnosis = judged(results, before.study.record, self.bundle, self.referral)
        grown = self.store.grow_study(before, [each.image for each in fresh], diagnosis, _derivatives(fresh))
        if grown is None:  # another request added a photograph meanwhile
            return self._grow(study, kept)
        return grown, fresh

    def _has(self, stored: StoredStudy, kept: KeptPhotograph) -> bool:
        if kept.header is not None:
            self.patients.check_belongs(stored, kept.header)
            pixels = self.photographs.pixels(kept.image)
            if self.photographs.find(stored, kept.header.instance, pixels) is not None:
                return True
        same = next((one for one in stored.images if one.digest == kept.image.digest), None)
        eyes = {kept.image.eye, same.eye if same else kept.image.eye} - {Eye.UNKNOWN}
        must(
            len(eyes) <= 1,
            "study.images",
            "show one eye each",
            "one for both",
            "Send that of the other eye.",
            DataError,
        )
        return same is not None

    def _keep(self, uploads: Sequence[PhotographUpload], folder: str) -> list[KeptPhotograph]:
        kept = self.photographs.keep(uploads, folder)
        self.patients.named(_headers(kept))  # raises if they name several patients
        return self.photographs.distinct(kept)

    def _with_doubts(
        self, kept: Sequence[KeptPhotograph], patient: str | None, before: Sequence[StoredImage] = ()
    ) -> list[KeptPhotograph]:
        """Add doubts to photographs that may be of another patient or eye.

        One doubt: another study has the photograph. Another: a photograph of the other eye, new or in `before`, shows
        the same.
        """
        own = [each.image for each in kept if Fault.NOT_A_FUNDUS not in each.image.faults]
        shared = self.store.shared([image.digest for image in own], patient)
        shown = [*own, *before]
        alike = alike_in_both_eyes([(image.eye, self.photographs.pixels(image)) for image in shown])
        doubts = {
            Gap.PHOTOGRAPH_SHARED: shared,
            Gap.BOTH_EYES_ALIKE: {shown[place].digest for place in alike},
        }
        return [
            each.with_doubts([doubt for doubt, digests in doubts.items() if each.image.digest in digests])
            for each in kept
        ]

    def _patient_of(self, token: str | None) -> str | None:
        link = None if token is None else self.store.access.link(token)
        return None if link is None else link.patient


def _derivatives(kept: Sequence[KeptPhotograph]) -> tuple[str, ...]:
    return tuple(path for each in kept for path in each.derivatives)


def _headers(kept: Sequence[KeptPhotograph]) -> list[DicomAbout]:
    return [each.header for each in kept if each.header]
