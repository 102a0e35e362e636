"""Send some inputs to a clinic in its own process: `python -m benchmarks.fuzzing.trial KIND FIRST END FOLDER`.

Each input gives one JSON line with its result; a last line lists files that were left behind. `material` writes
FOLDER/material; the trial writes everything else in FOLDER.
"""

import json
import os
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient
from numpy.random import Generator
from PIL import Image
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.fuzzing import dicom, formats
from benchmarks.fuzzing.clinic import TrialClinic
from benchmarks.fuzzing.malformed_inputs import malformed
from benchmarks.fuzzing.mutations import ANY, mutated, one
from benchmarks.fuzzing.requests import Request
from benchmarks.fuzzing.templates import OF_DEVICES, OF_PEOPLE
from benchmarks.measure import peak_memory
from teledx_fed.core.errors import TeledxError
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.intake import PhotographUpload, StudyUpload, decode
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.settings import DiagnosisSettings

FILES = ("JPEG", "PNG", "TIFF", "BMP", "DICOM")
REQUESTS = {"requests of devices": OF_DEVICES, "requests of people": OF_PEOPLE}
KINDS = (*FILES, *REQUESTS)
MOST_MEMORY_GIB = 6
VAST = 0.005
"""Share of files with almost as many pixels as the limit allows."""
REFUSAL = " must "
"""Every intended refusal of a file contains it."""


class Fate(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    CRASHED = "crashed"
    ERROR = "error"
    """HTTP 500."""


@dataclass(frozen=True)
class InputResult:
    """Result of an input. `why` describes a failure, and is empty otherwise."""

    number: int
    fate: Fate
    why: str = ""


class Trial:
    def __init__(self, folder: Path) -> None:
        self.trial_clinic = TrialClinic(folder)
        site = _from_many_addresses(app(self.trial_clinic.clinic, DiagnosisSettings()))
        self._client = TestClient(site, base_url="http://127.0.0.1", follow_redirects=False)
        with Image.open(folder / "material" / "eye.png") as eye:
            photograph = eye.convert("RGB")
        self._starts = {kind: formats.written(photograph, kind) for kind in formats.OF_FORMAT}
        self._dicom = dicom.photographs(photograph)

    def run(self, kind: str, number: int) -> InputResult:
        """Return the result of one input; kind and number determine it. Keep the input if it failed."""
        rng = np.random.default_rng([KINDS.index(kind), number])
        message = self._request(kind, rng) if kind in REQUESTS else self._file(kind, rng)
        file = self.trial_clinic.folder / "inputs" / f"{kind} {number}"
        file.write_bytes(message if isinstance(message, bytes) else repr(message).encode())
        result = InputResult(number, *self._send(message, rng))
        if not result.why:
            file.unlink()
        return result

    def _request(self, kind: str, rng: Generator) -> Request:
        def files() -> bytes:
            return one(one(starts, rng), rng) if rng.random() < 0.7 else self._file(one(FILES, rng), rng)

        starts = [*self._starts.values()]
        return malformed(one(REQUESTS[kind], rng)(self.trial_clinic.secrets(), files, rng), rng)

    def _file(self, kind: str, rng: Generator) -> bytes:
        if rng.random() < VAST and (vast := self.trial_clinic.folder / "material" / "vast" / kind).exists():
            return mutated(vast.read_bytes(), rng, ANY, most=1) if rng.random() < 0.5 else vast.read_bytes()
        if kind == "DICOM":
            content = dicom.file_of(dicom.changed(one(self._dicom, rng), rng))
            return mutated(content, rng, ANY, most=2) if rng.random() < 0.5 else content
        return mutated(one(self._starts[kind], rng), rng, (*ANY, *[formats.OF_FORMAT[kind]] * len(ANY)))

    def _send(self, message: Request | bytes, rng: Generator) -> tuple[Fate, str]:
        try:
            return self._of_request(message) if isinstance(message, Request) else self._of_file(message, rng)
        except Exception:  # noqa: BLE001 - whatever it is, it is counted, and the next input comes
            return Fate.ERROR if isinstance(message, Request) else Fate.CRASHED, traceback.format_exc()

    def _of_file(self, content: bytes, rng: Generator) -> tuple[Fate, str]:
        try:
            one(PATHS, rng)(self.trial_clinic, content, rng)
        except TeledxError as error:
            if REFUSAL not in str(error) or str(self.trial_clinic.folder / "clinic") in str(error):
                raise
            return Fate.REFUSED, ""
        return Fate.ACCEPTED, ""

    def _of_request(self, request: Request) -> tuple[Fate, str]:
        url = self._client.base_url.copy_with(raw_path=request.path)
        message = self._client.build_request(request.method, url, headers=list(request.headers), content=request.body)
        response = self._client.send(message)
        self._client.cookies.clear()
        if response.status_code >= 500 or str(self.trial_clinic.folder) in response.text:
            return Fate.ERROR, f"{response.status_code} {response.text}"
        is_refused = response.status_code >= 400 or response.headers.get("location") == "/login"
        return Fate.REFUSED if is_refused else Fate.ACCEPTED, ""


def _from_many_addresses(site: FastAPI) -> ASGIApp:
    """Give each request another address: an address must wait after five wrong passwords."""
    addresses = count(int(IPv4Address("10.0.0.0")))

    async def send_on(scope: Scope, receive: Receive, send: Send) -> None:
        await site({**scope, "client": (str(IPv4Address(next(addresses))), 1)}, receive, send)

    return send_on


def _receive(trial_clinic: TrialClinic, content: bytes, rng: Generator) -> None:
    trial_clinic.clinic.receive(
        StudyUpload(rng.bytes(8).hex(), "device/camera", (PhotographUpload(content, Eye.LEFT),))
    )


def _decode(trial_clinic: TrialClinic, content: bytes, rng: Generator) -> None:
    trial_clinic.clinic.photographs.decode(PhotographUpload(content))


def _read_file(trial_clinic: TrialClinic, content: bytes, rng: Generator) -> None:
    file = trial_clinic.folder / "tmp" / "sent"
    file.write_bytes(content)
    try:
        decode(PhotographUpload(file))
    finally:
        file.unlink()


PATHS: tuple[Callable[[TrialClinic, bytes, Generator], None], ...] = (_receive, _decode, _read_file)


def main(kind: str, first: str, end: str, where: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_GIB * 2**30,) * 2)
    folder = Path(where).absolute()
    trial = Trial(folder)
    print(json.dumps({"ready": True}), flush=True)
    os.chdir(folder / "work")
    tempfile.tempdir = str(folder / "tmp")
    for number in range(int(first), int(end)):
        print(json.dumps(asdict(trial.run(kind, number))), flush=True)
    print(json.dumps({"traces": trial.trial_clinic.traces(), "mib": peak_memory()}), flush=True)
    trial.trial_clinic.clinic.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
