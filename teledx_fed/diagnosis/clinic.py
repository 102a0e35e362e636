"""What a hospital does with a study, from the moment that it comes in: keep, diagnose, have it read."""

import hashlib
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from threading import Lock
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from teledx_fed.clinical import Fault, PatientRecord
from teledx_fed.data.deidentification import pseudonym
from teledx_fed.data.maps import layer
from teledx_fed.data.photographs import png
from teledx_fed.data.preprocessing import fundus_mask, place
from teledx_fed.data.quality import faults
from teledx_fed.diagnosis.diagnose import Picture, diagnose
from teledx_fed.diagnosis.heat_map import sentence
from teledx_fed.diagnosis.intake import MOST_IMAGES, Received, Sent, received
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.files import write_bytes
from teledx_fed.model.bundle import Bundle
from teledx_fed.records import Eye, Field
from teledx_fed.settings import must
from teledx_fed.store.store import Store
from teledx_fed.store.values import Arrival, StoredImage, StoredStudy

HEAT, SENTENCE = ".heat.png", ".heat.txt"


@dataclass(frozen=True)
class Photograph:
    content: bytes
    eye: Eye = Eye.UNKNOWN
    field: Field = Field.UNKNOWN


@dataclass(frozen=True)
class Submitted:
    """`key` makes a study that is sent twice one; `patient` is the hospital's own number, or else the DICOM files'."""

    key: str
    source: str
    photographs: tuple[Photograph, ...]
    patient: str | None = None
    record: PatientRecord = field(default_factory=PatientRecord)
    acquired: str | None = None


class Clinic:
    """One model at a time grades; everything else may happen at once."""

    def __init__(self, store: Store, bundle: Bundle, referral: ReferralSettings, key: bytes) -> None:
        """`key` makes pseudonyms of the hospital's own numbers."""
        self.store, self.bundle, self.referral = store, bundle, referral
        self._key, self._grading = key, Lock()

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
        if not self.store.suggestions(stored.study.id):
            self.suggest(stored)
        return self.store.study(stored.study.id)

    def faults_of(self, photograph: Photograph) -> tuple[Fault, ...]:
        """Before anything is kept. A `ValueError` where it cannot be read."""
        folder = f"studies/{uuid4().hex}"
        try:
            return faults(self._read(photograph, folder)[1])
        finally:
            self._remove(folder)

    def pseudonym_of(self, number: str) -> str:
        return pseudonym(self._key, number)

    def suggest(self, stored: StoredStudy) -> None:
        with self._grading:
            diagnosis, pictures = diagnose(stored.study, self.bundle, self.referral)
        for image, picture in zip(stored.images, pictures, strict=True):
            if picture.heat is not None:
                self._keep_heat(stored.study.id, image, picture)
        self.store.add_suggestion(stored.study.id, diagnosis)

    def _keep_heat(self, study: str, image: StoredImage, picture: Picture) -> None:
        assert picture.heat is not None
        disc = None if picture.disc is None else complex(picture.disc.x, picture.disc.y)
        contents = {
            heat_of(image): png(layer(picture.heat, place(picture.pixels))),
            sentence_of(image): sentence(picture.heat, image.eye, disc).encode(),
        }
        for path, content in contents.items():
            write_bytes(self.store.folder / path, content)
            self.store.add_derivative(study, path)

    def _add(self, submitted: Submitted, folder: str, link: str | None) -> StoredStudy:
        must(
            0 < len(submitted.photographs) <= MOST_IMAGES,
            "study.images",
            f"be 1 to {MOST_IMAGES} photographs",
            len(submitted.photographs),
            "Send others in another study.",
        )
        kept = [self._keep(photograph, folder) for photograph in submitted.photographs]
        number = submitted.patient or next((number for _, number in kept if number), None)
        arrival = Arrival(
            key=submitted.key,
            source=submitted.source,
            images=tuple(image for image, _ in kept),
            patient=None if number is None else self.pseudonym_of(number),
            record=submitted.record,
            acquired=submitted.acquired,
        )
        return self.store.add_study(arrival, link)

    def _keep(self, photograph: Photograph, folder: str) -> tuple[StoredImage, str | None]:
        """Its pixels within the disc, and nothing else of the file; with the patient's number that it told."""
        came, pixels = self._read(photograph, folder)
        seen, why = came.image, faults(pixels)
        content = png(_disc_alone(pixels, why))
        digest = hashlib.sha256(content).hexdigest()
        path, (height, width) = f"{folder}/{digest}.png", pixels.shape[:2]
        write_bytes(self.store.folder / path, content)
        return StoredImage(digest, path, width, height, seen.eye, seen.field, seen.camera, why), came.patient

    def _read(self, photograph: Photograph, folder: str) -> tuple[Received, NDArray[np.uint8]]:
        incoming = self.store.folder / folder / "incoming"
        write_bytes(incoming, photograph.content, lasting=False)
        try:
            came = received(Sent(incoming, photograph.eye, photograph.field))
            return came, came.image.photograph.read()
        except ValueError as error:
            raise ValueError(str(error).replace(str(incoming), "photograph")) from error
        finally:
            incoming.unlink()

    def _remove(self, folder: str) -> None:
        shutil.rmtree(self.store.folder / folder, ignore_errors=True)


def sentence_of(image: StoredImage) -> str:
    """Where what its heat map says in words lies."""
    return image.path.removesuffix(".png") + SENTENCE


def heat_of(image: StoredImage) -> str:
    """Where its heat map lies: RGBA, to be laid over it."""
    return image.path.removesuffix(".png") + HEAT


def _disc_alone(pixels: NDArray[np.uint8], why: Collection[Fault]) -> NDArray[np.uint8]:
    """What is burned in beside the disc is gone; of what shows no fundus, everything."""
    if Fault.NOT_A_FUNDUS in why:
        return np.zeros_like(pixels)
    return pixels * (fundus_mask(pixels) > 0)[..., None]
