"""A camera that sends photographs over DICOM, and its helpers."""

import io
from collections.abc import Callable

import numpy as np
from dicom_files import photograph
from PIL import Image
from pydicom import Dataset
from pynetdicom import Association

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.store.values import StoredStudy

OPHTHALMIC, VERIFICATION = "1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.1.1"
Associate = Callable[..., Association]


class Camera:
    """A camera that opens a new association for each photograph."""

    def __init__(self, associate: Associate) -> None:
        self.associate = associate

    def send(self, *datasets: Dataset) -> list[Dataset]:
        answers = []
        for dataset in datasets:
            association = self.associate()
            answers.append(association.send_c_store(dataset))
            association.release()
        return answers


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)


def eye(content: bytes, side: str, **values: object) -> Dataset:
    return photograph(pixels(content), **{"ImageLaterality": side, "SOPInstanceUID": f"1.2.3.{ord(side)}", **values})


def the_study(clinic: Clinic) -> StoredStudy:
    (entry,) = (*clinic.store.worklist(), *clinic.store.signed())
    return clinic.store.study(entry.id)
