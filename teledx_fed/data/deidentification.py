"""A DICOM photograph without its patient: what is known to be harmless, in a data set of its own.

The Basic Profile of PS3.15 Annex E lists what to remove; here is listed what stays, and all else was never there.
"""

import hmac
from collections.abc import Collection
from uuid import UUID

from pydicom import Dataset, uid

from teledx_fed.core.checks import must
from teledx_fed.core.examples import Eye, Field
from teledx_fed.data.dicom import DISC_CENTRED, MACULA_CENTRED, described
from teledx_fed.data.dicom_pixels import pixels
from teledx_fed.data.dicom_writing import code, stamped
from teledx_fed.data.preprocessing import fundus_mask

SIDES = {Eye.LEFT: "L", Eye.RIGHT: "R"}
POSITIONS = {Field.MACULA: (MACULA_CENTRED, "Macula centered"), Field.DISC: (DISC_CENTRED, "Disc centered")}
PROFILE = ("113100", "Basic Application Confidentiality Profile")
KEY_BYTES = 16


def pseudonym(key: bytes, patient_id: str) -> str:
    """Who a patient is to all but the holder of the site's `key`: 32 hexadecimal digits, HMAC-SHA256 (RFC 2104)."""
    return _keyed(key, "patient", patient_id.strip()).hex()[:32]


def pseudonymous_uid(key: bytes, identifier: str) -> uid.UID:
    """Equal for equal ones, so that studies and series stay together (PS3.5 B.2, from a UUID)."""
    return uid.UID(f"2.25.{UUID(bytes=_keyed(key, 'uid', identifier.strip())[:16], version=5).int}")


def deidentified(dataset: Dataset, key: bytes, cameras: Collection[str] = ()) -> Dataset:
    """A secondary capture of the fundus disc, 8 bits RGB, of a pseudonymous patient.

    Outside the disc it is black, for what is burned in there. `cameras` are names that may stand in it: a file can say
    anything instead of a camera. What has no patient stays without one; what has no study is one of its own.
    """
    name = "photograph"
    about = described(dataset, name)
    image = pixels(dataset, name)
    image = image * (fundus_mask(image) > 0)[..., None]
    shown = _keyed(key, "pixels", image.tobytes()).hex()
    study, series, instance = (
        pseudonymous_uid(key, stated or f"{level} of {shown}")
        for level, stated in (("study", about.study), ("series", about.series), ("instance", about.instance))
    )
    fresh = stamped(Dataset(), uid.SecondaryCaptureImageStorage, instance)
    fresh.StudyInstanceUID, fresh.SeriesInstanceUID = study, series
    fresh.PatientID = pseudonym(key, about.patient) if about.patient else ""
    fresh.Modality, fresh.ConversionType, fresh.ImageType = "OP", "WSD", ["DERIVED", "SECONDARY"]
    fresh.ImageLaterality = SIDES.get(about.eye, "U")
    fresh.ManufacturerModelName = about.camera if about.camera in cameras else ""
    if about.field in POSITIONS:
        fresh.RelativeImagePositionCodeSequence = [code(*POSITIONS[about.field])]
    fresh.BurnedInAnnotation = "NO" if about.free_of_text else "YES"
    fresh.PatientIdentityRemoved = "YES"
    fresh.LongitudinalTemporalInformationModified = "REMOVED"
    fresh.DeidentificationMethod = "Fresh data set from an allow-list, fundus disc only"
    fresh.DeidentificationMethodCodeSequence = [code(*PROFILE)]
    fresh.set_pixel_data(image, "RGB", 8, generate_instance_uid=False)
    return fresh


def _keyed(key: bytes, purpose: str, content: str | bytes) -> bytes:
    """Keyed by purpose: no pseudonym of a patient can be had by asking for that of something else."""
    must(len(key) >= KEY_BYTES, "pseudonym key", f"have at least {KEY_BYTES} bytes", len(key), "Draw a longer one.")
    content = content.encode() if isinstance(content, str) else content
    return hmac.digest(key, purpose.encode() + b"\0" + content, "sha256")
