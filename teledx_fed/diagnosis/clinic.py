"""The clinic of a hospital: receive studies, suggest a diagnosis, add later photographs."""

from collections.abc import Sequence
from datetime import timedelta
from threading import Lock

from teledx_fed.core.checks import must
from teledx_fed.core.clinical import Fault, Gap
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Eye
from teledx_fed.data.comparison import alike_in_both_eyes
from teledx_fed.data.dicom import DicomHeader
from teledx_fed.data.photographs import MOST_PIXELS
from teledx_fed.diagnosis.diagnose import judged
from teledx_fed.diagnosis.evidence import MapKind
from teledx_fed.diagnosis.intake import PhotographUpload, StudyUpload
from teledx_fed.diagnosis.patients import PatientRegister
from teledx_fed.diagnosis.photograph_store import PhotographStore, StoredPhotograph, check_count
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
        self.patients = PatientRegister(identified, key)
        self.photographs = PhotographStore(store.folder, bundle, self.patients.instance, threads, most_pixels)
        self._gathering = Lock()

    def receive(self, upload: StudyUpload, link: str | None = None) -> StoredStudy:
        """Store and diagnose a study; store nothing if a photograph is refused or anything else fails."""
        with self.photographs.study_folder(self.store.retention.has_images) as folder:
            photographs = self._keep(upload.photographs, folder)
            stored = self._add(upload, photographs, link)
        if not stored.images[0].path.startswith(folder):
            self.photographs.remove(folder)  # the study was stored earlier
        self.patients.file(stored.study.id, _headers(photographs))
        return stored

    def gather(self, upload: StudyUpload) -> StoredStudy:
        """Receive a study that arrives in parts: add the photographs if the source has sent this key before."""
        with self._gathering:
            stored = self.find_study(upload.source, upload.key)
            return self.receive(upload) if stored is None else self.grow(stored.study.id, upload.photographs)

    def grow(self, study: str, uploads: Sequence[PhotographUpload]) -> StoredStudy:
        """Add photographs to a study and judge it again; skip those that it already has, also recompressed."""
        with self.photographs.study_folder(self.store.retention.has_images) as folder:
            grown, new = self._grow(study, self._keep(uploads, folder))
        if not new:
            self.photographs.remove(folder)
        self.patients.file(study, _headers(new))
        return grown

    def find_study(self, source: str, key: str) -> StoredStudy | None:
        """Return the study that this source sent under this key."""
        return self.store.find(source, self.patients.pseudonym_of(key))

    def link(self, label: str, lifetime: timedelta, number: str | None = None) -> str:
        """Create a link that accepts one study, of the patient with that number if stated; return its token."""
        token, _ = self.store.access.add_link(label, lifetime, self.patients.register(number) if number else None)
        return token

    def explain(self, stored: StoredStudy, kind: MapKind) -> None:
        """Compute this kind of map for each photograph that has a heat map; the first time takes seconds."""
        for path in self.photographs.explain(stored, kind):
            self.store.add_derivative(stored.study.id, path)

    def close(self) -> None:
        self.photographs.close()
        self.store.close()
        self.identified.close()

    def _add(self, upload: StudyUpload, photographs: Sequence[StoredPhotograph], link: str | None) -> StoredStudy:
        number = self.patients.number(upload.patient, _headers(photographs))
        patient = self._patient_of(link) if number is None else self.patients.register(*number)
        photographs = self._with_doubts(photographs, patient)
        arrival = Arrival(
            key=self.patients.pseudonym_of(upload.key),  # a sender's key may contain a patient's name
            source=upload.source,
            images=tuple(photograph.image for photograph in photographs),
            patient=patient,
            record=upload.record,
            acquired=upload.acquired,
        )
        diagnosis = judged([photograph.result for photograph in photographs], upload.record, self.bundle, self.referral)
        return self.store.add_study(arrival, link, diagnosis, _derivatives(photographs))

    def _grow(self, study: str, photographs: Sequence[StoredPhotograph]) -> tuple[StoredStudy, list[StoredPhotograph]]:
        """Add the photographs that the study does not have; return the study and these photographs."""
        before = self.store.study(study)
        new = [photograph for photograph in photographs if not self._has(before, photograph)]
        check_count(len(before.images) + len(new))
        if not new:
            return before, []
        new = self._with_doubts(new, before.study.patient, before.images)
        results_before = [result.result() for result in self.photographs.results(before)]
        results = [*results_before, *(photograph.result for photograph in new)]
        diagnosis = judged(results, before.study.record, self.bundle, self.referral)
        grown = self.store.grow_study(before, [photograph.image for photograph in new], diagnosis, _derivatives(new))
        if grown is None:  # another request added a photograph meanwhile
            return self._grow(study, photographs)
        return grown, new

    def _has(self, stored: StoredStudy, photograph: StoredPhotograph) -> bool:
        if photograph.header is not None:
            self.patients.check_belongs(stored, photograph.header)
            pixels = self.photographs.pixels(photograph.image)
            if self.photographs.find(stored, photograph.header.instance, pixels) is not None:
                return True
        same = next((image for image in stored.images if image.digest == photograph.image.digest), None)
        eyes = {photograph.image.eye, same.eye if same else photograph.image.eye} - {Eye.UNKNOWN}
        must(
            len(eyes) <= 1,
            "study.images",
            "show one eye each",
            "one for both",
            "Send that of the other eye.",
            DataError,
        )
        return same is not None

    def _keep(self, uploads: Sequence[PhotographUpload], folder: str) -> list[StoredPhotograph]:
        photographs = self.photographs.keep(uploads, folder)
        self.patients.named(_headers(photographs))  # raises if they name several patients
        return self.photographs.distinct(photographs)

    def _with_doubts(
        self, photographs: Sequence[StoredPhotograph], patient: str | None, before: Sequence[StoredImage] = ()
    ) -> list[StoredPhotograph]:
        """Add doubts to photographs that may be of another patient or eye.

        One doubt: another study has the photograph. Another: a photograph of the other eye, new or in `before`, shows
        the same.
        """
        images = [photograph.image for photograph in photographs if Fault.NOT_A_FUNDUS not in photograph.image.faults]
        shared = self.store.shared([image.digest for image in images], patient)
        compared = [*images, *before]
        alike = alike_in_both_eyes([(image.eye, self.photographs.pixels(image)) for image in compared])
        doubts = {
            Gap.PHOTOGRAPH_SHARED: shared,
            Gap.BOTH_EYES_ALIKE: {compared[place].digest for place in alike},
        }
        return [
            photograph.with_doubts([doubt for doubt, digests in doubts.items() if photograph.image.digest in digests])
            for photograph in photographs
        ]

    def _patient_of(self, token: str | None) -> str | None:
        link = None if token is None else self.store.access.link(token)
        return None if link is None else link.patient


def _derivatives(photographs: Sequence[StoredPhotograph]) -> tuple[str, ...]:
    return tuple(path for photograph in photographs for path in photograph.derivatives)


def _headers(photographs: Sequence[StoredPhotograph]) -> list[DicomHeader]:
    return [photograph.header for photograph in photographs if photograph.header]
