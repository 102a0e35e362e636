"""Grading network: a timm backbone and its heads, with the layouts of shared and local weights."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import takewhile
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from teledx_fed.config.learning import HeadName, ModelSettings
from teledx_fed.core.checks import must, one_of
from teledx_fed.core.errors import DataError
from teledx_fed.core.files import write_bytes
from teledx_fed.core.randomness import generator
from teledx_fed.core.weights import Layout, Weights
from teledx_fed.model.backbone import (
    BatchNorm,
    Normalise,
    frozen_parameters,
    is_fixed,
    is_frozen,
    pixel_scale,
    stages,
    timm_arguments,
)
from teledx_fed.model.heads import Head, head_of
from teledx_fed.model.pretrained import load_file, load_hub, load_lite0, origin, read_settings

SMALLEST_VARIANCE = np.float32(1e-20)
"""So small that adding the epsilon of a BatchNorm gives the same bits."""


class Grader(nn.Module):
    """A network from photographs to logits: first the frozen part, then the part that is trained.

    `forward` takes uint8 images (b, 3, s, s) and returns logits (b, k): the outputs of the head, then one of oedema if
    `settings.oedema`.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, oedema: nn.Module | None, settings: ModelSettings, origin: str
    ) -> None:
        """`origin` of the backbone's weights (lite0, hub or none), also for weights from a file."""
        super().__init__()
        self.backbone, self.head, self.oedema = backbone, head, oedema
        self.settings, self.origin = settings, origin
        self.normalise = Normalise(*pixel_scale(backbone, origin))
        for parameter in frozen_parameters(backbone, settings.freeze):
            parameter.requires_grad_(False)
        self.layout, self.kept = _layouts(self)
        parts = [self.normalise, *stages(backbone)]
        frozen = len(list(takewhile(is_frozen, parts)))
        # a tuple hides them from torch, which would save a module with two names twice
        self._parts = nn.Sequential(*parts[:frozen]).eval(), nn.Sequential(*parts[frozen:])
        learning = nn.ModuleList([self._parts[1], head] + ([oedema] if oedema is not None else []))
        self._trained_modules = [module for module in learning.modules() if not is_fixed(module, settings.batch_norm)]
        super().train(False)
        self._lay_out()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Grader":
        """Apply `fn`, which may replace tensors, and lay them out again."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._lay_out()
        return self

    @torch.no_grad()
    def _lay_out(self) -> None:
        """Make the tensors of a layout views of two vectors: parameters and statistics.

        Set `data`; otherwise autograd would treat a change of one as a change of all.
        """
        self.vectors = {layout: self._vectors(layout) for layout in (self.layout, self.kept)}

    def _vectors(self, layout: Layout) -> tuple[Tensor, Tensor]:
        parameters, statistics = (
            torch.cat([self.normalise.mean.new_empty(0), *(self.tensor(name).reshape(-1) for name, _ in tensors)])
            for tensors in (layout.parameters, layout.statistics)
        )
        for name, shape in layout.parameters:
            self.tensor(name).data = parameters[layout.slices[name]].view(shape)
        for name, shape in layout.statistics:
            module, _, buffer = name.rpartition(".")
            setattr(attrgetter(module)(self), buffer, statistics[layout.slices[name]].view(shape).data)
        return parameters, statistics

    @cached_property
    def head_type(self) -> Head:
        """The kind of head that the settings name."""
        return head_of(self.settings.head)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments with which timm makes the backbone."""
        return timm_arguments(self.origin)

    @property
    def frozen(self) -> nn.Sequential:
        """The part from images to the input of `learned`: pooled features (b, d), or maps (b, c, h, w)."""
        return self._parts[0]

    def learned(self, x: Tensor) -> Tensor:
        return self._of_heads(self._parts[1](x))

    def _of_heads(self, pooled: Tensor) -> Tensor:
        outputs = [self.head(pooled)] + ([self.oedema(pooled)] if self.oedema is not None else [])
        return torch.cat(outputs, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.learned(self.frozen(images))

    def forward_with_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (b, k), and feature maps (b, c, h, w); the heads use their means over height and width."""
        maps = self.backbone.forward_features(self.normalise(images))  # type: ignore[operator]
        pooled = self.backbone.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return self._of_heads(pooled), maps

    def train(self, mode: bool = True) -> "Grader":
        """Set the mode of trained modules. Frozen ones stay in evaluation mode: their statistics are fixed."""
        self.training = mode
        for module in self._trained_modules:
            module.training = mode
        return self

    def compile_learned(self) -> None:
        """Compile `learned` at the first batch of each shape; rounding may differ."""
        self.learned = torch.compile(self.learned)  # type: ignore[method-assign]

    @property
    def trained(self) -> list[nn.Parameter]:
        return [cast(nn.Parameter, self.tensor(name)) for name, _ in self.layout.parameters]

    def tensor(self, name: str) -> Tensor:
        return cast(Tensor, attrgetter(name)(self))

    @property
    def device(self) -> torch.device:
        return self.normalise.mean.device

    @property
    def has_frozen_stages(self) -> bool:
        """Whether features of the first stages can be computed once. Only EfficientNets have several stages."""
        return any(True for _ in self.frozen.parameters())


def build(settings: ModelSettings, seed: int) -> Grader:
    """Build a network with initial weights; equal settings and seeds give equal bits."""
    must(
        timm.is_model(settings.name),
        "model.name",
        "be the name of a network in timm",
        settings.name,
        "See timm.list_models().",
    )
    origin_name = origin(Path(settings.file)) if settings.file is not None else settings.initial
    backbone_seed = seed if settings.initial == "none" else 0  # otherwise all seeds share one backbone and its features
    with _initialised_by(backbone_seed, "backbone"):
        backbone = timm.create_model(settings.name, num_classes=0, **timm_arguments(origin_name))
    width = cast(int, backbone.num_features)
    with _initialised_by(seed, "head"):
        head = head_of(settings.head).layers(width)
        oedema = nn.Linear(width, 1) if settings.oedema else None
    if settings.initial == "lite0":
        load_lite0(backbone)
    elif settings.initial == "hub":
        load_hub(backbone, settings.name)
    network = Grader(backbone, head, oedema, settings, origin_name)
    if settings.file is not None:
        load_file(network, Path(settings.file))
    return network.to(memory_format=torch.channels_last).eval()


@contextmanager
def _initialised_by(seed: int, purpose: str) -> Iterator[None]:
    """Seed the global generator, which timm and torch use to initialise; then restore it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, purpose=purpose).integers(2**63)))
        yield


def pack(network: Grader, layout: Layout) -> Weights:
    """Copy the tensors of `layout`. A variance of 0, of a channel that is never active, becomes positive."""
    parameters, statistics = (vector.cpu().numpy().copy() for vector in network.vectors[layout])
    np.maximum(statistics, SMALLEST_VARIANCE, out=statistics, where=layout.variances)
    return Weights(parameters, statistics, layout)


def load(network: Grader, weights: Weights) -> None:
    """Overwrite the network's vectors in place. Each is copied in one piece; no tensor is replaced."""
    for stored, vector in zip(network.vectors[weights.layout], (weights.parameters, weights.statistics), strict=True):
        if stored.device.type == "cpu":
            np.copyto(stored.numpy(), vector)
        else:
            stored.copy_(torch.tensor(vector))


def save(network: Grader, path: Path, card: Mapping[str, Any] | None = None) -> None:
    """Write the whole network; the bytes depend only on its weights, settings and `card`.

    Metadata is one entry, since safetensors writes several in any order.
    """
    described: dict[str, Any] = {
        name: getattr(network.settings, name) for name in ("name", "head", "oedema", "batch_norm")
    }
    described["initial"] = network.origin
    if card is not None:
        described["card"] = card
    state = {
        # the number of batches in this process is not part of the model
        name: torch.zeros_like(tensor) if name.endswith("num_batches_tracked") else _apart(tensor)
        for name, tensor in network.state_dict().items()
    }
    write_bytes(path, safetensors.torch.save(state, metadata={"model": json.dumps(described)}))


def read_network(path: Path) -> Grader:
    """Read a network from a file of `save`, with its settings. A `DataError` for the head of another package."""
    settings = {name: value for name, value in read_settings(path).items() if name not in ("initial", "card")}
    one_of(f"head of {path}", str(settings["head"]), HeadName, DataError)
    return build(ModelSettings(**settings, initial="file", file=str(path)), seed=0)


def _apart(tensor: Tensor) -> Tensor:
    """Copy a view of a vector to a separate, contiguous tensor on the CPU."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _layouts(network: Grader) -> tuple[Layout, Layout]:
    """Return the layouts that a site sends and keeps."""
    policy = network.settings.batch_norm
    parameters = tuple((name, tuple(p.shape)) for name, p in network.named_parameters() if p.requires_grad)
    statistics = tuple(
        (f"{name}.{buffer}", tuple(getattr(module, buffer).shape))
        for name, module in network.named_modules()
        if isinstance(module, BatchNorm) and not is_fixed(module, policy)
        for buffer in ("running_mean", "running_var")
    )
    if policy == "local":
        return Layout(parameters, ()), Layout((), statistics)
    return Layout(parameters, statistics), Layout((), ())
