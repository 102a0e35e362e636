"""De-identify a DICOM photograph: copy harmless elements from an allow-list into a new data set.

The Basic Profile of PS3.15 Annex E lists elements to remove; here a list names those to keep.
"""

import hmac
from collections.abc import Collection
from uuid import UUID

from pydicom import Dataset, uid

from teledx_fed.core.checks import must
from teledx_fed.core.examples import Eye, Field
from teledx_fed.data.dicom import DISC_CENTRED, MACULA_CENTRED, described
from teledx_fed.data.dicom_pixels import pixels
from teledx_fed.data.dicom_writing import code, with_identity
from teledx_fed.data.preprocessing import fundus_mask

SIDES = {Eye.LEFT: "L", Eye.RIGHT: "R"}
POSITIONS = {Field.MACULA: (MACULA_CENTRED, "Macula centered"), Field.DISC: (DISC_CENTRED, "Disc centered")}
PROFILE = ("113100", "Basic Application Confidentiality Profile")
KEY_BYTES = 16


def pseudonym(key: bytes, patient_id: str) -> str:
    """Return a patient's pseudonym under the site's `key`: 32 hexadecimal digits, HMAC-SHA256 (RFC 2104)."""
    return _keyed(key, "patient", patient_id.strip()).hex()[:32]


def pseudonymous_uid(key: bytes, identifier: str) -> uid.UID:
    """Return a UID's pseudonym: equal UIDs stay equal, so that studies and series stay together (PS3.5 B.2)."""
    return uid.UID(f"2.25.{UUID(bytes=_keyed(key, 'uid', identifier.strip())[:16], version=5).int}")


def deidentified(dataset: Dataset, key: bytes, cameras: Collection[str] = ()) -> Dataset:
    """Make a secondary capture of the fundus disc, 8 bits RGB, of a pseudonymous patient.

    It is black outside the disc, where text may be burned in. Only camera names in `cameras` are kept, since a file can
    contain any text there. A file without a patient stays without one; a file without a study gets a new one.
    """
    name = "photograph"
    header = described(dataset, name)
    image = pixels(dataset, name)
    image = image * (fundus_mask(image) > 0)[..., None]
    digest = _keyed(key, "pixels", image.tobytes()).hex()
    study, series, instance = (
        pseudonymous_uid(key, stated or f"{level} of {digest}")
        for level, stated in (("study", header.study), ("series", header.series), ("instance", header.instance))
    )
    copy = with_identity(Dataset(), uid.SecondaryCaptureImageStorage, instance)
    copy.StudyInstanceUID, copy.SeriesInstanceUID = study, series
    copy.PatientID = pseudonym(key, header.patient) if header.patient else ""
    copy.Modality, copy.ConversionType, copy.ImageType = "OP", "WSD", ["DERIVED", "SECONDARY"]
    copy.ImageLaterality = SIDES.get(header.eye, "U")
    copy.ManufacturerModelName = header.camera if header.camera in cameras else ""
    if header.field in POSITIONS:
        copy.RelativeImagePositionCodeSequence = [code(*POSITIONS[header.field])]
    copy.BurnedInAnnotation = "NO" if header.free_of_text else "YES"
    copy.PatientIdentityRemoved = "YES"
    copy.LongitudinalTemporalInformationModified = "REMOVED"
    copy.DeidentificationMethod = "Fresh data set from an allow-list, fundus disc only"
    copy.DeidentificationMethodCodeSequence = [code(*PROFILE)]
    copy.set_pixel_data(image, "RGB", 8, generate_instance_uid=False)
    return copy


def _keyed(key: bytes, purpose: str, content: str | bytes) -> bytes:
    """Compute an HMAC for one purpose, so that pseudonyms of different kinds never coincide."""
    must(len(key) >= KEY_BYTES, "pseudonym key", f"have at least {KEY_BYTES} bytes", len(key), "Draw a longer one.")
    content = content.encode() if isinstance(content, str) else content
    return hmac.digest(key, purpose.encode() + b"\0" + content, "sha256")
