"""What a hospital does with a study, from the moment that it comes in: keep, diagnose, have it read."""

import hashlib
import shutil
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from teledx_fed.checks import must
from teledx_fed.clinical import Fault, Gap, PatientRecord, Study
from teledx_fed.data.deidentification import pseudonym
from teledx_fed.data.disc import optic_disc
from teledx_fed.data.photographs import PhotographFile, PhotographInMemory, png
from teledx_fed.data.preprocessing import fundus_mask, prepare
from teledx_fed.data.quality import faults
from teledx_fed.data.summary import maker_of
from teledx_fed.diagnosis.diagnose import judged, look
from teledx_fed.diagnosis.evidence import Evidence, keep, map_of
from teledx_fed.diagnosis.intake import MOST_IMAGES, Received, Sent, received
from teledx_fed.diagnosis.judgement import Seen
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.files import write_bytes
from teledx_fed.model.bundle import WEIGHTS, Bundle
from teledx_fed.records import Eye, Field
from teledx_fed.store.identified import IdentifiedStore
from teledx_fed.store.store import Store
from teledx_fed.store.values import Arrival, Identity, StoredImage, StoredStudy

if TYPE_CHECKING:
    from teledx_fed.diagnosis.explain import Explainer


@dataclass(frozen=True)
class Photograph:
    """`name` is what its sender called the file: read for the eye, and not kept."""

    content: bytes
    eye: Eye = Eye.UNKNOWN
    field: Field = Field.UNKNOWN
    name: str = ""


@dataclass(frozen=True)
class Submitted:
    """`key` makes a study that is sent twice one; `patient` is the hospital's own number, or else the DICOM files'."""

    key: str
    source: str
    photographs: tuple[Photograph, ...]
    patient: str | None = None
    record: PatientRecord = field(default_factory=PatientRecord)
    acquired: str | None = None


@dataclass(frozen=True)
class _Taken:
    """A photograph that lies in the study's folder now, and what the model saw in it; `patient` as its file told."""

    image: StoredImage
    seen: Seen
    derivatives: tuple[str, ...]
    patient: str | None


class Clinic:
    """As many photographs at once as it has `threads`, whoever sends them: so much memory is needed, and no more."""

    def __init__(
        self,
        store: Store,
        identified: IdentifiedStore,
        bundle: Bundle,
        referral: ReferralSettings,
        key: bytes,
        threads: int,
    ) -> None:
        """`key` makes pseudonyms of the hospital's own numbers, which `identified` alone knows."""
        self.store, self.identified, self.bundle, self.referral = store, identified, bundle, referral
        self._key, self._workers = key, ThreadPoolExecutor(threads)

    def receive(self, submitted: Submitted, link: str | None = None) -> StoredStudy:
        """Keep it and diagnose it. A `ValueError` names the photograph that is refused; then nothing is kept."""
        folder = f"studies/{uuid4().hex}"
        try:
            stored = self._add(submitted, folder, link)
        except ValueError:
            self._remove(folder)
            raise
        if not stored.images[0].path.startswith(folder):
            self._remove(folder)  # it came before, and is here already
        return stored

    def faults_of(self, photograph: Photograph) -> tuple[Fault, ...]:
        """Before anything is kept. A `ValueError` where it cannot be read."""
        folder = f"studies/{uuid4().hex}"
        try:
            return self._workers.submit(lambda: faults(self._read(photograph, folder, "photograph").pixels)).result()
        finally:
            self._remove(folder)

    def pseudonym_of(self, number: str) -> str:
        return pseudonym(self._key, number)

    def link(self, label: str, lifetime: timedelta, number: str | None = None) -> str:
        """The token of a link that takes one study, of the patient with that number or of anybody."""
        token, _ = self.store.access.add_link(label, lifetime, self._known_as(number) if number else None)
        return token

    def explain(self, stored: StoredStudy, kind: Evidence) -> None:
        """That kind of map for each photograph that has a heat map: in seconds, the first time."""
        for image in stored.images:
            if (self.store.folder / map_of(image)).exists() and not (self.store.folder / map_of(image, kind)).exists():
                for path in self._workers.submit(self._explain, image, kind).result():
                    self.store.add_derivative(stored.study.id, path)

    def who(self, study: Study) -> Identity | None:
        """Whose study it is, for those at the hospital who treat them."""
        return None if study.patient is None else self.identified.identity(study.patient)

    def close(self) -> None:
        self._workers.shutdown()
        self.store.close()
        self.identified.close()

    def _add(self, submitted: Submitted, folder: str, link: str | None) -> StoredStudy:
        must(
            0 < len(submitted.photographs) <= MOST_IMAGES,
            "study.images",
            f"be 1 to {MOST_IMAGES} photographs",
            len(submitted.photographs),
            "Send others in another study.",
        )
        numbered = enumerate(submitted.photographs, start=1)
        coming = [self._workers.submit(self._take, number, photograph, folder) for number, photograph in numbered]
        wait(coming)
        taken = [each.result() for each in coming]
        named = {each.patient for each in taken if each.patient}
        must(len(named) <= 1, "study.images", "be of one patient", len(named), "Send a study for each.")
        number = submitted.patient or next(iter(named), None)
        patient = self._patient_of(link) if number is None else self._known_as(number)
        taken = self._marked(taken, patient)
        arrival = Arrival(
            key=self.pseudonym_of(submitted.key),  # whatever a sender makes it of
            source=submitted.source,
            images=tuple(each.image for each in taken),
            patient=patient,
            record=submitted.record,
            acquired=submitted.acquired,
        )
        made = tuple(path for each in taken for path in each.derivatives)
        diagnosis = judged([each.seen for each in taken], submitted.record, self.bundle, self.referral)
        return self.store.add_study(arrival, link, diagnosis, made)

    def _marked(self, taken: Sequence[_Taken], patient: str | None) -> list[_Taken]:
        """With a doubt for each photograph that came with another study, which may be another patient's."""
        own = [each.image.digest for each in taken if Fault.NOT_A_FUNDUS not in each.image.faults]
        shared = self.store.shared(own, patient)
        return [_in_doubt(each) if each.image.digest in shared else each for each in taken]

    def _patient_of(self, link: str | None) -> str | None:
        found = None if link is None else self.store.access.link(link)
        return None if found is None else found.patient

    def _known_as(self, number: str) -> str:
        """Its pseudonym; who that is, the identified store remembers."""
        known_as = self.pseudonym_of(number)
        self.identified.register(Identity(known_as, number))
        return known_as

    def _take(self, number: int, photograph: Photograph, folder: str) -> _Taken:
        """Its pixels within the disc are kept, and nothing else of the file."""
        came = self._read(photograph, folder, f"photograph {number}")
        why = faults(came.pixels)
        pixels = _disc_alone(came.pixels, why)
        content, (height, width) = png(pixels), pixels.shape[:2]
        digest = hashlib.sha256(content).hexdigest()
        told = replace(came.image, camera=self._camera(came.image.camera))
        path = f"{folder}/{digest}.png"
        write_bytes(self.store.folder / path, content)
        picture = look(replace(told, photograph=PhotographInMemory(path, pixels)), self.bundle)
        doubts = picture.seen.doubts
        image = StoredImage(digest, path, width, height, told.eye, told.field, told.camera, why, doubts)
        if picture.heat is None:
            return _Taken(image, picture.seen, (), came.patient)
        made = keep(self.store.folder, image, pixels, picture.heat, picture.disc, Evidence.HEAT_MAP)
        return _Taken(image, picture.seen, made, came.patient)

    def _camera(self, told: str) -> str:
        """As in training; of another the maker alone, for a file can say anything instead of a camera."""
        return told if told in self.bundle.manifest.scope.cameras else maker_of(told)

    def _explain(self, image: StoredImage, kind: Evidence) -> tuple[str, ...]:
        pixels, asked = PhotographFile(self.store.folder / image.path).read(), self.bundle.manifest.preparation
        map = self._explainer(prepare(pixels, asked.image_size, asked.ben_graham, asked.clahe), kind)
        return keep(self.store.folder, image, pixels, map, optic_disc(pixels), kind)

    @cached_property
    def _explainer(self) -> "Explainer":
        """It needs PyTorch: seconds and memory, for those who ask."""
        from teledx_fed.diagnosis.explain import Explainer

        return Explainer(self.bundle.folder / WEIGHTS)

    def _read(self, photograph: Photograph, folder: str, name: str) -> Received:
        incoming = self.store.folder / folder / uuid4().hex
        write_bytes(incoming, photograph.content, lasting=False)
        try:
            return received(Sent(incoming, photograph.eye, photograph.field, photograph.name))
        except ValueError as error:
            raise ValueError(str(error).replace(str(incoming), name)) from error
        finally:
            incoming.unlink()

    def _remove(self, folder: str) -> None:
        shutil.rmtree(self.store.folder / folder, ignore_errors=True)


def _in_doubt(taken: _Taken) -> _Taken:
    doubts = (*taken.image.doubts, Gap.PHOTOGRAPH_SHARED)
    return replace(taken, image=replace(taken.image, doubts=doubts), seen=replace(taken.seen, doubts=doubts))


def _disc_alone(pixels: NDArray[np.uint8], why: Collection[Fault]) -> NDArray[np.uint8]:
    """What is burned in beside the disc is gone; of what shows no fundus, everything."""
    if Fault.NOT_A_FUNDUS in why:
        return np.zeros_like(pixels)
    return pixels * (fundus_mask(pixels) > 0)[..., None]
