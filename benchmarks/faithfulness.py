"""Faithfulness of heat maps to the model: `python -m benchmarks.faithfulness [RUN]`: docs/results/faithfulness.md.

RUN is the folder of a run whose model is used; without it, a model is trained first.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from scipy.special import expit

from benchmarks.faithfulness_page import page
from benchmarks.measure import machine
from teledx_fed.config.data import HospitalSettings
from teledx_fed.config.learning import ModelSettings
from teledx_fed.core.examples import Example, Field
from teledx_fed.core.files import write_text
from teledx_fed.core.randomness import generator
from teledx_fed.data.cameras import CAMERAS
from teledx_fed.data.maps import Map, Mask, coloured, edges, in_square, lit, resized, smoothed, widened, without_detail
from teledx_fed.data.preprocessing import place, prepare
from teledx_fed.data.synthetic import SyntheticPhotograph, hospital
from teledx_fed.diagnosis.evidence import MapKind
from teledx_fed.diagnosis.explain import BLURS, EXPLAINED, SAMPLES, STEPS, blurs
from teledx_fed.diagnosis.faithfulness import deletion, energy_inside, insertion, points_at, rank_correlation
from teledx_fed.diagnosis.heat_map import heat_map, referable_log_odds
from teledx_fed.model.bundle import Outputs
from teledx_fed.model.export import export
from teledx_fed.model.network import Grader, build, read_network
from teledx_fed.model.runtime import Runtime

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
TRAINED = ("experiment=quick", "baselines=[]", "simulation.threads=1")
SIZE, THREADS = 224, 1
SEED = 2026
"""Seed of photographs that no model was trained on."""
PHOTOGRAPHS, RANDOMISED = 20, 4
SMOOTH = 4.0
"""Standard deviation in pixels of the filter that smooths attributions to single pixels before they are ranked."""
NEAR = 4
"""Distance in pixels at which a point still counts as on a lesion: the fine maps are smoothed by as much, and a heat
map's cell is 32 wide."""
RIM = 8

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
OF_PIXELS = ("Integrated Gradients", "SHAP")
CONTROLS = ("random, coarse", "random, fine", "edges")


@dataclass(frozen=True)
class LesionPhotograph:
    """A photograph. `lesions` and `inside` (the disc) are masks (s, s) of the prepared `image`, (s, s, 3)."""

    photograph: SyntheticPhotograph
    image: Image
    inside: Mask
    lesions: Mask


def lesion_photograph(example: Example) -> LesionPhotograph:
    photograph = example.image
    assert isinstance(photograph, SyntheticPhotograph)
    pixels = photograph.read()
    image = prepare(pixels, SIZE)
    lesions = widened(in_square(photograph.lesion_mask(), place(pixels), SIZE), NEAR)
    return LesionPhotograph(photograph, image, lit(image), lesions)


def drawn(prevalence: Sequence[float], patients: int) -> Iterator[Example]:
    """Yield one macula-centred synthetic photograph of each patient, by every camera in turn."""
    by_camera = [
        {
            example.patient: example
            for example in hospital(
                f"clinic-{camera}", HospitalSettings(patients, camera, list(prevalence)), SEED
            ).examples
            if example.field is Field.MACULA
        }.values()
        for camera in CAMERAS
    ]
    return (example for row in zip_longest(*by_camera) for example in row if example)


class Scorer:
    """A network and its probability of referable disease."""

    def __init__(self, network: Grader) -> None:
        self.network, self._runtime = network, Runtime(export(network, SIZE), THREADS)

    def log_odds(self, images: Image) -> Floats:
        return referable_log_odds(self._runtime(images)).astype(np.float64)

    def probability(self, images: Image) -> Floats:
        return expit(self.log_odds(images))


def cells(network: Grader, image: Image) -> Map:
    with torch.inference_mode():
        logits, maps = network.forward_with_maps(torch.from_numpy(image[None]).permute(0, 3, 1, 2))
    return heat_map(Outputs(logits.numpy(), None, maps.numpy()), network.head.weight.detach().numpy())[0]  # type: ignore[operator]


def control(image: Image, inside: Mask, rng: np.random.Generator) -> dict[str, Map]:
    """Return random maps as coarse as the heat map and as fine as the others, and edges without the disc's rim."""
    within = ~widened(np.pad(~inside, RIM, constant_values=True), RIM)[RIM:-RIM, RIM:-RIM]
    return {
        "random, coarse": resized(rng.random((7, 7), np.float32), SIZE),
        "random, fine": smoothed(rng.random((SIZE, SIZE), np.float32), SMOOTH),
        "edges": smoothed(edges(image) * within, SMOOTH),
    }


def measured(scorer: Scorer, one: LesionPhotograph, heat: Map) -> tuple[float, ...]:
    """Return a map's measures, in the order of MEASURES."""
    emptied = without_detail(one.image)
    shown = np.where(one.inside, heat, heat.min())
    curves = (act(scorer.probability, one.image, emptied, shown, one.inside) for act in (deletion, insertion))
    return *curves, float(points_at(shown, one.lesions)), energy_inside(np.where(one.inside, heat, 0), one.lesions)


ACTS: dict[str, Callable[[Grader, Image], Map]] = {
    "heat map": lambda network, image: resized(cells(network, image), SIZE),
    "Integrated Gradients": EXPLAINED[MapKind.INTEGRATED_GRADIENTS],
    "SHAP": EXPLAINED[MapKind.SHAP],
}


class Findings:
    """Measurements, photograph by photograph."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.measures: dict[str, list[tuple[float, ...]]] = {name: [] for name in (*ACTS, *CONTROLS)}
        self.gaps: dict[str, list[float]] = {name: [] for name in OF_PIXELS}
        self.seconds: dict[str, list[float]] = {name: [] for name in ACTS}
        self.correlations: dict[tuple[str, str], list[float]] = {}

    def add(self, one: LesionPhotograph, number: int) -> dict[str, Map]:
        raw = {name: self._explained(name, one.image) for name in ACTS}
        for name in OF_PIXELS:
            compared = blurs(one.image) if name == "SHAP" else without_detail(one.image)[None]
            difference = self.scorer.log_odds(one.image[None])[0] - self.scorer.log_odds(compared).mean()
            self.gaps[name].append(float(raw[name].sum() - difference))
        maps = {name: _ranked(name, heat) for name, heat in raw.items()}
        maps |= control(one.image, one.inside, generator(SEED, round=number, purpose="random map"))
        for name, heat in maps.items():
            self.measures[name].append(measured(self.scorer, one, heat))
        return maps

    def compare(self, one: LesionPhotograph, maps: Mapping[str, Map], others: Mapping[str, Grader]) -> None:
        for weights, network in others.items():
            for name, act in ACTS.items():
                other = _ranked(name, act(network, one.image))
                correlation = rank_correlation(maps[name][one.inside], other[one.inside])
                self.correlations.setdefault((weights, name), []).append(correlation)

    def _explained(self, name: str, image: Image) -> Map:
        began = time.perf_counter()
        heat = ACTS[name](self.scorer.network, image)
        self.seconds[name].append(time.perf_counter() - began)
        return heat


def _ranked(name: str, heat: Map) -> Map:
    return smoothed(heat, SMOOTH) if name in OF_PIXELS else heat


def picture(one: LesionPhotograph, maps: Mapping[str, Map]) -> Picture.Image:
    """Return the photograph, its lesions, and the positive values of each map, three in a row."""
    outlined = one.image.copy()
    outlined[one.lesions & widened(~one.lesions, 1)] = (120, 210, 255)
    panels = {"photograph": one.image, "on a lesion, or near": outlined}
    for name in (*ACTS, "edges"):
        panels[name] = coloured(one.image, np.clip(maps[name] / np.percentile(maps[name], 99.8), 0, 1), one.inside)
    sheet = Picture.new("RGB", (3 * (SIZE + 8) + 8, 2 * (SIZE + 28)), "white")
    for number, (name, panel) in enumerate(panels.items()):
        x, y = 8 + number % 3 * (SIZE + 8), number // 3 * (SIZE + 28)
        ImageDraw.Draw(sheet).text((x, y + 4), name, fill="black", font=ImageFont.load_default(14))
        sheet.paste(Picture.fromarray(panel), (x, y + 24))
    return sheet


def page_text(findings: Findings, grades: Sequence[int]) -> str:
    return page(
        findings.measures,
        CONTROLS,
        findings.gaps,
        findings.correlations,
        machine=machine(),
        trained=" ".join(("run_simulation.py", *TRAINED)),
        steps=STEPS,
        samples=SAMPLES,
        background=len(BLURS),
        count=len(grades),
        grades=", ".join(f"{grades.count(grade)} of grade {grade}" for grade in sorted(set(grades))),
        randomised=min(RANDOMISED, len(grades)),
        near=NEAR,
        smooth=SMOOTH,
        seconds=", ".join(f"{name} {np.median(taken):.2f} s" for name, taken in findings.seconds.items()),
    )


def main(run: Path) -> None:
    torch.set_num_threads(THREADS)
    findings = Findings(Scorer(read_network(run / "model.safetensors")))
    others = {
        "new random head": build(ModelSettings(freeze="backbone"), seed=SEED),
        "all weights random": build(ModelSettings(initial="none", freeze="backbone"), seed=SEED),
    }
    ill = (lesion_photograph(example) for example in drawn((0, 0, 0.5, 0.25, 0.25), PHOTOGRAPHS))
    referred = (one for one in ill if findings.scorer.probability(one.image[None])[0] >= 0.5)
    grades = []
    for number, one in enumerate(islice(referred, PHOTOGRAPHS)):
        maps = findings.add(one, number)
        if number < RANDOMISED:
            findings.compare(one, maps, others)
        if number == 0:
            picture(one, maps).save(RESULTS / "faithfulness.png", optimize=True)
        grades.append(one.photograph.grade)
        # after each photograph, so that the page is complete whenever the program stops
        write_text(RESULTS / "faithfulness.md", page_text(findings, grades))
        print(f"{number + 1} of {PHOTOGRAPHS}: {one.photograph.name}", flush=True)


def trained(folder: Path) -> Path:
    run = folder / "run"
    subprocess.run([sys.executable, ROOT / "run_simulation.py", *TRAINED, f"folder={run}"], check=True)
    return run


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else trained(Path(folder)))
