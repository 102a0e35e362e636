"""Features and quality measures of a hospital's photographs, as a table for its own use."""

import csv
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from teledx_fed.core.examples import Example, Images
from teledx_fed.core.files import write_array, write_text
from teledx_fed.core.reports import Reporter
from teledx_fed.data.quality import Quality, quality
from teledx_fed.model.network import Grader
from teledx_fed.training.feature_cache import PLAIN, FeatureCache

ABOUT = ("photograph", "patient", "eye", "grade", "oedema", "camera")
MEASURES = tuple(field.name for field in fields(Quality))


@dataclass(frozen=True)
class Embeddings:
    """`features` (n, d) and `qualities`, one row per example. They are patients' data and stay at the site."""

    examples: Sequence[Example]
    features: NDArray[np.float32]
    qualities: Sequence[Quality]

    def write(self, folder: Path) -> None:
        """Write `embeddings.npy` (n, d), and `photographs.csv` with the same rows."""
        table = io.StringIO()
        rows = csv.writer(table)
        rows.writerow((*ABOUT, *MEASURES))
        for example, measures in zip(self.examples, self.qualities, strict=True):
            oedema = "" if example.oedema is None else int(example.oedema)
            facts = (example.image.name, example.patient, example.eye, example.grade, oedema, example.camera)
            rows.writerow((*facts, *(f"{value:.4f}" for value in astuple(measures))))
        write_array(folder / "embeddings.npy", self.features)
        write_text(folder / "photographs.csv", table.getvalue())


def embeddings(
    network: Grader, images: Images, examples: Sequence[Example], threads: int, reporter: Reporter
) -> Embeddings:
    """Compute the embeddings with a frozen backbone, and cache them for runs on the same photographs."""
    photographs = [example.image for example in examples]
    qualities = []
    with ThreadPoolExecutor(threads) as pool:
        for measures in pool.map(lambda photograph: quality(photograph.read()), photographs):
            qualities.append(measures)
            reporter.progress(len(qualities), len(photographs))
    return Embeddings(examples, features(network, images, examples), qualities)


def features(network: Grader, images: Images, examples: Sequence[Example]) -> NDArray[np.float32]:
    """Return the pooled features (n, d), in the order of `examples`."""
    gather = FeatureCache(images, network).gather(examples, PLAIN)
    rows = torch.arange(len(examples))
    return gather(torch.zeros_like(rows), rows).cpu().numpy()
