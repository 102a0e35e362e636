"""What a hospital does with a study, from the moment that it comes in: keep, diagnose, have it read."""

import hashlib
import shutil
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.checks import must
from teledx_fed.core.clinical import Fault, Gap, PatientRecord, Study
from teledx_fed.core.errors import DataError, TeledxError
from teledx_fed.core.examples import Eye, Field
from teledx_fed.core.files import write_bytes
from teledx_fed.data.array_photographs import PhotographInMemory
from teledx_fed.data.comparison import alike_in_both_eyes, is_same_photograph
from teledx_fed.data.deidentification import pseudonym, pseudonymous_uid
from teledx_fed.data.dicom import DicomAbout, Source
from teledx_fed.data.disc import optic_disc
from teledx_fed.data.photographs import MOST_PIXELS, png, stored_photograph
from teledx_fed.data.preprocessing import fundus_mask, prepare
from teledx_fed.data.quality import faults
from teledx_fed.data.summary import maker_of
from teledx_fed.diagnosis.diagnose import judged, look
from teledx_fed.diagnosis.evidence import Evidence, keep, map_of
from teledx_fed.diagnosis.intake import MOST_IMAGES, Received, Sent, received
from teledx_fed.diagnosis.judgement import Seen
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.model.bundle import WEIGHTS, Bundle
from teledx_fed.store.identified import Filed, IdentifiedStore, Identity
from teledx_fed.store.store import Store
from teledx_fed.store.values import Arrival, StoredImage, StoredStudy

if TYPE_CHECKING:
    from teledx_fed.diagnosis.explain import Explainer


LONGEST_NUMBER = 64
"""Characters of a patient's number in DICOM (PS3.5 6.2, LO)."""


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
    """A photograph that lies in the study's folder now, and what the model saw in it; `about` is identifying."""

    image: StoredImage
    seen: Seen
    derivatives: tuple[str, ...]
    about: DicomAbout | None


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
        most_pixels: int = MOST_PIXELS,
    ) -> None:
        """`key` makes pseudonyms of the hospital's own numbers, which `identified` alone knows."""
        self._most_pixels = most_pixels
        self.store, self.identified, self.bundle, self.referral = store, identified, bundle, referral
        self._key, self._workers = key, ThreadPoolExecutor(threads)
        self._gathering = Lock()

    def receive(self, submitted: Submitted, link: str | None = None) -> StoredStudy:
        """Keep it and diagnose it. A `ValueError` names the photograph that is refused; then nothing is kept."""
        folder = f"studies/{uuid4().hex}"
        try:
            stored = self._add(submitted, folder, link)
        except (TeledxError, ValueError):  # before the transaction ends
            self._remove(folder)
            raise
        if not stored.images[0].path.startswith(folder):
            self._remove(folder)  # it came before, and is here already
        return stored

    def gather(self, submitted: Submitted) -> StoredStudy:
        """The same, of a study that its sender sends in parts: under a key that is known, its photographs are added."""
        with self._gathering:
            known = self.known(submitted.source, submitted.key)
            return self.receive(submitted) if known is None else self.grow(known.study.id, submitted.photographs)

    def grow(self, study: str, photographs: Sequence[Photograph]) -> StoredStudy:
        """Add photographs to a study and judge it anew. Those that it has already, however compressed, are left out."""
        folder = f"studies/{uuid4().hex}"
        try:
            return self._grow(study, self._take_all(photographs, folder), folder)
        except (TeledxError, ValueError):  # before the transaction ends
            self._remove(folder)
            raise

    def known(self, source: str, key: str) -> StoredStudy | None:
        """What this source sent under this key."""
        return self.store.find(source, self.pseudonym_of(key))

    def patient_of(self, files: Sequence[DicomAbout]) -> str | None:
        """The pseudonym of whom DICOM files are, if they say so. A `ValueError` where they are of several."""
        named = self._named(files)
        return None if named is None else self._pseudonym(*named)

    def check_belongs(self, stored: StoredStudy, about: DicomAbout) -> None:
        """A `ValueError` where a DICOM file is of another patient than the study."""
        must(
            self.patient_of([about]) in (None, stored.study.patient),
            "PatientID",
            "be that of the study's earlier photographs",
            "another",
            "Correct it in the archive.",
            DataError,
        )

    def find(self, stored: StoredStudy, instance: str, pixels: NDArray[np.uint8]) -> StoredImage | None:
        """The study's photograph with this SOPInstanceUID. A `ValueError` where that shows something else."""
        image = next((one for one in stored.images if one.instance == self._instance(instance)), None)
        if image is not None:
            there = stored_photograph(self.store.folder / image.path).read()
            check_same(there, _disc_alone(pixels, image.faults))
        return image

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
        taken = self._take_all(submitted.photographs, folder)
        number = self._number(submitted, taken)
        patient = self._patient_of(link) if number is None else self._known_as(*number)
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
        stored = self.store.add_study(arrival, link, diagnosis, made)
        self._file(stored.study.id, taken)
        return stored

    def _grow(self, study: str, taken: Sequence[_Taken], folder: str) -> StoredStudy:
        before = self.store.study(study)
        fresh = [each for each in taken if not self._has(before, each)]
        _check_count(len(before.images) + len(fresh))
        if not fresh:
            self._remove(folder)
            return before
        fresh = self._marked(fresh, before.study.patient, before.images)
        again = [self._workers.submit(look, image, self.bundle) for image in before.study.images]
        seen = [*(each.result().seen for each in again), *(each.seen for each in fresh)]
        made = tuple(path for each in fresh for path in each.derivatives)
        diagnosis = judged(seen, before.study.record, self.bundle, self.referral)
        grown = self.store.grow_study(before, [each.image for each in fresh], diagnosis, made)
        if grown is None:  # another photograph came meanwhile
            return self._grow(study, taken, folder)
        self._file(study, fresh)
        return grown

    def _has(self, stored: StoredStudy, taken: _Taken) -> bool:
        if taken.about is not None:
            self.check_belongs(stored, taken.about)
            if self.find(stored, taken.about.instance, self._pixels(taken.image)) is not None:
                return True
        same = next((one for one in stored.images if one.digest == taken.image.digest), None)
        eyes = {taken.image.eye, same.eye if same else taken.image.eye} - {Eye.UNKNOWN}
        must(
            len(eyes) <= 1,
            "study.images",
            "show one eye each",
            "one for both",
            "Send that of the other eye.",
            DataError,
        )
        return same is not None

    def _take_all(self, photographs: Sequence[Photograph], folder: str) -> list[_Taken]:
        """Of one patient, each SOPInstanceUID once."""
        _check_count(len(photographs))
        numbered = enumerate(photographs, start=1)
        coming = [self._workers.submit(self._take, number, photograph, folder) for number, photograph in numbered]
        wait(coming)
        results, taken = [one.result() for one in coming], dict[str, _Taken]()
        self._named([each.about for each in results if each.about])
        for each in results:
            first = taken.setdefault(each.image.instance or uuid4().hex, each)
            if first is not each:
                check_same(self._pixels(first.image), self._pixels(each.image))
        return list(taken.values())

    def _pixels(self, image: StoredImage) -> NDArray[np.uint8]:
        return stored_photograph(self.store.folder / image.path).read()

    def _number(self, submitted: Submitted, taken: Sequence[_Taken]) -> tuple[str, str] | None:
        """The patient's, with its issuer. A `ValueError` where who sends it and the files name different ones."""
        named = self._named([each.about for each in taken if each.about])
        must(
            None in (submitted.patient, named) or submitted.patient == named[0],  # type: ignore[index]
            "study.patient",
            "have the number that the DICOM files say",
            "another",
            "Correct the number, or send the right files.",
            DataError,
        )
        return named or (None if submitted.patient is None else (submitted.patient, ""))

    def _named(self, files: Sequence[DicomAbout]) -> tuple[str, str] | None:
        """Number and issuer, as all of the files say that say one."""
        numbers = {about.filing.patient_id for about in files} - {""}
        issuers = {about.filing.issuer for about in files if about.filing.patient_id} - {""}
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

    def _file(self, study: str, taken: Sequence[_Taken]) -> None:
        """Keep where the archive has it, in the identified store."""
        for about in (each.about for each in taken if each.about):
            sources = (Source(about.instance, about.series, about.kind),) if about.instance else ()
            self.identified.file(study, Filed(about.filing, sources))

    def _instance(self, stated: str) -> str:
        return pseudonymous_uid(self._key, stated)

    def _marked(self, taken: Sequence[_Taken], patient: str | None, before: Sequence[StoredImage] = ()) -> list[_Taken]:
        """With a doubt for each photograph that came with another study, which may be another patient's, and for each
        that shows what another does, `before` it or beside it, that is said to be of the other eye.
        """
        own = [each.image for each in taken if Fault.NOT_A_FUNDUS not in each.image.faults]
        shared = self.store.shared([image.digest for image in own], patient)
        shown = [*own, *before]
        alike = alike_in_both_eyes([(image.eye, self._pixels(image)) for image in shown])
        doubts = {
            Gap.PHOTOGRAPH_SHARED: shared,
            Gap.BOTH_EYES_ALIKE: {shown[place].digest for place in alike},
        }
        return [
            _in_doubt(each, [doubt for doubt, those in doubts.items() if each.image.digest in those]) for each in taken
        ]

    def _patient_of(self, link: str | None) -> str | None:
        found = None if link is None else self.store.access.link(link)
        return None if found is None else found.patient

    def _known_as(self, number: str, issuer: str = "") -> str:
        """Its pseudonym; who that is, the identified store remembers."""
        known_as = self._pseudonym(number, issuer)
        self.identified.register(Identity(known_as, number, issuer=issuer))
        return known_as

    def _pseudonym(self, number: str, issuer: str = "") -> str:
        """Two hospitals may give one number to two people."""
        return self.pseudonym_of(f"{issuer}\0{number}" if issuer else number)

    def _take(self, number: int, photograph: Photograph, folder: str) -> _Taken:
        """Its pixels within the disc are kept, and nothing else of the file."""
        came = self._read(photograph, folder, f"photograph {number}")
        why = faults(came.pixels)
        pixels = _disc_alone(came.pixels, why)
        content, (height, width) = png(pixels), pixels.shape[:2]
        digest = hashlib.sha256(content).hexdigest()
        told = replace(came.image, camera=self._camera(came.image.camera))
        instance = self._instance(came.about.instance) if came.about and came.about.instance else None
        path = f"{folder}/{number}-{digest}.png"
        write_bytes(self.store.folder / path, content)
        picture = look(replace(told, photograph=PhotographInMemory(path, pixels)), self.bundle)
        doubts = picture.seen.doubts
        image = StoredImage(digest, path, width, height, told.eye, told.field, told.camera, why, doubts, instance)
        if picture.heat is None:
            return _Taken(image, picture.seen, (), came.about)
        made = keep(self.store.folder, image, pixels, picture.heat, picture.disc, Evidence.HEAT_MAP)
        return _Taken(image, picture.seen, made, came.about)

    def _camera(self, told: str) -> str:
        """As in training; of another the maker alone, for a file can say anything instead of a camera."""
        return told if told in self.bundle.manifest.scope.cameras else maker_of(told)

    def _explain(self, image: StoredImage, kind: Evidence) -> tuple[str, ...]:
        pixels, asked = stored_photograph(self.store.folder / image.path).read(), self.bundle.manifest.preparation
        map = self._explainer(prepare(pixels, asked.image_size, asked.ben_graham, asked.clahe), kind)
        return keep(self.store.folder, image, pixels, map, optic_disc(pixels), kind)

    @cached_property
    def _explainer(self) -> "Explainer":
        """It needs PyTorch: seconds and memory, for those who ask."""
        from teledx_fed.diagnosis.explain import Explainer

        self.bundle.content(WEIGHTS)  # refuses another model's
        return Explainer(self.bundle.folder / WEIGHTS)

    def read(self, photograph: Photograph) -> Received:
        """Nothing is kept. A `ValueError` where it cannot be read."""
        folder = f"studies/{uuid4().hex}"
        try:
            return self._workers.submit(self._read, photograph, folder, "the photograph").result()
        finally:
            self._remove(folder)

    def _read(self, photograph: Photograph, folder: str, name: str) -> Received:
        incoming = self.store.folder / folder / uuid4().hex
        write_bytes(incoming, photograph.content, lasting=False)
        try:
            return received(Sent(incoming, photograph.eye, photograph.field, photograph.name), self._most_pixels)
        except DataError as error:
            raise DataError(str(error).replace(str(incoming), name)) from error
        finally:
            incoming.unlink()

    def _remove(self, folder: str) -> None:
        shutil.rmtree(self.store.folder / folder, ignore_errors=True)


def _in_doubt(taken: _Taken, more: Sequence[Gap]) -> _Taken:
    doubts = (*taken.image.doubts, *more)
    return replace(taken, image=replace(taken.image, doubts=doubts), seen=replace(taken.seen, doubts=doubts))


def check_same(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> None:
    """Two files with one SOPInstanceUID."""
    must(
        is_same_photograph(one, other),
        "SOPInstanceUID",
        "be one photograph's alone",
        "two that differ",
        "Have the camera number each photograph.",
        DataError,
    )


def _check_count(count: int) -> None:
    must(
        0 < count <= MOST_IMAGES,
        "study.images",
        f"be 1 to {MOST_IMAGES} photographs",
        count,
        "Send others in another study.",
        DataError,
    )


def _disc_alone(pixels: NDArray[np.uint8], why: Collection[Fault]) -> NDArray[np.uint8]:
    """What is burned in beside the disc is gone; of what shows no fundus, everything."""
    if Fault.NOT_A_FUNDUS in why:
        return np.zeros_like(pixels)
    return pixels * (fundus_mask(pixels) > 0)[..., None]
