"""Storage of photographs in the clinic's image folder: the fundus alone, its result and its maps."""

import hashlib
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.checks import must
from teledx_fed.core.clinical import Fault, Gap
from teledx_fed.core.errors import DataError
from teledx_fed.core.files import write_bytes
from teledx_fed.data.array_photographs import PhotographInMemory
from teledx_fed.data.comparison import is_same_photograph
from teledx_fed.data.dicom import DicomHeader
from teledx_fed.data.disc import optic_disc
from teledx_fed.data.photographs import png, stored_photograph
from teledx_fed.data.preprocessing import fundus_mask, prepare
from teledx_fed.data.summary import maker_of
from teledx_fed.diagnosis.diagnose import assess_photograph
from teledx_fed.diagnosis.evidence import MapKind, map_of, write_map
from teledx_fed.diagnosis.intake import MOST_IMAGES, DecodedPhotograph, PhotographUpload, decode
from teledx_fed.diagnosis.judgement import PhotographResult
from teledx_fed.model.bundle import WEIGHTS, Bundle
from teledx_fed.store.database import StoreError
from teledx_fed.store.values import StoredImage, StoredStudy

if TYPE_CHECKING:
    from teledx_fed.diagnosis.explain import Explainer


@dataclass(frozen=True)
class StoredPhotograph:
    """A stored photograph with its result. `header` identifies people: only the identified store keeps it."""

    image: StoredImage
    result: PhotographResult
    derivatives: tuple[str, ...]
    header: DicomHeader | None

    def with_doubts(self, more: Sequence[Gap]) -> "StoredPhotograph":
        doubts = (*self.image.doubts, *more)
        return replace(self, image=replace(self.image, doubts=doubts), result=replace(self.result, doubts=doubts))


class PhotographStore:
    """Decode, assess and store photographs, at most `threads` at once, to limit memory."""

    def __init__(
        self, folder: Path, bundle: Bundle, pseudonymous: Callable[[str], str], threads: int, most_pixels: int
    ) -> None:
        """`pseudonymous` returns the pseudonym of a SOPInstanceUID."""
        self._folder, self._bundle, self._pseudonymous = folder, bundle, pseudonymous
        self._most_pixels, self._workers = most_pixels, ThreadPoolExecutor(threads)

    def close(self) -> None:
        self._workers.shutdown()

    def decode(self, upload: PhotographUpload, name: str = "the photograph") -> DecodedPhotograph:
        """Decode a photograph without storing it; raise a `DataError` if it cannot be read."""
        folder = new_folder()
        try:
            return self._workers.submit(self._decode, upload, folder, name).result()
        finally:
            self.remove(folder)

    @contextmanager
    def study_folder(self, is_stored: Callable[[str], bool]) -> Iterator[str]:
        """Yield a new folder for photographs; delete it after any exception, unless the database has its photographs.

        The connection can break after a commit. If the database cannot say, `Retention.stray_files` finds the files.
        """
        folder = new_folder()
        try:
            yield folder
        except BaseException:
            with suppress(StoreError):
                if not is_stored(folder):
                    self.remove(folder)
            raise

    def keep(self, uploads: Sequence[PhotographUpload], folder: str) -> list[StoredPhotograph]:
        check_count(len(uploads))
        numbered = enumerate(uploads, start=1)
        stored = [self._workers.submit(self._keep, number, upload, folder) for number, upload in numbered]
        wait(stored)
        return [photograph.result() for photograph in stored]

    def distinct(self, photographs: Sequence[StoredPhotograph]) -> list[StoredPhotograph]:
        """Return the first photograph of each SOPInstanceUID; raise a `DataError` if others with it differ."""
        first = dict[str, StoredPhotograph]()
        for photograph in photographs:
            earlier = first.setdefault(photograph.image.instance or uuid4().hex, photograph)
            if earlier is not photograph:
                check_same(self.pixels(earlier.image), self.pixels(photograph.image))
        return list(first.values())

    def results(self, stored: StoredStudy) -> list[Future[PhotographResult]]:
        """Run the model again on a study's photographs, with their stored quality faults."""
        images = zip(stored.study.images, stored.images, strict=True)
        return [self._workers.submit(assess_photograph, image, self._bundle, row.faults) for image, row in images]

    def find(self, stored: StoredStudy, instance: str, pixels: NDArray[np.uint8]) -> StoredImage | None:
        """Find a study's photograph by SOPInstanceUID; raise a `DataError` if its pixels differ from `pixels`."""
        id = self._pseudonymous(instance)
        image = next((image for image in stored.images if image.instance == id), None)
        if image is not None:
            check_same(self.pixels(image), _fundus_alone(pixels, image.faults))
        return image

    def explain(self, stored: StoredStudy, kind: MapKind) -> list[str]:
        """Compute this kind of map for each photograph with a heat map; return the paths of the new files."""
        missing = [
            image
            for image in stored.images
            if (self._folder / map_of(image)).exists() and not (self._folder / map_of(image, kind)).exists()
        ]
        return [path for image in missing for path in self._workers.submit(self._explain, image, kind).result()]

    def pixels(self, image: StoredImage) -> NDArray[np.uint8]:
        return stored_photograph(self._folder / image.path).read()

    def remove(self, folder: str) -> None:
        shutil.rmtree(self._folder / folder, ignore_errors=True)

    def _decode(self, upload: PhotographUpload, folder: str, name: str) -> DecodedPhotograph:
        incoming = self._folder / folder / uuid4().hex
        write_bytes(incoming, upload.read_bytes(), lasting=False)
        try:
            return decode(replace(upload, content=incoming), self._most_pixels)
        except DataError as error:
            raise DataError(str(error).replace(str(incoming), name)) from error
        finally:
            incoming.unlink()

    def _keep(self, number: int, upload: PhotographUpload, folder: str) -> StoredPhotograph:
        """Store and assess a photograph; of its file, store only the pixels of the fundus."""
        decoded = self._decode(upload, folder, f"photograph {number}")
        pixels = _fundus_alone(decoded.pixels, decoded.faults)
        content, (height, width) = png(pixels), pixels.shape[:2]
        digest = hashlib.sha256(content).hexdigest()
        path = f"{folder}/{number}-{digest}.png"
        write_bytes(self._folder / path, content)
        photograph = PhotographInMemory(path, pixels)
        image = replace(decoded.image, photograph=photograph, camera=self._camera(decoded.image.camera))
        result = assess_photograph(image, self._bundle, decoded.faults)
        header = decoded.header
        instance = self._pseudonymous(header.instance) if header and header.instance else None
        stored = StoredImage(
            *(digest, path, width, height, image.eye, image.field, image.camera),
            *(decoded.faults, result.doubts, instance),
        )
        maps = () if result.heat is None else write_map(self._folder, stored, result, MapKind.HEAT_MAP)
        return StoredPhotograph(stored, replace(result, pixels=None, heat=None), maps, header)

    def _camera(self, camera: str) -> str:
        """Return a camera of the training set unchanged, else only its maker: a file can state any camera."""
        return camera if camera in self._bundle.manifest.scope.cameras else maker_of(camera)

    def _explain(self, image: StoredImage, kind: MapKind) -> tuple[str, ...]:
        pixels, preparation = self.pixels(image), self._bundle.manifest.preparation
        prepared = prepare(pixels, preparation.image_size, preparation.ben_graham, preparation.clahe)
        result = PhotographResult(
            image.eye, image.field, disc=optic_disc(pixels), pixels=pixels, heat=self._explainer(prepared, kind)
        )
        return write_map(self._folder, image, result, kind)

    @cached_property
    def _explainer(self) -> "Explainer":
        """Loaded on first use: PyTorch takes seconds and memory."""
        from teledx_fed.diagnosis.explain import Explainer

        self._bundle.content(WEIGHTS)  # checks the digest
        return Explainer(self._bundle.folder / WEIGHTS)


def new_folder() -> str:
    return f"studies/{uuid4().hex}"


def check_same(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> None:
    """Raise a `DataError` if two files with one SOPInstanceUID show different photographs."""
    must(
        is_same_photograph(first, second),
        "SOPInstanceUID",
        "be one photograph's alone",
        "two that differ",
        "Have the camera number each photograph.",
        DataError,
    )


def check_count(count: int) -> None:
    must(
        0 < count <= MOST_IMAGES,
        "the study",
        f"have 1 to {MOST_IMAGES} photographs",
        count,
        "Choose some, or send the others in another study.",
        DataError,
    )


def _fundus_alone(pixels: NDArray[np.uint8], faults: Collection[Fault]) -> NDArray[np.uint8]:
    """Blacken pixels outside the fundus, where text may be burned in; all pixels if there is no fundus."""
    if Fault.NOT_A_FUNDUS in faults:
        return np.zeros_like(pixels)
    return pixels * (fundus_mask(pixels) > 0)[..., None]
