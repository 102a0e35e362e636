"""Parts of a timm backbone: pixel scale, stages, frozen parameters."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from timm.models import EfficientNet, group_parameters
from torch import Tensor, nn

BatchNorm = nn.modules.batchnorm._BatchNorm


class Normalise(nn.Module):
    """Scales uint8 images (b, 3, s, s) as in the backbone's pretraining."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", deviation.reshape(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images.to(self.mean.dtype) / 255 - self.mean) / self.deviation
        return pixels.contiguous(memory_format=torch.channels_last)


def timm_arguments(origin: str) -> dict[str, Any]:
    """Return timm's arguments for a backbone whose weights come from `origin`: lite0, hub or none."""
    return {"act_layer": "relu6"} if origin == "lite0" else {}


def pixel_scale(backbone: nn.Module, origin: str) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (3,) of pixels, in 0…1, with which the initial weights were trained."""
    config = cast(Mapping[str, Any], backbone.pretrained_cfg)
    mean, deviation = (0.5, 0.5) if origin == "lite0" else (config["mean"], config["std"])
    return torch.as_tensor(mean).expand(3).clone(), torch.as_tensor(deviation).expand(3).clone()


def stages(backbone: nn.Module) -> Iterable[nn.Module]:
    """Return the stages of an EfficientNet; any other backbone is one stage."""
    return backbone.as_sequential() if isinstance(backbone, EfficientNet) else (backbone,)


def is_frozen(stage: nn.Module) -> bool:
    """Whether no parameter of the stage is trained."""
    return not any(parameter.requires_grad for parameter in stage.parameters())


def is_fixed(module: nn.Module, batch_norm: str) -> bool:
    """Whether the module stays in evaluation mode during training."""
    parameters = list(module.parameters(recurse=False))
    untrained = bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
    return untrained or (isinstance(module, BatchNorm) and batch_norm == "frozen")


def frozen_parameters(backbone: nn.Module, freeze: str) -> Iterator[nn.Parameter]:
    """Yield the parameters that `model.freeze` freezes: none, all, or those of the first blocks."""
    blocks = {"none": 0.0, "backbone": math.inf}.get(freeze, float(freeze) if freeze.isdecimal() else 0.0)
    if freeze == "none":
        return
    matcher = cast(Any, backbone).group_matcher(coarse=True)
    groups: Mapping[float, list[str]] = group_parameters(backbone, matcher)
    parameters = dict(backbone.named_parameters())
    for depth, names in groups.items():
        if depth <= blocks:
            yield from (parameters[name] for name in names)
