"""Studies to read, and the choices of the reading form."""

import hashlib
from datetime import UTC, datetime
from uuid import uuid4

from clinic_reader import Reader

from teledx_fed.core.clinical import Action, Certainty, Diagnosis, EyeDiagnosis, Fault, Graded
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.store.values import Arrival, LoggedIn, Role, StoredImage, User

NONE = Graded((0.9, 0.04, 0.03, 0.02, 0.01), (0, 1), 0.06, 0.03, False, False)


ANSWERS = ("right_grade", "right_oedema", "left_grade", "left_oedema", "urgency")


ANNA = LoggedIn(User("anna", Role.READER, None, False), "", datetime(2026, 1, 1, tzinfo=UTC))


def suggestion(certainty: Certainty = Certainty.CONFIDENT, graded: Graded | None = NONE) -> Diagnosis:
    """Return the same suggestion for both eyes: no retinopathy, or no grade."""
    reasons = (Fault.BLURRED,) if certainty is Certainty.UNGRADABLE else ()
    eyes = tuple(EyeDiagnosis(eye, certainty, Action.RESCREEN, reasons, graded) for eye in (Eye.RIGHT, Eye.LEFT))
    return Diagnosis(eyes, certainty, Action.RESCREEN, 12, "a" * 64, False)


def add_study(clinic: Clinic, *eyes: Eye) -> str:
    arrival = Arrival(uuid4().hex, "device/camera", files(clinic, *eyes))
    return clinic.store.add_study(arrival, diagnosis=suggestion()).study.id


def files(clinic: Clinic, *eyes: Eye) -> tuple[StoredImage, ...]:
    """Make an empty file for each eye: these tests do not open photographs."""
    digests = {eye: hashlib.sha256(uuid4().bytes).hexdigest() for eye in eyes}
    for digest in digests.values():
        (clinic.store.folder / digest).touch()
    return tuple(StoredImage(digest, digest, 9, 9, eye) for eye, digest in digests.items())


def form_of(page: str) -> str:
    return page.partition('class="reading"')[2].partition("</form>")[0]


ROWS = ("Right eye", "Left eye", "Management")


RIGHT = ("Gradable: 1 mild non-proliferative retinopathy", "No macular oedema", "no apparent retinopathy", "differs")


LEFT = ("Not gradable", "Macular oedema cannot be judged", "Cataract", "no apparent retinopathy", "differs")


MANAGED = ("Refer to an ophthalmologist", "Photograph again at the next screening", "differs")


def line_of(reader: Reader, study: str) -> str:
    """Return the study's line in the worklist."""
    before, link, after = reader.get("/").text.partition(study)
    assert link
    return before.rpartition("<tr")[2] + after.partition("</tr>")[0]
