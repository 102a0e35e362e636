"""Decode one photograph, assess its quality and prepare it for the model, each step once."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.clinical import Fault
from teledx_fed.core.examples import Photograph
from teledx_fed.data.disc import Disc, optic_disc_in
from teledx_fed.data.preprocessing import prepare_photograph
from teledx_fed.data.quality import QualityLimits, faults_of, signs_of
from teledx_fed.data.retina import find_retina


@dataclass(frozen=True)
class AssessedPhotograph:
    """A decoded photograph: all `pixels`, height × width × 3, RGB; `faults` are the reasons why it cannot be graded.

    `prepared` is the model's input, size × size × 3, None where the photograph shows no fundus. `disc` is the optic
    disc, None where the search found none.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    faults: tuple[Fault, ...]
    prepared: NDArray[np.uint8] | None = field(default=None, repr=False)
    disc: Disc | None = None


def assess(
    photograph: Photograph,
    size: int,
    ben_graham: bool = False,
    clahe: bool = False,
    faults: tuple[Fault, ...] | None = None,
) -> AssessedPhotograph:
    """Decode, assess and prepare a photograph. Raise a `DataError` where the file cannot be read.

    `faults` are those of the original file, if this one was blackened around the fundus.
    """
    pixels = photograph.read()
    retina = find_retina(pixels)
    if retina is None or faults is None:
        faults = faults_of(None if retina is None else signs_of(retina), QualityLimits())
    if retina is None or Fault.NOT_A_FUNDUS in faults:
        return AssessedPhotograph(pixels, faults)
    prepared = prepare_photograph(photograph, size, ben_graham, clahe, pixels)
    return AssessedPhotograph(pixels, faults, prepared, optic_disc_in(retina))
