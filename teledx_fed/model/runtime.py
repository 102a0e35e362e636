"""Inference with ONNX Runtime: on a CPU two to three times as fast as PyTorch, and independent of it."""

import os
import time

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.errors import ConfigurationError

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # otherwise the import contacts the maker's server
import onnxruntime  # type: ignore[import-untyped]

from teledx_fed.model.network_card import IMAGES

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
LIKE_PYTORCH = {"use_tf32": "0"}
TRIALS = 5

Pixels = NDArray[np.uint8]


def has_cuda() -> bool:
    """Whether the installed ONNX Runtime has a CUDA provider."""
    return CUDA in onnxruntime.get_available_providers()


class Runtime:
    """Runs a graph of `model.export`. Raises a `ConfigurationError` if CUDA is requested and does not start.

    The number of threads changes no bit. A batch uses all threads. A single image uses one thread if that is faster,
    as on cores without a shared cache. The first single image measures this.
    """

    def __init__(self, graph: bytes, threads: int, cuda: bool = False) -> None:
        self._session = _session(graph, threads, cuda)
        self._alone = self._session if cuda or threads == 1 else _session(graph, 1, cuda)
        self._measured = self._alone is self._session
        if cuda and self._session.get_providers()[0] != CUDA:
            raise ConfigurationError(
                "simulation.device must be one on which ONNX Runtime starts, got cuda. "
                "Install onnxruntime-gpu's CUDA and cuDNN, or choose simulation.device=cpu."
            )

    def __call__(self, images: Pixels) -> NDArray[np.float32]:
        """Return the first output for uint8 images (b, s, s, 3), as `Pixels.batch` gives them."""
        return self.outputs(images)[0]

    def outputs(self, images: Pixels) -> list[NDArray[np.float32]]:
        """Return all outputs, in the order of the exported module."""
        if len(images) > 1:
            return _outputs(self._session, images)
        if not self._measured:
            self._alone = min(self._session, self._alone, key=lambda session: _seconds(session, images))
            self._measured = True
        return _outputs(self._alone, images)


def _session(graph: bytes, threads: int, cuda: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # threads spin between steps, but not after the last: they would take cores from PyTorch
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers = [(CUDA, LIKE_PYTORCH), CPU] if cuda else [CPU]
    return onnxruntime.InferenceSession(graph, options, providers=providers)


def _outputs(session: onnxruntime.InferenceSession, images: Pixels) -> list[NDArray[np.float32]]:
    return [np.asarray(output) for output in session.run(None, {IMAGES: images})]


def _seconds(session: onnxruntime.InferenceSession, images: Pixels) -> float:
    """Return the shortest time of some trials; the first warms up."""
    seconds = []
    for _ in range(TRIALS):
        began = time.perf_counter()
        _outputs(session, images)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def identity(cuda: bool) -> str:
    """Return version and provider: if equal, equal graphs give equal bits."""
    return f"onnxruntime {onnxruntime.__version__} {CUDA if cuda else CPU}"
