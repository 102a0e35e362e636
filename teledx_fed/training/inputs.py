"""Inputs of a network: photographs, or the cached features of a frozen part."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from teledx_fed.core.devices import to_device
from teledx_fed.core.examples import Example, Images
from teledx_fed.data.augmentation import augment
from teledx_fed.model.network import Grader
from teledx_fed.training.feature_cache import Gather

Index = NDArray[np.int64]
CPU = torch.device("cpu")


class Inputs(Protocol):
    """Inputs of a network by example, in a form that can be trained and scored."""

    def __len__(self) -> int: ...

    def logits(self, network: Grader, index: Index, augmentation: torch.Generator | None) -> Tensor:
        """Return the logits (len(index), k) of the examples at `index`."""


@dataclass(frozen=True)
class PhotographInputs:
    """Prepared photographs, augmented if there is a generator. On a GPU they stay in its memory."""

    images: Images
    examples: Sequence[Example]
    device: torch.device = CPU

    def __len__(self) -> int:
        return len(self.examples)

    def logits(self, network: Grader, index: Index, augmentation: torch.Generator | None) -> Tensor:
        pixels = self._pixels(index).permute(0, 3, 1, 2)
        if augmentation is not None:
            pixels = augment(pixels, augmentation)
        logits: Tensor = network(pixels)
        return logits

    def _pixels(self, index: Index) -> Tensor:
        if self.device.type == "cuda":
            return self._resident[to_device(torch.from_numpy(index), self.device)]
        return torch.from_numpy(self.images.batch([self.examples[i] for i in index]))

    @cached_property
    def _resident(self) -> Tensor:
        return torch.from_numpy(self.images.batch(self.examples)).to(self.device)


@dataclass(frozen=True)
class FeatureInputs:
    """Features of `examples` examples in `views` views each; a generator chooses the view, which is 0 without it."""

    gather: Gather
    examples: int
    views: int = 1

    def __len__(self) -> int:
        return self.examples

    def logits(self, network: Grader, index: Index, augmentation: torch.Generator | None) -> Tensor:
        if augmentation is None:
            view = torch.zeros(len(index), dtype=torch.int64)
        else:
            view = torch.randint(self.views, (len(index),), generator=augmentation)
        return network.learned(self.gather(view, torch.from_numpy(index)))
