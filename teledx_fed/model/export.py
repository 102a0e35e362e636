"""Export from PyTorch to ONNX, with a check that both compute the same."""

import io
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from threading import Lock

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import get_same_padding
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor, nn
from torch.nn import functional

from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.randomness import generator
from teledx_fed.model.network_card import IMAGES
from teledx_fed.model.runtime import Runtime

EXPORT_VERSION = 3
"""Increase it when a change of the code gives another graph for the same module."""

TOLERANCE = 1e-4
"""The largest accepted difference from PyTorch, as a share of the largest output."""

_one_at_a_time = Lock()  # torch's exporter and warning filters are global to the process


class _Exported(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.module(images.permute(0, 3, 1, 2))
        return outputs if isinstance(outputs, tuple) else (outputs,)


def export(module: nn.Module, size: int, names: Sequence[str] = (), metadata: Mapping[str, str] = {}) -> bytes:
    """Return the ONNX file of a module. `names` are the names of its outputs in the file.

    `module` takes uint8 images (b, 3, size, size); the file takes (b, size, size, 3). The module may return one tensor
    or several. `metadata` is written into the file. Raise a `ConfigurationError` if ONNX Runtime, on a CPU, gives
    other outputs than PyTorch.
    """
    reference = _Exported(deepcopy(module)).cpu().eval()
    images = _images(3, size)
    with torch.inference_mode():
        expected = [output.numpy() for output in reference(torch.from_numpy(images))]
    outputs = names or [f"output_{number}" for number in range(len(expected))]
    graph = _graph(_for_runtime(deepcopy(reference)), _images(2, size), outputs)
    for computed, truth in zip(Runtime(graph, torch.get_num_threads()).outputs(images), expected, strict=True):
        _check(computed, truth)
    return _with_metadata(graph, metadata) if metadata else graph


def _with_metadata(graph: bytes, metadata: Mapping[str, str]) -> bytes:
    model = onnx.load_model_from_string(graph)
    onnx.helper.set_model_props(model, dict(metadata))
    return bytes(model.SerializeToString(deterministic=True))


def _graph(exported: nn.Module, images: NDArray[np.uint8], names: Sequence[str]) -> bytes:
    file = io.BytesIO()
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old exporter warns, but takes 0.6 s instead of 8 s and writes one file
        torch.onnx.export(
            exported,
            (torch.from_numpy(images),),
            file,  # type: ignore[arg-type]  # its type stub omits file objects
            dynamo=False,
            input_names=[IMAGES],
            output_names=list(names),
            dynamic_axes={name: {0: "batch"} for name in (IMAGES, *names)},
        )
    return file.getvalue()


def _for_runtime(exported: nn.Module) -> nn.Module:
    """Replace layers by equivalent ones that ONNX Runtime can fuse.

    The widths of the padding become constants in the graph. Squeeze-and-excitation uses a pooling layer.
    """
    for module in exported.modules():
        if isinstance(module, Conv2dSame):
            module.forward = partial(_padded_conv, module)  # type: ignore[method-assign]
        elif isinstance(module, SqueezeExcite):
            module.forward = partial(_squeeze_and_excite, module)  # type: ignore[method-assign]
    return exported


def _squeeze_and_excite(module: SqueezeExcite, x: Tensor) -> Tensor:
    squeezed = functional.adaptive_avg_pool2d(x, 1)
    gates: Tensor = module.gate(module.conv_expand(module.act1(module.conv_reduce(squeezed))))
    return x * gates


def _padded_conv(conv: Conv2dSame, x: Tensor) -> Tensor:
    padding: list[int] = []
    for dimension in (1, 0):
        side = int(x.shape[2 + dimension])
        total = get_same_padding(side, conv.kernel_size[dimension], conv.stride[dimension], conv.dilation[dimension])
        padding += [total // 2, total - total // 2]
    padded = functional.pad(x, padding, value=0.0)  # without `value`, ONNX Runtime does not fuse the padding
    return functional.conv2d(padded, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def _images(count: int, size: int) -> NDArray[np.uint8]:
    return generator(0, round=count, purpose="export").integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def _check(outputs: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    difference, allowed = np.abs(outputs - expected).max(), TOLERANCE * np.abs(expected).max()
    if not difference <= allowed:  # also refuses NaN
        raise ConfigurationError(
            f"the exported network must differ from PyTorch by at most {allowed:.2g}, got {difference:.2g}. "
            "Check the weights for values that are not finite, then the versions of torch and onnxruntime."
        )
