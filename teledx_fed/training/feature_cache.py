"""A frozen backbone sees each photograph once: its features are kept, by image and by weights."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from teledx_fed.files import write_array
from teledx_fed.model.network import Grader
from teledx_fed.records import Example, Images

BATCH = 32


class FeatureCache:
    """Keyed by the backbone's weights, the photograph's content and, through `folder`, how it was prepared.

    Every batch has the same size, padded where need be, so that a feature's bits do not depend on its company.
    """

    def __init__(self, folder: Path, network: Grader) -> None:
        self.network = network
        self.folder = folder / f"features-{_digest(network)}"

    def features(self, examples: Sequence[Example], images: Images) -> NDArray[np.float32]:
        """(n, d) in the order of `examples`."""
        missing = [example for example in _unique(examples) if not self._path(example).exists()]
        for start in range(0, len(missing), BATCH):
            self._compute(missing[start : start + BATCH], images)
        return np.stack([np.load(self._path(example)) for example in examples])

    def _path(self, example: Example) -> Path:
        digest = example.image.digest()
        return self.folder / digest[:2] / f"{digest}.npy"

    @torch.inference_mode()
    def _compute(self, examples: Sequence[Example], images: Images) -> None:
        padded = [*examples, *[examples[-1]] * (BATCH - len(examples))]
        pixels = torch.from_numpy(images.batch(padded)).permute(0, 3, 1, 2).to(self.network.device)
        features = self.network.eval().features(pixels).cpu().numpy()
        for example, row in zip(examples, features, strict=False):
            write_array(self._path(example), row)


def _unique(examples: Sequence[Example]) -> list[Example]:
    return list({example.image.digest(): example for example in examples}.values())


def _digest(network: Grader) -> str:
    digest = hashlib.sha256(network.device.type.encode())
    for name, tensor in network.backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    for scale in (network.mean, network.deviation):
        digest.update(scale.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
