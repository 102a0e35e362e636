"""Synthetic hospitals: fundus photographs drawn from a seed."""

import cmath
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from teledx_fed.config.data import HospitalSettings
from teledx_fed.core.checks import one_of
from teledx_fed.core.examples import GRADES, Collection, Example, Eye, Field, Identification
from teledx_fed.core.randomness import generator
from teledx_fed.data import anatomy, drawing
from teledx_fed.data.cameras import CAMERAS, CENTRE, SIZE, Camera, CameraView
from teledx_fed.data.lesion_placement import FundusView, findings
from teledx_fed.data.lesions import LESIONS, OEDEMA, OF_THE_EYE, OF_THE_PHOTOGRAPH, Finding, FindingKind

DRAWING_VERSION = 2
"""Increase it when a change of the code gives other pixels for the same specification."""
SAME_GRADE = 0.7
"""The share of patients whose eyes have the same grade; the others' grades differ by one."""
DISC_FIELD = 0.15
"""The share of eyes with a second photograph, centred on the disc."""


@dataclass(frozen=True)
class SyntheticPhotograph:
    """A photograph that each `read` draws again, from these fields alone."""

    seed: int
    patient: str
    eye: Eye
    field: Field
    grade: int
    oedema: bool
    camera: str

    @property
    def name(self) -> str:
        return f"{self.patient}_{self.eye}_{self.field}"

    def digest(self) -> str:
        return hashlib.sha256(repr((DRAWING_VERSION, *astuple(self))).encode()).hexdigest()

    def lesions(self) -> tuple[Finding, ...]:
        """Return every lesion of retinopathy in the photograph, in pixels, without distractors."""
        eye = self._anatomy()
        return tuple(finding for finding in self._findings(eye, self._view(eye)) if finding.kind in LESIONS)

    def lesion_mask(self) -> NDArray[np.bool_]:
        """Return the mask of these lesions, SIZE × SIZE."""
        return drawing.covered(self.lesions())

    def size(self) -> tuple[int, int]:
        return SIZE, SIZE

    def read(self) -> NDArray[np.uint8]:
        eye = self._anatomy()
        view = self._view(eye)
        return drawing.photograph(
            eye,
            view,
            CAMERAS[self.camera],
            self._findings(eye, view),
            self._generator(f"{self.eye} {self.field} pixels"),
        )

    def _generator(self, purpose: str) -> np.random.Generator:
        return generator(self.seed, self.patient, purpose=purpose)

    def _anatomy(self) -> anatomy.EyeAnatomy:
        return anatomy.eye(self._generator("both eyes"), self._generator(f"{self.eye} eye"))

    def _view(self, eye: anatomy.EyeAnatomy) -> CameraView:
        """Draw a view with a photographer's small errors of aim and tilt."""
        camera = CAMERAS[self.camera]
        right, down, tilt = self._generator(f"{self.eye} {self.field} view").uniform(-0.1, 0.1, 3).tolist()
        aim = complex(right, down) + (eye.disc if self.field is Field.DISC else 0)
        return CameraView(aim, cmath.rect(camera.radius / camera.reach, tilt), mirrored=self.eye is Eye.LEFT)

    def _findings(self, eye: anatomy.EyeAnatomy, view: CameraView) -> tuple[Finding, ...]:
        """Draw lesions and distractors, in pixels: those around the fovea, and beyond for a disc-centred field."""
        camera = CAMERAS[self.camera]
        macula, field_view = (
            FundusView(eye, camera, 0),
            FundusView(eye, camera, eye.disc if self.field is Field.DISC else 0),
        )

        def drawn(purpose: str, kinds: tuple[FindingKind, ...], fundus: FundusView) -> tuple[Finding, ...]:
            return findings(self._generator(purpose), kinds, self.grade, fundus, self.oedema and fundus is macula)

        drawings = drawn(f"{self.eye} lesions", LESIONS, macula) + drawn(f"{self.eye} distractors", OF_THE_EYE, macula)
        if self.field is Field.DISC:
            nasal = drawn(f"{self.eye} nasal lesions", LESIONS, field_view)
            drawings += tuple(finding for finding in nasal if not macula.holds(np.array(finding.centre), 0))
        drawings += drawn(f"{self.eye} {self.field} distractors", OF_THE_PHOTOGRAPH, field_view)
        projected = [_projected(finding, view) for finding in drawings]
        return tuple(finding for finding in projected if _in_view(finding, camera))


def _projected(finding: Finding, view: CameraView) -> Finding:
    centre = complex(view.pixels(np.array(finding.centre)))
    return replace(finding, centre=centre, radius=abs(view.zoom) * finding.radius)


def _in_view(finding: Finding, camera: Camera) -> bool:
    offset = (finding.centre - CENTRE) / (camera.radius / camera.reach)
    return bool(camera.sees(np.array(offset)))


def hospital(name: str, settings: HospitalSettings, seed: int) -> Collection:
    """Draw a hospital's patients: a macula-centred photograph of each eye, and for some eyes a disc-centred one."""
    one_of(f"data.hospitals.{name}.camera", settings.camera, CAMERAS)
    rng = generator(seed, name, purpose="grades")
    grades = rng.permutation(np.repeat(np.arange(GRADES), shares(settings.patients, settings.prevalence)))
    examples = [
        example
        for number, grade in enumerate(grades.tolist())
        for example in _examples(f"{name}-{number:04d}", grade, settings.camera, name, seed)
    ]
    return Collection(tuple(examples), Identification.GIVEN)


def _examples(patient: str, grade: int, camera: str, source: str, seed: int) -> Iterator[Example]:
    rng = generator(seed, patient, purpose="grades")
    fellow = grade if rng.random() < SAME_GRADE else int(np.clip(grade + rng.choice((-1, 1)), 0, GRADES - 1))
    grades = rng.permutation((grade, fellow)).tolist()
    for eye, eye_grade in zip((Eye.RIGHT, Eye.LEFT), grades, strict=True):
        oedema = bool(rng.random() < OEDEMA[eye_grade])
        fields = (Field.MACULA, Field.DISC) if rng.random() < DISC_FIELD else (Field.MACULA,)
        for field in fields:
            image = SyntheticPhotograph(seed, patient, eye, field, eye_grade, oedema, camera)
            yield Example(image, eye_grade, patient, eye, field, oedema, camera, source=source)


def shares(total: int, prevalence: Sequence[float]) -> NDArray[np.int64]:
    """Divide `total` into whole parts close to `prevalence`, at least one of each positive share if possible."""
    exact = total * np.asarray(prevalence)
    counts: NDArray[np.int64] = np.maximum(np.floor(exact), exact > 0).astype(np.int64)
    while (missing := total - counts.sum()) > 0:
        counts[np.argsort(counts - exact)[:missing]] += 1
    while counts.sum() > total:
        counts[counts.argmax()] -= 1
    return counts
