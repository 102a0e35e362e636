"""Inference through ONNX Runtime: on a CPU two to three times as fast as PyTorch, and without it."""

import os
import time

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.errors import ConfigurationError

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else the import looks for a server of its maker's; a hospital asks nobody
import onnxruntime  # type: ignore[import-untyped]

from teledx_fed.model.network_card import IMAGES

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
LIKE_PYTORCH = {"use_tf32": "0"}
TRIALS = 5

Images = NDArray[np.uint8]


def has_cuda() -> bool:
    return CUDA in onnxruntime.get_available_providers()


class Runtime:
    """Computes what `model.export` wrote. A `ValueError` where CUDA is asked for and does not start.

    Threads change no bit. A batch is computed by all of them; a single image by one, where that is faster: cores
    without a cache in common pass it to and fro. Which it is, is measured at the first single image.
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

    def __call__(self, images: Images) -> NDArray[np.float32]:
        """The first output for uint8 images (b, s, s, 3), as `Images.batch` gives them."""
        return self.outputs(images)[0]

    def outputs(self, images: Images) -> list[NDArray[np.float32]]:
        """Every output, in the order in which the exported module returned them."""
        if len(images) > 1:
            return _outputs(self._session, images)
        if not self._measured:
            self._alone = min(self._session, self._alone, key=lambda session: _seconds(session, images))
            self._measured = True
        return _outputs(self._alone, images)


def _session(graph: bytes, threads: int, cuda: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # threads spin from one step to the next, and no longer: past the last they would take the cores from PyTorch
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers = [(CUDA, LIKE_PYTORCH), CPU] if cuda else [CPU]
    return onnxruntime.InferenceSession(graph, options, providers=providers)


def _outputs(session: onnxruntime.InferenceSession, images: Images) -> list[NDArray[np.float32]]:
    return [np.asarray(output) for output in session.run(None, {IMAGES: images})]


def _seconds(session: onnxruntime.InferenceSession, images: Images) -> float:
    """The best of some trials, the first of which warms up."""
    taken = []
    for _ in range(TRIALS):
        began = time.perf_counter()
        _outputs(session, images)
        taken.append(time.perf_counter() - began)
    return min(taken)


def identity(cuda: bool) -> str:
    """What must be equal for equal bits from equal graphs."""
    return f"onnxruntime {onnxruntime.__version__} {CUDA if cuda else CPU}"
