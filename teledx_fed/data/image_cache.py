"""Cache of prepared photographs on disk, so that each is decoded once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from teledx_fed.config.data import DataSettings
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Example, Photograph
from teledx_fed.core.reports import SILENT, Reporter
from teledx_fed.data.array_store import ArrayStore
from teledx_fed.data.preprocessing import prepare_photograph
from teledx_fed.data.problems import Problem

PREPARATION_VERSION = 2
"""Increase it when a change of the code gives other pixels for the same photograph and settings."""


class ImageCache:
    """Prepared photographs by content and settings. A damaged file is written again. Processes may share `folder`."""

    def __init__(self, folder: Path, settings: DataSettings) -> None:
        self.settings = settings
        options = "".join(f"-{name}" for name in ("ben_graham", "clahe") if getattr(settings, name))
        self.folder = folder / f"{settings.image_size}px{options}-v{PREPARATION_VERSION}"
        self._store = ArrayStore(self.folder)

    def prepare(self, examples: Sequence[Example], reporter: Reporter = SILENT) -> tuple[Problem, ...]:
        """Decode and prepare the photographs that are missing. Return a problem for each that cannot be decoded."""
        photographs = list(dict.fromkeys(example.image for example in examples))
        missing = [photograph for photograph in photographs if not self._is_stored(photograph)]
        problems = []
        # Decoding, resizing and drawing release the interpreter lock: threads are as fast as processes.
        with ThreadPoolExecutor(self.settings.workers) as pool:
            for done, problem in enumerate(pool.map(self._problem, missing), start=1 + len(photographs) - len(missing)):
                problems += [problem] if problem else []
                reporter.progress(done, len(photographs))
        return tuple(problems)

    def batch(self, examples: Sequence[Example]) -> NDArray[np.uint8]:
        """Return prepared photographs, examples × size × size × 3, RGB."""
        size = self.settings.image_size
        images = np.empty((len(examples), size, size, 3), dtype=np.uint8)
        for image, example in zip(images, examples, strict=True):
            image[:] = self._prepared(example.image)
        return images

    def _is_stored(self, photograph: Photograph) -> bool:
        """Whether a file exists; the first use checks that it is whole."""
        try:
            return self._store.path(photograph).exists()
        except DataError:  # an unreadable file is a problem to report, like any other
            return False

    def _problem(self, photograph: Photograph) -> Problem | None:
        try:
            self._prepared(photograph)
        except DataError as error:
            return Problem(photograph.name, str(error).removeprefix(f"{photograph.name} "))
        return None

    def _prepared(self, photograph: Photograph) -> NDArray[np.uint8]:
        if self._store.holds(photograph):
            return self._store.read(photograph)
        options = self.settings
        image = prepare_photograph(photograph, options.image_size, options.ben_graham, options.clahe)
        self._store.write(image, photograph)
        return image
