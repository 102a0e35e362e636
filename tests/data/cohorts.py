from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teledx_fed.config.data import PartitionSettings
from teledx_fed.core.examples import Example

KEY = bytes(range(32))
SHARES = PartitionSettings()


@dataclass(frozen=True)
class Named:
    name: str

    def digest(self) -> str:
        return self.name

    def read(self) -> NDArray[np.uint8]:
        raise AssertionError("a partition looks at no photograph")


def patients(grades: Sequence[int], prefix: str = "p", camera: str = "one") -> tuple[Example, ...]:
    """Return two photographs of each patient: the left eye with the grade, the right eye without disease."""
    return tuple(
        Example(Named(f"{prefix}{i}-{eye}"), grade if eye == "left" else 0, f"{prefix}{i}", camera=camera)
        for i, grade in enumerate(grades)
        for eye in ("left", "right")
    )


GRADES = [0] * 40 + [1] * 8 + [2] * 16 + [3] * 4 + [4] * 3
