"""Milliseconds of one core to draw a synthetic photograph, compared with the limit of 40."""

import time
from statistics import median

from benchmarks.measure import print_result
from teledx_fed.config.data import HospitalSettings
from teledx_fed.core.examples import Example
from teledx_fed.data.cameras import CAMERAS
from teledx_fed.data.synthetic import hospital

ALLOWED_MS = 40
PATIENTS = 20


def main() -> None:
    drawn = {camera: hospital(camera, HospitalSettings(PATIENTS, camera), seed=0) for camera in CAMERAS}
    sides = {camera: median(map(_milliseconds, collection.examples)) for camera, collection in drawn.items()}
    print_result(
        "drawing",
        {"of_allowed": max(sides.values()) / ALLOWED_MS},
        at_most={"of_allowed": 1.0},
        sides={f"{camera}_ms": value for camera, value in sides.items()},
    )


def _milliseconds(example: Example) -> float:
    began = time.process_time()
    example.image.read()
    return 1000 * (time.process_time() - began)


if __name__ == "__main__":
    main()
