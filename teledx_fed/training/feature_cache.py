"""Cache on disk of the features of a frozen network part, by photograph, view and weights."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from teledx_fed.core.devices import to_device
from teledx_fed.core.examples import Example, Images, Photograph
from teledx_fed.core.randomness import torch_generator
from teledx_fed.data.array_store import ArrayStore
from teledx_fed.data.augmentation import AUGMENTATION_VERSION, augment
from teledx_fed.model.export import EXPORT_VERSION, export
from teledx_fed.model.network import Grader
from teledx_fed.model.runtime import Runtime, has_cuda, identity

BATCH = 32

AugmentedView = int | None
"""Number of an augmented view, or None for the photograph without augmentation."""

Views = tuple[AugmentedView, ...]
PLAIN: Views = (None,)

Gather = Callable[[Tensor, Tensor], Tensor]
"""Function of b indices of views and b of examples; returns features (b, d) or feature maps (b, c, h, w)."""


class FeatureCache:
    """Features keyed by frozen part, runtime, content of the photograph, view and, through `images`, preparation.

    Every batch has the same size, so that a feature's bits do not depend on the other photographs.
    """

    def __init__(self, images: Images, network: Grader) -> None:
        self._images, self._network = images, network
        self._cuda = network.device.type == "cuda" and has_cuda()
        self._store = ArrayStore(images.folder / f"features-{_digest(network, self._cuda)}")
        self._runtime: Runtime | None = None

    def gather(self, examples: Sequence[Example], views: Views) -> Gather:
        """Compute missing features, and return a function that reads them: pooled ones in memory, maps on disk."""
        self._complete(examples, views)
        device = self._network.device
        if self._read(examples[0], views[0]).ndim > 1:
            return lambda view, index: self._maps(
                [examples[i] for i in index.tolist()], [views[v] for v in view.tolist()]
            ).to(device, memory_format=torch.channels_last)
        rows = np.array([[self._read(example, view) for example in examples] for view in views])
        features = torch.from_numpy(rows).to(device)
        return lambda view, index: features[to_device(view, device), to_device(index, device)]

    def _maps(self, examples: Sequence[Example], views: Sequence[AugmentedView]) -> Tensor:
        read = [self._read(example, view) for example, view in zip(examples, views, strict=True)]
        return torch.from_numpy(np.stack(read))

    def _read(self, example: Example, view: AugmentedView) -> NDArray[np.float32]:
        return self._store.read(example.image, _part(view))

    def _complete(self, examples: Sequence[Example], views: Views) -> None:
        needed = {(example.image, view): example for view in views for example in examples}
        missing = [
            (example, view)
            for (photograph, view), example in needed.items()
            if not self._store.holds(photograph, _part(view))
        ]
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            for (example, view), row in zip(batch, self._computed(batch), strict=False):
                self._store.write(row, example.image, _part(view))

    def _computed(self, views: Sequence[tuple[Example, AugmentedView]]) -> NDArray[np.float32]:
        """Return `BATCH` rows, of which the first are those of `views`."""
        pixels = self._images.batch([example for example, _ in views])
        for image, (example, view) in zip(pixels, views, strict=True):
            if view is not None:
                image[:] = augmented(image, example.image, view)
        if self._runtime is None:
            graph = export(self._network.frozen, pixels.shape[1])
            self._runtime = Runtime(graph, torch.get_num_threads(), self._cuda)
        return self._runtime(np.resize(pixels, (BATCH, *pixels.shape[1:])))  # padded with repetitions


def _part(view: AugmentedView) -> str:
    return "plain" if view is None else f"view-{view}-v{AUGMENTATION_VERSION}"


def augmented(image: NDArray[np.uint8], photograph: Photograph, view: int) -> NDArray[np.uint8]:
    """Return view `view` of a prepared photograph (s, s, 3); it is the same for every seed and site."""
    rng = torch_generator(0, photograph.digest(), view, "view")
    return augment(torch.from_numpy(image).permute(2, 0, 1)[None], rng)[0].permute(1, 2, 0).numpy()


def _digest(network: Grader, on_cuda: bool) -> str:
    frozen = network.frozen
    description = f"{frozen!r} {identity(on_cuda)} export {EXPORT_VERSION}"
    digest = hashlib.sha256(description.encode())
    for tensor in (*frozen.parameters(), *frozen.buffers()):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
