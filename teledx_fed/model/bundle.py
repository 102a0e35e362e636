"""Model bundle for diagnosis: a folder with the network, and a manifest with its purpose and file hashes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from teledx_fed.core.errors import IntegrityError
from teledx_fed.core.examples import GRADES
from teledx_fed.core.operating_points import OperatingPoints
from teledx_fed.model.network_card import NetworkCard
from teledx_fed.model.runtime import Runtime

FORMAT = 2
MANIFEST, WEIGHTS, GRAPH = "bundle.json", "model.safetensors", "model.onnx"


@dataclass(frozen=True)
class Preparation:
    """How photographs become network inputs: `steps` in words, `version` of the code that prepares them."""

    version: int
    image_size: int
    ben_graham: bool
    clahe: bool
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """Calibration on a hospital's validation set, with its number of `eyes` and `patients`.

    Probabilities use logits divided by `temperature`. Grades of probability `possible` or more include the true one in
    `coverage` of eyes. Operating points use probabilities of logits that are not divided.
    """

    temperature: float
    coverage: float
    possible: float
    points: OperatingPoints
    eyes: int
    patients: int


@dataclass(frozen=True)
class Scope:
    """Training photographs: their cameras where recorded, and the shortest side of any of them in pixels."""

    cameras: tuple[str, ...]
    shortest_side: int


@dataclass(frozen=True)
class Manifest:
    """`trained` describes the training; `demonstration`: on synthetic eyes, not for patients."""

    site: str
    release: str
    demonstration: bool
    preparation: Preparation
    calibration: Calibration
    scope: Scope
    trained: Mapping[str, str | int | float | None]
    network: NetworkCard | None = None
    """Set when the bundle is written."""
    format: int = FORMAT
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by file name."""


MANIFESTS = TypeAdapter(Manifest)


@dataclass(frozen=True)
class Outputs:
    """Outputs for b images: logits (b, 5), oedema logits (b,) or None, and feature maps (b, c, h, w)."""

    logits: NDArray[np.float32]
    oedema: NDArray[np.float32] | None
    maps: NDArray[np.float32]


class Bundle:
    """A bundle, without PyTorch. Raises `IntegrityError` for a missing or changed file, or another version."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder, self._threads = folder, threads
        written = _content(folder, MANIFEST)
        self.digest = hashlib.sha256(written).hexdigest()
        try:
            self.manifest = MANIFESTS.validate_json(written)
        except ValidationError as error:
            first = error.errors()[0]
            raise _refused(folder, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        if self.manifest.format != FORMAT:
            raise _refused(folder, f"format {self.manifest.format}, not {FORMAT}")
        if set(self.manifest.files) != {WEIGHTS, GRAPH}:
            raise _refused(folder, f"hashes of {sorted(self.manifest.files)}")
        for name in self.manifest.files:
            self.content(name)

    def content(self, name: str) -> bytes:
        """Read a file of the bundle. Raise an `IntegrityError` if its hash differs from the manifest.

        Files are read again at first use: meanwhile another model may have replaced this one in the folder.
        """
        content = _content(self.folder, name)
        if hashlib.sha256(content).hexdigest() != self.manifest.files[name]:
            raise _refused(self.folder, f"{name} is not as it was written")
        return content

    @property
    def replaced(self) -> bool:
        """Whether the folder now contains another bundle, or none."""
        file = self.folder / MANIFEST
        return not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != self.digest

    def __call__(self, images: NDArray[np.uint8]) -> Outputs:
        """Return outputs of prepared photographs (b, s, s, 3)."""
        logits, maps = self._runtime.outputs(images)
        return Outputs(logits[:, :GRADES], logits[:, GRADES] if logits.shape[1] > GRADES else None, maps)

    @cached_property
    def head(self) -> NDArray[np.float32]:
        """Weights (5, c): logits are their product with the feature maps' means, plus a bias."""
        return np.asarray(safetensors.numpy.load(self.content(WEIGHTS))["head.weight"])

    @cached_property
    def _runtime(self) -> Runtime:
        return Runtime(self.content(GRAPH), self._threads)


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise _refused(folder, f"{name}: {error.strerror}") from error


def _refused(folder: Path, got: str) -> IntegrityError:
    return IntegrityError(f"{folder} must be a model bundle of this version, whole, got {got}. Copy it again.")
