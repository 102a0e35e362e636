"""A frozen backbone sees each photograph once: its features are kept, by image and by weights."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from teledx_fed.files import write_array
from teledx_fed.model.network import Grader
from teledx_fed.records import Example, Images, Photograph

BATCH = 32


class FeatureCache:
    """Keyed by the backbone's weights, the photograph's content and, through `folder`, how it was prepared.

    Every batch has the same size, padded where need be, so that a feature's bits do not depend on its company.
    """

    def __init__(self, folder: Path, network: Grader) -> None:
        self.network = network
        self.folder = folder / f"features-{_digest(network)}"
        self._rows: dict[Photograph, NDArray[np.float32]] = {}

    def features(self, examples: Sequence[Example], images: Images) -> NDArray[np.float32]:
        """(n, d) in the order of `examples`."""
        unknown = {example.image: example for example in examples if example.image not in self._rows}
        paths = {photograph: self._path(photograph) for photograph in unknown}
        missing = [example for photograph, example in unknown.items() if not paths[photograph].exists()]
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            for example, row in zip(batch, self._computed(batch, images), strict=True):
                write_array(paths[example.image], row)
        self._rows |= {photograph: np.load(path) for photograph, path in paths.items()}
        return np.stack([self._rows[example.image] for example in examples])

    def _path(self, photograph: Photograph) -> Path:
        digest = photograph.digest()
        return self.folder / digest[:2] / f"{digest}.npy"

    @torch.inference_mode()
    def _computed(self, examples: Sequence[Example], images: Images) -> NDArray[np.float32]:
        padded = [*examples, *[examples[-1]] * (BATCH - len(examples))]
        pixels = torch.from_numpy(images.batch(padded)).permute(0, 3, 1, 2).to(self.network.device)
        features: NDArray[np.float32] = self.network.eval().features(pixels).cpu().numpy()
        return features[: len(examples)]


def _digest(network: Grader) -> str:
    digest = hashlib.sha256(network.device.type.encode())
    for name, tensor in network.backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    for scale in (network.mean, network.deviation):
        digest.update(scale.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
