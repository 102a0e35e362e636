"""Inference through ONNX Runtime: on a CPU about three times as fast as PyTorch, and without it."""

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

IMAGES = "images"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
LIKE_PYTORCH = {"use_tf32": "0"}


def has_cuda() -> bool:
    return CUDA in onnxruntime.get_available_providers()


class Runtime:
    """Computes what `model.export` wrote. A `ValueError` where CUDA is asked for and does not start."""

    def __init__(self, graph: bytes, threads: int, cuda: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # threads that spin while they wait would take the cores from PyTorch in the same process
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = [(CUDA, LIKE_PYTORCH), CPU] if cuda else [CPU]
        self._session = onnxruntime.InferenceSession(graph, options, providers=providers)
        if cuda and self._session.get_providers()[0] != CUDA:
            raise ValueError(
                "simulation.device must be one on which ONNX Runtime starts, got cuda. "
                "Install onnxruntime-gpu's CUDA and cuDNN, or choose simulation.device=cpu."
            )

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of uint8 images (b, s, s, 3), as `Images.batch` gives them."""
        (outputs,) = self._session.run(None, {IMAGES: images})
        return np.asarray(outputs)


def identity(cuda: bool) -> str:
    """What must be equal for equal bits from equal graphs."""
    return f"onnxruntime {onnxruntime.__version__} {CUDA if cuda else CPU}"
