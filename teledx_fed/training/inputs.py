"""What a network is fed: photographs, or, behind a frozen backbone, features computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from teledx_fed.data.augmentation import augment
from teledx_fed.model.network import Grader
from teledx_fed.records import Example, Images

Index = NDArray[np.int64]


class Inputs(Protocol):
    def __len__(self) -> int: ...

    def logits(self, network: Grader, index: Index, augmentation: torch.Generator | None) -> Tensor:
        """(len(index), k) logits of the examples at `index`."""


@dataclass(frozen=True)
class PhotographInputs:
    """Prepared photographs, augmented where a generator is given."""

    images: Images
    examples: Sequence[Example]

    def __len__(self) -> int:
        return len(self.examples)

    def logits(self, network: Grader, index: Index, augmentation: torch.Generator | None) -> Tensor:
        pixels = torch.from_numpy(self.images.batch([self.examples[i] for i in index])).permute(0, 3, 1, 2)
        if augmentation is not None:
            pixels = augment(pixels, augmentation)
        logits: Tensor = network(pixels.to(network.device, non_blocking=True))
        return logits


@dataclass(frozen=True)
class FeatureInputs:
    """Features (n, d) of a frozen backbone."""

    features: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def logits(self, network: Grader, index: Index, augmentation: torch.Generator | None) -> Tensor:
        return network.classify(self.features[torch.from_numpy(index)])
